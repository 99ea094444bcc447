"""Waiting for what nobody tells of; for longer than a machine may stand still that is busy with other things."""

import asyncio
from collections.abc import Awaitable, Callable

PATIENCE_S = 5.0


async def until(reached: Callable[[], bool], *, within: float = PATIENCE_S) -> None:
    """Returns soon after `reached` first says so."""
    async with asyncio.timeout(within):
        while not reached():  # noqa: ASYNC110  # what is waited for sets no event
            await asyncio.sleep(0.005)


async def eventually(reached: Callable[[], Awaitable[bool]], *, within: float = PATIENCE_S) -> None:
    """The same where it has to be asked for."""
    async with asyncio.timeout(within):
        while not await reached():  # noqa: ASYNC110  # the same
            await asyncio.sleep(0.05)
