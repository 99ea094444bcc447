"""Silence: when nothing new comes of a stream for too long, it ends."""

import asyncio
from types import TracebackType
from typing import Self

from orchestrator.infrastructure.guarded_http import OpenAnswer


class Silence:
    """Cuts an answer off when it was waited `seconds` for something new; one timer for the whole stream.

    Starting a timer for each read would cost as much as reading.
    """

    def __init__(self, answer: OpenAnswer, seconds: float) -> None:
        self._answer = answer
        self._seconds = seconds
        self._loop = asyncio.get_running_loop()
        self._since: float | None = None
        self._timer = self._loop.call_later(seconds, self._look)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()

    def begins(self) -> None:
        """Something new is waited for from now on, unless it is already."""
        if self._since is None:
            self._since = self._loop.time()

    def ends(self) -> None:
        """Something new has come."""
        self._since = None

    def _look(self) -> None:
        now = self._loop.time()
        end = (now if self._since is None else self._since) + self._seconds
        if end <= now:
            self._answer.cut_off()
        else:
            self._timer = self._loop.call_at(end, self._look)
