"""How long to wait before a process that died is started again."""

_FIRST = 0.25  # seconds
_LONGEST = 5.0
_SETTLED = 30.0


class Backoff:
    """At once after the first death, then a doubling wait; a process that lived for long starts from the beginning."""

    def __init__(self) -> None:
        self._deaths = 0

    def after(self, lived: float) -> float:
        """The wait, in seconds, after a life of that many seconds."""
        if lived >= _SETTLED:
            self._deaths = 0
        self._deaths += 1
        return 0.0 if self._deaths == 1 else min(_LONGEST, _FIRST * 2.0 ** min(self._deaths - 2, 10))

    def reset(self) -> None:
        """As if it had never died."""
        self._deaths = 0
