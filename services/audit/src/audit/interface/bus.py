"""The audit service on the bus: calls become use cases, and their results replies."""

from collections.abc import Callable
from typing import Any

import orjson

from audit.application.appends import Appends
from audit.application.erasures import Erasures, Person
from audit.application.health import Health
from audit.application.inspection import Question
from audit.application.knowledge import Status
from audit.application.ports import Filters
from audit.application.queries import Answer, Queries
from audit.domain.canonical import plain
from audit.domain.chain import shown
from audit.domain.entry import Draft, Row
from shared.bus import CallContext, Endpoint, Nothing, read
from shared.clock import rfc3339
from shared.contracts import health
from shared.contracts.audit import (
    ERASE,
    QUERY,
    Action,
    Append,
    Entry,
    Erase,
    Erased,
    Integrity,
    NewEntry,
    Page,
    PersonalField,
    Query,
    Receipt,
    append_contract,
)
from shared.errors import FieldError, InvalidFields

SOURCES = ("edge", "auth", "orchestrator")
MAX_DETAILS_BYTES = 65_536
OWN = frozenset(action for action in Action if action.startswith("audit."))
"""What no other service may say: keys change, values are erased and exports are made here."""
_PERSONAL: tuple[PersonalField, ...] = ("ipAddress", "userAgent", "userEmail")


def endpoints(appends: Appends, queries: Queries, erasures: Erasures, state: Health) -> list[Endpoint]:
    """All that this service answers."""

    async def query(request: Query, context: CallContext) -> Page:
        question = Question(filters=_filters(request), page=request.page, limit=request.limit)
        answer = await queries.find(question, context.principal, full=request.verify == "full")
        return _page(request, answer)

    async def erase(request: Erase, context: CallContext) -> Erased:
        person = Person(user_id=request.user_id or "", email=request.email or "")
        report = await erasures.erase(person, context)
        receipts = [Receipt(index=place.index, fingerprint=place.fingerprint.hex()) for place in report.places]
        return Erased(entries=report.entries, fields=report.fields, left=report.left, receipts=receipts)

    async def check(_request: Nothing, _context: CallContext) -> health.Health:
        complaint = await state.complaint()
        return health.Health(healthy=not complaint, message=complaint or state.warning())

    return [
        *(append_contract(source).answered_in_bytes_by(_appending(source, appends)) for source in SOURCES),
        QUERY.answered_by(query),
        ERASE.answered_by(erase),
        health.health_contract("audit").answered_by(check),
    ]


def _appending(source: str, appends: Appends) -> Callable[[bytes, CallContext], Any]:
    """The source of an entry is the subject it came on, which only that service may publish to."""

    async def append(body: bytes, _context: CallContext) -> bytes:
        entries = read(Append, body).entries
        places = await appends.append([_draft(source, entry, number) for number, entry in enumerate(entries)])
        return orjson.dumps(
            {"receipts": [{"index": place.index, "fingerprint": place.fingerprint.hex()} for place in places]}
        )

    return append


def _draft(source: str, entry: NewEntry, number: int) -> Draft:
    if entry.action in OWN:
        problem = FieldError(f"entries.{number}.action", "only the audit service records this")
        raise InvalidFields("Another service records what concerns the log itself.", errors=(problem,))
    details = plain(entry.details)
    if details and len(orjson.dumps(details)) > MAX_DETAILS_BYTES:
        problem = FieldError(f"entries.{number}.details", f"at most {MAX_DETAILS_BYTES} bytes")
        raise InvalidFields("The details of an entry are too large.", errors=(problem,))
    return Draft(
        source=source,
        id=entry.id,
        request_id=entry.request_id,
        phase=str(entry.phase),
        action=str(entry.action),
        outcome=None if entry.outcome is None else str(entry.outcome),
        user_id=entry.user_id,
        personal={"userEmail": entry.user_email, "ipAddress": entry.ip_address, "userAgent": entry.user_agent},
        resource_type=entry.resource_type,
        resource_id=entry.resource_id,
        details=details,
        timestamp=rfc3339(entry.timestamp),
        conclude_by=entry.conclude_by,
    )


def _filters(query: Query) -> Filters:
    return Filters(
        user_id=query.user_id,
        action=query.action,
        resource_type=query.resource_type,
        resource_id=query.resource_id,
        outcome=query.outcome,
        request_id=query.request_id,
        start=None if query.start_date is None else rfc3339(query.start_date),
        end=None if query.end_date is None else rfc3339(query.end_date),
    )


def _page(query: Query, answer: Answer) -> Page:
    found = answer.found
    return Page(
        entries=[entry_of(row, found.previous.get(row.index - 1, b"")) for row in found.rows],
        total=found.total,
        page=query.page,
        limit=query.limit,
        pages=-(-found.total // query.limit),
        integrity_valid=answer.status is Status.VALID,
        integrity=Integrity(
            status=answer.status.value,
            verified_entries=answer.verified,
            checkpoint=answer.checkpoint,
            scrub_age_seconds=None if answer.scrub_age is None else round(answer.scrub_age, 3),
            first_bad_index=answer.first_bad,
        ),
    )


def entry_of(row: Row, previous: bytes) -> Entry:
    """The entry as it is stored, whatever that is: a forged one is shown beside the verdict on the log."""
    body, beside = _object(row.body), _object(row.personal)
    details = body.get("details")
    return Entry(
        index=row.index,
        id=_shown(row.id),
        request_id=_shown(row.request_id),
        source=_shown(body.get("source")),
        phase=_shown(row.phase),
        action=_shown(row.action),
        outcome=None if row.outcome is None else _shown(row.outcome),
        user_id=_shown(row.user_id),
        user_email=_personal(beside, "userEmail"),
        ip_address=_personal(beside, "ipAddress"),
        user_agent=_personal(beside, "userAgent"),
        resource_type=_shown(row.resource_type),
        resource_id=_shown(row.resource_id),
        details=details if isinstance(details, dict) else {},
        timestamp=_shown(row.timestamp),
        previous_fingerprint=shown(row.index - 1, previous),
        fingerprint=row.fingerprint.hex() if isinstance(row.fingerprint, bytes) else _shown(row.fingerprint),
        erased=[field for field in _PERSONAL if body.get(field) and field not in beside],
    )


def _object(stored: object) -> dict[str, Any]:
    try:
        value = orjson.loads(stored)  # type: ignore[arg-type]  # a forged column may hold anything
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _personal(beside: dict[str, Any], field: str) -> str:
    value = beside.get(field)
    return _shown(value.get("value")) if isinstance(value, dict) else ""


def _shown(value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return "" if value is None else str(value)
