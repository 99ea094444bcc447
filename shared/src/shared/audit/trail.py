"""The audit trail: what a use case says to have itself recorded."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from shared.audit.appender import Appender, AuditUnavailable, EntryRefused
from shared.audit.encoding import Draft
from shared.audit.outbox import Outbox
from shared.bus import Bus, CallContext
from shared.clock import rfc3339_now
from shared.contracts.audit import Action, Details, Outcome, Phase
from shared.errors import ErrorCode, PlatformError
from shared.principal import Principal

_log = logging.getLogger(__name__)

_DENIALS = frozenset({ErrorCode.UNAUTHENTICATED, ErrorCode.FORBIDDEN, ErrorCode.RATE_LIMITED})


@dataclass(frozen=True, slots=True)
class Resource:
    """What is acted on: its type (`agent`) and its id."""

    type: str
    id: str


@dataclass(slots=True)
class Change:
    """A change under way; its block may add what only the effect shows before the outcome is recorded.

    `who` names the person when the call itself does not yet (a log-in); `email` is what an unknown person gave.
    """

    action: Action
    resource: Resource
    details: Details = field(default_factory=dict)
    who: Principal | None = None
    email: str = ""


class AuditTrail:
    """Records intents and outcomes in the audit log. Made by `open_trail`."""

    def __init__(self, appender: Appender, outbox: Outbox) -> None:
        self._appender = appender
        self._outbox = outbox

    @asynccontextmanager
    async def change(
        self,
        action: Action,
        resource: Resource,
        context: CallContext,
        details: Details | None = None,
        *,
        email: str = "",
    ) -> AsyncIterator[Change]:
        """Records the intent, runs the block, records the outcome.

        Raises AuditUnavailable, without running the block, when the intent gets no receipt within 2 s. An outcome that
        cannot be recorded waits in the outbox: the effect is there and the caller gets its answer.
        """
        change = Change(action, resource, dict(details or {}), context.caller.principal, email)
        await self.intend(change, context)
        try:
            yield change
        except BaseException as error:
            change.details["reason"] = _reason_of(error)
            await self.conclude(change, context, _outcome_of(error))
            raise
        await self.conclude(change, context, Outcome.SUCCESS)

    async def intend(self, change: Change, context: CallContext) -> None:
        """Records an intent, which has to be concluded; raises AuditUnavailable without a receipt within 2 s."""
        await self._appender.append(_entry(change, context, Phase.INTENT, None, conclude_by=context.deadline))

    async def be_reachable(self) -> None:
        """Raises AuditUnavailable unless the log has answered within the last second."""
        await self._appender.be_reachable()

    async def conclude(self, change: Change, context: CallContext, outcome: Outcome) -> None:
        """Records an outcome that has no intent; afterwards it is in the log or, durably, in the outbox."""
        entry = _entry(change, context, Phase.OUTCOME, outcome)
        try:
            await self._append_or_keep(entry)
        except asyncio.CancelledError:  # it has happened all the same; an entry that is sent twice counts once
            await asyncio.shield(self._append_or_keep(entry))
            raise

    async def defend(
        self, action: Action, resource: Resource, context: CallContext, details: Details | None = None
    ) -> None:
        """Records a defence (logout, revocation) that has been carried out: it never waits for the log."""
        change = Change(action, resource, dict(details or {}), context.caller.principal)
        await self._outbox.put(_entry(change, context, Phase.OUTCOME, Outcome.SUCCESS))

    async def _append_or_keep(self, entry: Draft) -> None:
        try:
            await self._appender.append(entry)
        except AuditUnavailable:
            _log.warning("audit_outcome_kept_in_outbox", extra={"id": entry.id, "action": entry.action})
            await self._outbox.put(entry)
        except EntryRefused as error:  # it has happened all the same; the outbox keeps what the log will not take
            _log.error("audit_outcome_refused", extra={"id": entry.id, "action": entry.action, "detail": error.detail})
            await self._outbox.put(entry)


@asynccontextmanager
async def open_trail(bus: Bus, data_dir: Path) -> AsyncIterator[AuditTrail]:
    """The trail of this process, with its outbox under `data_dir`."""
    appender = Appender(bus)
    outbox = Outbox(data_dir / "outbox", bus.instance)
    async with outbox.delivering(appender.append):
        yield AuditTrail(appender, outbox)


def _outcome_of(error: BaseException) -> Outcome:
    denied = isinstance(error, PlatformError) and error.code in _DENIALS
    return Outcome.DENIED if denied else Outcome.FAILURE


def _reason_of(error: BaseException) -> str:
    if isinstance(error, asyncio.CancelledError):
        return "cancelled"
    return error.reason if isinstance(error, PlatformError) else "internal"


def _entry(
    change: Change, context: CallContext, phase: Phase, outcome: Outcome | None, *, conclude_by: int | None = None
) -> Draft:
    """Cut to what the log takes: no text that a stranger chose may keep the entry from being recorded."""
    who, origin = change.who, context.caller.origin
    return Draft(
        id=context.event_id[:64],
        request_id=context.request_id[:256],
        phase=phase,
        action=change.action,
        outcome=outcome,
        user_id=who.user_id[:256] if who else "",
        user_email=(who.email if who else change.email)[:1024],
        ip_address=origin.ip_address[:256],
        user_agent=origin.user_agent[:1024],
        resource_type=change.resource.type[:256],
        resource_id=change.resource.id[:256],
        details=change.details,
        timestamp=rfc3339_now(),
        conclude_by=conclude_by,
    )
