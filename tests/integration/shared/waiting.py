"""Waiting for what nobody tells of."""

import asyncio
from collections.abc import Callable


async def until(true: Callable[[], bool], *, within: float = 5.0) -> None:
    """Returns soon after `true` first says so."""
    async with asyncio.timeout(within):
        while not true():  # noqa: ASYNC110  # what is waited for sets no event
            await asyncio.sleep(0.005)
