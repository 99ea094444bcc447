"""How many calls run side by side, so that hanging ones leave room for those that are not their kind."""

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

_OF_ALL = {Kind.STREAM: MAX_STREAMS}
_OF_ONE = {Kind.DISPATCH: (MAX_DISPATCHES_OF_ONE, "dispatches"), Kind.STREAM: (MAX_STREAMS_OF_ONE, "streams")}


class Admission:
    """Counts the calls of each kind, and the dispatches and streams of each credential."""

    def __init__(self, service: str) -> None:
        # Plain dictionaries: a Counter runs Python code for each key that it does not have, 4 µs for a lone dispatch.
        self._service = service
        self._running = dict.fromkeys(Kind, 0)
        self._of_one: dict[Kind, dict[tuple[str, str], int]] = {kind: {} for kind in _OF_ONE}

    def enter(self, kind: Kind, context: CallContext) -> None:
        """Counts a call, which has to `leave`; raises Overloaded when there is no room for it."""
        if self._running[kind] >= _OF_ALL.get(kind, MAX_RUNNING):
            raise Overloaded(f"The {self._service} service has too much to do.")
        of_one = self._of_one.get(kind)
        if of_one is not None:
            who = _who(context)
            running = of_one.get(who, 0)
            limit, what = _OF_ONE[kind]
            if running >= limit:
                raise Overloaded(f"{limit} of your {what} are running; wait until some have ended.")
            of_one[who] = running + 1
        self._running[kind] += 1

    def leave(self, kind: Kind, context: CallContext) -> None:
        """The call has ended."""
        self._running[kind] -= 1
        of_one = self._of_one.get(kind)
        if of_one is not None:
            who = _who(context)
            running = of_one.pop(who) - 1  # whoever has none is forgotten
            if running:
                of_one[who] = running


def _who(context: CallContext) -> tuple[str, str]:
    principal = context.caller.principal
    return (principal.user_id, principal.credential_id) if principal else ("", "")
