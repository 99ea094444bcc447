"""Records: an entry as it is exported, once it is known to be what was written."""

from collections.abc import Mapping
from dataclasses import dataclass
from struct import error as struct_error
from typing import Any

import orjson

from audit.domain.chain import Head, fingerprint, shown
from audit.domain.entry import Row
from audit.domain.personal import PERSONAL_FIELDS, commitment

LINE_END = b"\n"


class NotAsWritten(ValueError):
    """The entry at `index` is not what was written there, or another one stands there."""

    def __init__(self, index: int) -> None:
        super().__init__(index)
        self.index = index


@dataclass(frozen=True, slots=True)
class Record:
    """An entry: the bytes that were hashed and those beside them, and what these say."""

    index: int
    previous: str
    fingerprint: str
    stored_body: bytes
    stored_personal: str
    body: Mapping[str, Any]
    personal: Mapping[str, str]
    """The values by field; empty where there was none or it was erased."""


def record_of(row: Row, before: Head) -> Record:
    """The entry after `before`; raises NotAsWritten unless chain and commitments say that it is.

    What its values were, where they are gone, only the whole log can tell: see the verifier.
    """
    try:
        return _record(row, before)
    except (ValueError, TypeError, KeyError, AttributeError, struct_error) as error:
        raise NotAsWritten(before.index + 1) from error


def _record(row: Row, before: Head) -> Record:
    index, own = row.index, row.fingerprint
    if index != before.index + 1 or own != fingerprint(index, before.fingerprint, row.body):
        raise ValueError("not the next one")
    body, personal = orjson.loads(row.body), orjson.loads(row.personal)
    if body["index"] != index or LINE_END in row.body or LINE_END.decode() in row.personal:
        raise ValueError("not as it was written")
    values = dict.fromkeys(PERSONAL_FIELDS, "")
    for field, given in personal.items():
        if commitment(index, field, bytes.fromhex(given["salt"]), given["value"]) != body[field]:
            raise ValueError("not the value that was written")
        values[field] = given["value"]
    return Record(index, shown(before.index, before.fingerprint), own.hex(), row.body, row.personal, body, values)
