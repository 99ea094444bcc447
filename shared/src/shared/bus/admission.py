"""How many calls run side by side, so that hanging ones leave room for those that are not their kind."""

from collections import Counter

from shared.bus.context import CallContext
from shared.bus.contract import Kind
from shared.errors import Overloaded

MAX_RUNNING = 512
"""Of each kind. Each dispatch may hold a connection upstream: 512 stay below the usual 1,024 open files."""

MAX_DISPATCHES_OF_ONE = 128
"""Of one credential: twice the concurrency of the speed goals, and a quarter of what all may have together."""


class Admission:
    """Counts the calls of each kind, and the dispatches of each credential."""

    def __init__(self, service: str) -> None:
        self._service = service
        self._running: Counter[Kind] = Counter()
        self._dispatches: Counter[tuple[str, str]] = Counter()

    def enter(self, kind: Kind, context: CallContext) -> None:
        """Counts a call, which has to `leave`; raises Overloaded when there is no room for it."""
        if self._running[kind] >= MAX_RUNNING:
            raise Overloaded(f"The {self._service} service has too much to do.")
        if kind is Kind.DISPATCH:
            who = _who(context)
            if self._dispatches[who] >= MAX_DISPATCHES_OF_ONE:
                raise Overloaded(f"{MAX_DISPATCHES_OF_ONE} of your dispatches are running; wait until some have ended.")
            self._dispatches[who] += 1
        self._running[kind] += 1

    def leave(self, kind: Kind, context: CallContext) -> None:
        """The call has ended."""
        self._running[kind] -= 1
        if kind is Kind.DISPATCH:
            who = _who(context)
            self._dispatches[who] -= 1
            if not self._dispatches[who]:
                del self._dispatches[who]  # whoever has none is forgotten


def _who(context: CallContext) -> tuple[str, str]:
    principal = context.caller.principal
    return (principal.user_id, principal.credential_id) if principal else ("", "")
