"""Replicas in processes of their own."""

import asyncio
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager

from tests.integration.bus import Nats


@asynccontextmanager
async def program(nats: Nats, name: str, *, user: str, argument: str) -> AsyncIterator[Process]:
    """One of the programs beside this module that was started; it is killed at the end of the block."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", f"tests.integration.shared.{name}", nats.url, str(nats.nkey(user)), argument),
        stdout=PIPE,
        stderr=PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGCONT)
            process.kill()
        await process.communicate()


def replica(nats: Nats, instance: str = "auth-1", *, user: str = "auth") -> AbstractAsyncContextManager[Process]:
    """A replica of auth."""
    return program(nats, "replica", user=user, argument=instance)


def streamer(nats: Nats, instance: str = "orchestrator-1") -> AbstractAsyncContextManager[Process]:
    """A replica of orchestrator."""
    return program(nats, "streamer", user="orchestrator", argument=instance)


@asynccontextmanager
async def serving_replicas(nats: Nats, count: int) -> AsyncIterator[list[Process]]:
    async with AsyncExitStack() as stack:
        processes = [await stack.enter_async_context(replica(nats, f"auth-{n + 1}")) for n in range(count)]
        for process in processes:
            await said(process, "ready")
        yield processes


async def said(process: Process, word: str) -> None:
    """Returns when the process has printed a line with this word."""
    assert process.stdout is not None
    async with asyncio.timeout(15):
        while word.encode() not in (line := await process.stdout.readline()):
            assert line, "the process has ended"
