"""What the audit service hands over in bulk: exports of the log, and what was committed after an entry."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from shared.bus import Contract, Kind, Message
from shared.contracts.audit import Entry
from shared.contracts.events import Event

MAX_FOLLOWED = 200
"""Entries in one answer to who follows the log."""

Index = Annotated[int, Field(ge=0, lt=2**53)]


class ExportFormat(StrEnum):
    """How the entries are written, a line each."""

    JSONL = "jsonl"
    OCSF = "ocsf"
    CSV = "csv"


class Export(Message):
    """Which entries, by index, both included: without `to`, up to the last one."""

    format: ExportFormat = Field(default=ExportFormat.JSONL, strict=False)
    first: Index = Field(default=0, alias="from", description="The index to begin with, as when an export is resumed")
    last: Index | None = Field(default=None, alias="to", description="The index to end with; the last one if left out")


class Exported(Message):
    """The end of an export: how many entries were in it."""

    count: int


class Follow(Message):
    """Asks for entries after that index, -1 for the first ones; without it only how far the log goes."""

    after: Annotated[int, Field(ge=-1, lt=2**53)] | None = None


class Followed(Message):
    """Entries in order, at most MAX_FOLLOWED, and the index of the last one in the log, -1 when there is none."""

    entries: list[Entry]
    last_index: int


class EntriesCommitted(Message):
    """The log has grown; `last_index` is the last entry as far as the replica knows that tells it."""

    last_index: int


EXPORT = Contract("audit.log.export", Export, Exported, Kind.STREAM)
FOLLOW = Contract("audit.entry.follow", Follow, Followed, Kind.READ)
ENTRIES_COMMITTED = Event("audit.entries_committed", EntriesCommitted)
