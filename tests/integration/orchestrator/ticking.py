"""How long a loop is held up: the processor time of its thread between two of its turns, whatever else runs here."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

EVERY_S = 0.001


@dataclass
class Longest:
    """The longest hold-up so far, in seconds of the processor."""

    s: float = 0.0


@asynccontextmanager
async def longest_hold_up() -> AsyncIterator[Longest]:
    """Watches the running loop while the block runs."""
    longest = Longest()

    async def tick() -> None:
        before = time.thread_time()
        while True:
            await asyncio.sleep(EVERY_S)
            now = time.thread_time()
            longest.s, before = max(longest.s, now - before), now

    task = asyncio.create_task(tick())
    await asyncio.sleep(2 * EVERY_S)
    try:
        yield longest
        await asyncio.sleep(2 * EVERY_S)  # what was held up last is noticed as well
    finally:
        task.cancel()
        await asyncio.wait((task,))
