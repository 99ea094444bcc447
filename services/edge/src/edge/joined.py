"""Answers that take time, shared by those who want them at the same time."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Generic, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Joined(Generic[P, T]):
    """Something that takes time: those who come while it is under way share its result."""

    def __init__(self, run: Callable[P, Coroutine[Any, Any, T]]) -> None:
        self._run = run
        self._running: asyncio.Task[T] | None = None

    async def result(self, *args: P.args, **options: P.kwargs) -> T:
        """The result of the run under way, or of a new one with these arguments."""
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._run(*args, **options))
        return await asyncio.shield(self._running)
