"""Checkpointing: what was appended is signed within a second, or after a thousand entries."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from audit.application.knowledge import Knowledge
from audit.application.ports import LogUnavailable
from audit.application.tree import Tree
from shared.background import beside
from shared.errors import PlatformError

EVERY_S = 0.5
ENTRIES = 1000
LOOK_EVERY_S = 0.1
AGAIN_AFTER_S = 2.0
"""After a failure: what is wrong with a log is seldom over at once."""

_log = logging.getLogger(__name__)


class Checkpointer:
    """Has the tree grow, again and again."""

    def __init__(self, tree: Tree, knowledge: Knowledge) -> None:
        self._tree = tree
        self._knowledge = knowledge

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Signs while the block runs; what is left at its end is signed by whoever begins next."""
        async with beside(self._repeat):
            yield

    async def _repeat(self) -> None:
        while True:
            try:
                while await self._tree.grow():
                    pass
                await self._news()
                continue
            except (LogUnavailable, PlatformError):
                pass  # the tree has said so
            except Exception:
                _log.exception("checkpointing_failed")
            await asyncio.sleep(AGAIN_AFTER_S)

    async def _news(self) -> None:
        """Returns after EVERY_S, as another replica may have appended; sooner after ENTRIES of our own."""
        loop = asyncio.get_running_loop()
        until = loop.time() + EVERY_S
        while loop.time() < until and self._unsigned < ENTRIES:  # noqa: ASYNC110  # what is waited for sets no event
            await asyncio.sleep(LOOK_EVERY_S)

    @property
    def _unsigned(self) -> int:
        return self._knowledge.seen.index + 1 - self._tree.grown.edge.size
