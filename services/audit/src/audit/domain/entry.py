"""Entries: what is to be recorded, and the row that records it."""

from collections.abc import Mapping
from struct import error as struct_error
from typing import Any, NamedTuple

import orjson

from audit.domain.canonical import canonical
from audit.domain.chain import Head, fingerprint
from audit.domain.personal import PERSONAL_FIELDS, commitments_to, conceal


class Draft(NamedTuple):
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
    """Whether the row is, to the bit, an entry that was written after `previous`, with all its personal values."""
    return _follows(row, previous, {})


def lacking(row: Row, previous: Head) -> frozenset[str] | None:
    """The personal fields whose values are gone from an entry that was written after `previous`; None for any other."""
    try:
        body, beside = orjson.loads(row.body), orjson.loads(row.personal)
        gone = {field: body[field] for field in PERSONAL_FIELDS if body[field] and field not in beside}
    except (ValueError, TypeError, KeyError):
        return None
    return frozenset(gone) if _follows(row, previous, gone) else None


def has_its_values(row: Row) -> bool:
    """Whether the values beside the body are those that it has commitments to: all of them, as they were written."""
    try:
        body = orjson.loads(row.body)
        return [body[field] for field in PERSONAL_FIELDS] == list(commitments_to(row.index, row.personal))
    except (ValueError, TypeError, KeyError):
        return False


def _follows(row: Row, previous: Head, gone: Mapping[str, str]) -> bool:
    try:
        return (
            row[0] == previous[0] + 1
            and row[1] == fingerprint(row[0], previous[1], row[2])
            and _says_the_same(row, gone)
        )
    except (ValueError, TypeError, KeyError, AttributeError, struct_error):
        return False  # what does not even have the form of an entry


def _says_the_same(row: Row, gone: Mapping[str, str]) -> bool:
    """Whether the hashed body holds what stands beside it, and the commitments to the values that are gone.

    Compared as bytes around the two members that stand nowhere else, `details` and `source`: a canonical body has one
    form, and parsing it would take longer than everything else together.
    """
    index, _, body, personal, id, phase, request_id, action, outcome, user_id, resource_type, resource_id, timestamp = (
        row
    )
    ip_address, user_agent, user_email = commitments_to(index, personal, gone)
    middle = canonical(
        {
            "id": id,
            "index": index,
            "ipAddress": ip_address,
            "outcome": outcome,
            "phase": phase,
            "requestId": request_id,
            "resourceId": resource_id,
            "resourceType": resource_type,
        }
    )
    end = canonical({"timestamp": timestamp, "userAgent": user_agent, "userEmail": user_email, "userId": user_id})
    before, _, after = body.rpartition(b',"source":"')
    return (
        before.startswith(b'{"action":%b,"concludeBy":' % canonical(action))
        and before.endswith(b"},%b" % middle[1:-1])
        and after.endswith(b'",%b' % end[1:])
    )
