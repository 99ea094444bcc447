"""What the use cases need of the place where the log is kept."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol, TypeVar

from audit.domain.chain import Head
from audit.domain.entry import Draft, Row
from audit.domain.tree import Tile
from shared.errors import ErrorCode, PlatformError, Unavailable
from shared.tlog.notes import Signer, Verifier

T = TypeVar("T")


class LogUnavailable(Unavailable):
    """The log cannot be written or read now; nothing was recorded."""

    reason = "audit-unavailable"


class KeysUnusable(Unavailable):
    """The key that signs checkpoints cannot be read, or is not the one that the log has handed over to."""

    reason = "audit-key-unusable"


class KeyChanging(PlatformError):
    """The key is being changed by somebody else."""

    code = ErrorCode.CONFLICT
    reason = "audit-key-changing"


class LogDamaged(Exception):
    """What is stored can no longer be read as a log."""


@dataclass(frozen=True, slots=True)
class Commit:
    """Committed entries: their places in the order of the drafts, and the log's head before and after them.

    `as_remembered` is False when the entry that the writer was told of is not, or no longer, in the log.
    """

    places: list[Head]
    before: Head
    after: Head
    as_remembered: bool


@dataclass(frozen=True, slots=True)
class ErasedPart:
    """Values that were taken, `fields` in `entries` entries, with the entry that names these; None when there are none.

    `left` entries have values that are not those that were written.
    """

    commit: Commit | None = None
    entries: int = 0
    fields: int = 0
    left: int = 0


class LogWriter(Protocol):
    """Writes entries. Several processes may write to one log; the chain has no gap and no fork."""

    async def commit(self, drafts: Sequence[Draft], seen: Head) -> Commit:
        """Records the drafts durably, once per (id, phase). Raises LogUnavailable; then nothing of it is recorded."""

    async def try_writing(self) -> None:
        """Raises LogUnavailable unless something was durably written just now."""

    async def overdue(self, before: int, limit: int) -> list[Row]:
        """Intents without an outcome that should have had one before that moment (Unix ms)."""


class LogEraser(Protocol):
    """Takes personal values out of the log. Everything raises LogUnavailable."""

    async def erase(self, indexes: Sequence[int], draft: Callable[[Sequence[int]], Draft], seen: Head) -> ErasedPart:
        """Takes the personal values of those entries that still have them, in one transaction with the entry drafted
        for these. After a failure nothing was taken.
        """

    async def forget(self) -> None:
        """Returns once no byte of what was erased is left in the log's files."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """Which entries are wanted; None is any. Times are RFC 3339 as entries have them, both inclusive."""

    user_id: str | None = None
    action: str | None = None
    resource_type: str | None = None
    resource_id: str | None = None
    outcome: str | None = None
    request_id: str | None = None
    start: str | None = None
    end: str | None = None


@dataclass(frozen=True, slots=True)
class StoredCheckpoint:
    """A signed checkpoint as it is stored, cosignatures included; `created_at` is in Unix milliseconds."""

    size: int
    note: str
    created_at: int


class Snapshot(Protocol):
    """The log as it is on disk at one moment. Everything raises LogUnavailable or LogDamaged."""

    def last_index(self) -> int:
        """The index of the last entry, -1 when there is none."""

    def rows(self, first: int, last: int) -> Iterator[Row]:
        """The entries from `first` to `last` in order, both included."""

    def total(self, filters: Filters, after: int = -1) -> int:
        """How many of the entries after that index match."""

    def newest(self, filters: Filters, limit: int, offset: int) -> list[Row]:
        """Matching entries, newest first."""

    def fingerprints(self, indexes: Sequence[int]) -> dict[int, bytes]:
        """The stored fingerprints of these entries."""

    def tile(self, level: int, number: int) -> bytes | None:
        """The stored hashes of a tile of the tree, up to 256 of 32 bytes; None when there are none.

        Those of leaves (level 0) are stored once there are 256 of them; higher tiles grow with the checkpoints.
        """

    def newest_checkpoint(self) -> StoredCheckpoint | None:
        """The stored checkpoint of the largest tree; None before the first. Nothing of it has been verified."""

    def checkpoint_of(self, size: int) -> StoredCheckpoint | None:
        """The stored checkpoint of the tree of so many entries, if there is one. Nothing of it has been verified."""

    def digest(self, first: int, last: int) -> bytes:
        """A hash over all that is stored of the entries from `first` to `last`, and over their full tiles of leaves."""

    def erasure_of(self, index: int) -> int | None:
        """The index of the entry that is said to have erased this one's personal values."""

    def of_person(self, user_id: str, email: str, first: int, last: int) -> list[int]:
        """Those of the entries from `first` to `last` that have personal values and are of this user, or name this
        e-mail address, in whatever case. Either may be empty; then it finds nothing.
        """


class LogReader(Protocol):
    """Reads the log as it is on disk, past every cache of this process. Can be sent to another one."""

    def snapshot(self) -> AbstractContextManager[Snapshot]:
        """A snapshot, held while the block runs."""


class TreeStore(Protocol):
    """Keeps tiles and checkpoints. Everything raises LogUnavailable."""

    async def extend(self, old_size: int, tiles: Sequence[Tile], checkpoint: StoredCheckpoint) -> bool:
        """Keeps them together, if the newest stored checkpoint is of `old_size` entries (0: none); False otherwise."""

    async def add_cosignature(self, size: int, line: str) -> None:
        """Appends the signature line to the stored checkpoint of that size, unless it is there already."""


class KeyRing(Protocol):
    """The log's signing keys. Everything raises KeysUnusable."""

    def current(self) -> Signer:
        """The key that signs now, as far as is known."""

    def retired(self) -> list[Verifier]:
        """The public keys of those that signed before, oldest first."""

    def changing(self) -> AbstractContextManager[None]:
        """Keeps all other replicas from changing the key while the block runs; raises KeyChanging where one does."""

    def prepare_next(self) -> Signer:
        """Makes the key that is to sign next and keeps it durably; one that was made before is forgotten."""

    def promote(self, next: Verifier) -> Signer:
        """From now on this one signs, which was made by `prepare_next`; does nothing if it does already."""


class Workshop(Protocol):
    """Does long work somewhere else: hashing a log would keep this process from appending to it."""

    async def do(self, work: Callable[[], T]) -> T:
        """The result of `work`, or what it raises; LogUnavailable when the one who did it is gone."""
