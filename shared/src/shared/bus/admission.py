"""How many calls run side by side, so that hanging ones leave room for those that are not their kind."""

from collections import Counter

from shared.bus.context import CallContext
from shared.bus.contract import Kind
from shared.errors import Overloaded

MAX_RUNNING = 512
"""Of each kind but streams. Each dispatch may hold a connection upstream: 512 stay below the usual 1,024 open files."""

MAX_DISPATCHES_OF_ONE = 128
"""Of one credential: twice the concurrency of the speed goals, and a quarter of what all may have together."""

MAX_STREAMS = 2048
"""They stay open for minutes and do little; files are no bound, see `shared.process`."""

MAX_STREAMS_OF_ONE = 512
"""Of one credential: a quarter, too."""

_OF_ONE = {Kind.DISPATCH: (MAX_DISPATCHES_OF_ONE, "dispatches"), Kind.STREAM: (MAX_STREAMS_OF_ONE, "streams")}


class Admission:
    """Counts the calls of each kind, and the dispatches and streams of each credential."""

    def __init__(self, service: str) -> None:
        self._service = service
        self._running: Counter[Kind] = Counter()
        self._of_one: dict[Kind, Counter[tuple[str, str]]] = {kind: Counter() for kind in _OF_ONE}

    def enter(self, kind: Kind, context: CallContext) -> None:
        """Counts a call, which has to `leave`; raises Overloaded when there is no room for it."""
        if self._running[kind] >= (MAX_STREAMS if kind is Kind.STREAM else MAX_RUNNING):
            raise Overloaded(f"The {self._service} service has too much to do.")
        running = self._of_one.get(kind)
        if running is not None:
            who = _who(context)
            limit, what = _OF_ONE[kind]
            if running[who] >= limit:
                raise Overloaded(f"{limit} of your {what} are running; wait until some have ended.")
            running[who] += 1
        self._running[kind] += 1

    def leave(self, kind: Kind, context: CallContext) -> None:
        """The call has ended."""
        self._running[kind] -= 1
        running = self._of_one.get(kind)
        if running is not None:
            who = _who(context)
            running[who] -= 1
            if not running[who]:
                del running[who]  # whoever has none is forgotten


def _who(context: CallContext) -> tuple[str, str]:
    principal = context.caller.principal
    return (principal.user_id, principal.credential_id) if principal else ("", "")
