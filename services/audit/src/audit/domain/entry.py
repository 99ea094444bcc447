"""Entries: what is to be recorded, and the row that records it."""

from collections.abc import Mapping
from dataclasses import dataclass
from operator import itemgetter
from struct import error as struct_error
from typing import Any, NamedTuple

import orjson

from audit.domain.canonical import canonical
from audit.domain.chain import Head, fingerprint
from audit.domain.personal import conceal, is_what_was_committed


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """What is to be recorded, before it has a place in the log.

    `timestamp` is RFC 3339 with milliseconds and `Z`; `conclude_by`, of an intent, is in Unix milliseconds.
    """

    source: str
    id: str
    request_id: str
    phase: str
    action: str
    outcome: str | None
    user_id: str
    personal: Mapping[str, str]
    resource_type: str
    resource_id: str
    details: Mapping[str, Any]
    timestamp: str
    conclude_by: int | None = None


class Row(NamedTuple):
    """An entry as it is stored: the bytes that were hashed, and beside them what queries look for."""

    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody needs here
    fingerprint: bytes
    body: bytes
    personal: str
    id: str
    phase: str
    request_id: str
    action: str
    outcome: str | None
    user_id: str
    resource_type: str
    resource_id: str
    timestamp: str

    @property
    def head(self) -> Head:
        """The log up to and including this entry."""
        return Head(self.index, self.fingerprint)


_beside_body = itemgetter(4, 5, 6, 7, 8, 9, 10, 11, 12)
_in_body = itemgetter(
    "id", "phase", "requestId", "action", "outcome", "userId", "resourceType", "resourceId", "timestamp"
)


def seal(draft: Draft, previous: Head, salts: bytes) -> Row:
    """The draft as the entry after `previous`. `salts` are 48 random bytes."""
    index = previous.index + 1
    commitments, beside = conceal(index, draft.personal, salts)
    body = canonical(
        {  # in canonical order, as `details` is
            "action": draft.action,
            "concludeBy": draft.conclude_by,
            "details": draft.details,
            "id": draft.id,
            "index": index,
            "ipAddress": commitments["ipAddress"],
            "outcome": draft.outcome,
            "phase": draft.phase,
            "requestId": draft.request_id,
            "resourceId": draft.resource_id,
            "resourceType": draft.resource_type,
            "source": draft.source,
            "timestamp": draft.timestamp,
            "userAgent": commitments["userAgent"],
            "userEmail": commitments["userEmail"],
            "userId": draft.user_id,
        }
    )
    return Row(
        index,
        fingerprint(index, previous.fingerprint, body),
        body,
        beside,
        draft.id,
        draft.phase,
        draft.request_id,
        draft.action,
        draft.outcome,
        draft.user_id,
        draft.resource_type,
        draft.resource_id,
        draft.timestamp,
    )


def follows(row: Row, previous: Head) -> bool:
    """Whether the row is, to the bit, an entry that was written after `previous`."""
    try:
        if row.index != previous.index + 1:
            return False
        if row.fingerprint != fingerprint(row.index, previous.fingerprint, row.body):
            return False
        body = orjson.loads(row.body)
        return (
            body["index"] == row.index
            and _in_body(body) == _beside_body(row)
            and is_what_was_committed(row.index, body, row.personal)
        )
    except (ValueError, TypeError, KeyError, AttributeError, struct_error):
        return False  # what does not even have the form of an entry
