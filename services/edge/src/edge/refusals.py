"""Refusals in the audit log: coalesced and never awaited, so that strangers neither fill the disk nor slow the door."""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from edge.http.request import Request
from edge.http.response import Response
from shared.addresses import address_prefix
from shared.audit import AuditTrail, Change, Resource
from shared.background import beside
from shared.bus import CallContext, Kind
from shared.contracts.audit import Action, Outcome

REPEAT_AFTER_S = 60.0
SWEEP_EVERY_S = 5.0
MAX_REMEMBERED = 10_000
MAX_IN_FLIGHT = 16

_ALWAYS = frozenset({401, 403, 429})
_RECORDED_BY_AUTH = frozenset({"invalid-credentials"})

_log = logging.getLogger(__name__)

_Key = tuple[str, str, str]


@dataclass(slots=True)
class _Refused:
    change: Change
    context: CallContext
    since: float
    more: int = 0


class Refusals:
    """One entry at once per (reason, route, who), then one a minute with a count."""

    def __init__(self, trail: AuditTrail, *, route_of: Callable[[str], str]) -> None:
        self._trail = trail
        self._route_of = route_of
        self._refused: OrderedDict[_Key, _Refused] = OrderedDict()
        self._recording: set[asyncio.Task[None]] = set()

    def note(self, request: Request, response: Response) -> None:
        """Takes note of an answer if it is a refusal."""
        if response.status not in _ALWAYS and not (response.status == 422 and request.changes_something):
            return
        if response.reason in _RECORDED_BY_AUTH:
            return
        principal = request.caller.principal
        route = self._route_of(request.path)
        key = (response.reason, route, principal.credential_id if principal else address_prefix(request.ip_address))
        known = self._refused.get(key)
        if known is not None:
            known.more += 1
            return
        refused = _Refused(_change(request, route, response), request.context(Kind.CHANGE), _now())
        self._refused[key] = refused
        self._record(refused, count=1)
        if len(self._refused) > MAX_REMEMBERED:
            _, oldest = self._refused.popitem(last=False)
            self._record_again(oldest)

    @asynccontextmanager
    async def recording(self) -> AsyncIterator[None]:
        """Records the counts of repeated refusals while the block runs, and what is left at its end."""
        try:
            async with beside(self._sweep):
                yield
        finally:
            self._record_counts(older_than=0)
            if self._recording:
                await asyncio.wait(self._recording, timeout=3)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_EVERY_S)
            self._record_counts(older_than=REPEAT_AFTER_S)

    def _record_counts(self, *, older_than: float) -> None:
        for key, refused in tuple(self._refused.items()):
            if _now() - refused.since < older_than:
                continue
            del self._refused[key]
            again = self._record_again(refused)
            if again is not None and older_than:
                self._refused[key] = again

    def _record_again(self, refused: _Refused) -> _Refused | None:
        """Records how often it came since, if it did; what is returned counts on."""
        if not refused.more:
            return None
        again = _Refused(refused.change, _renewed(refused.context), _now())
        self._record(again, count=refused.more)
        return again

    def _record(self, refused: _Refused, *, count: int) -> None:
        if len(self._recording) >= MAX_IN_FLIGHT:
            refused.more += count  # told with the next count instead
            return
        change = refused.change
        counted = Change(change.action, change.resource, {**change.details, "count": count}, change.who)
        task = asyncio.create_task(self._trail.conclude(counted, refused.context, Outcome.DENIED))
        self._recording.add(task)
        task.add_done_callback(self._recorded)

    def _recorded(self, task: asyncio.Task[None]) -> None:
        self._recording.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("refusal_not_recorded", exc_info=error)


def _change(request: Request, route: str, response: Response) -> Change:
    details = {"reason": response.reason, "status": response.status, "method": request.method}
    return Change(Action.REQUEST_REFUSED, Resource("route", route), details, request.caller.principal)


def _renewed(context: CallContext) -> CallContext:
    return CallContext(caller=context.caller, deadline=context.deadline, traceparent=context.traceparent)


def _now() -> float:
    return asyncio.get_running_loop().time()
