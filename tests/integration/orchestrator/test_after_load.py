"""What is left of requests once they are over: no task, no connection, nothing of what was asked."""

import asyncio
import gc
from collections import Counter
from pathlib import Path

from orchestrator.application.dispatching import _Task
from orchestrator.domain.chat import Chat
from shared.bus import Bus, CallContext
from shared.contracts.orchestrator import REMOVE_AGENT, Dispatch, GetAgent
from shared.errors import PlatformError
from tests.integration.bus import Nats, bus_as
from tests.integration.orchestrator import upstreams
from tests.integration.orchestrator.calls import dispatch, register
from tests.integration.orchestrator.cluster import AuditLog, by, replica
from tests.integration.orchestrator.upstreams import Upstream, json_reply, reply, upstream
from tests.waiting import eventually

OF_A_REQUEST = (_Task, Chat, CallContext, Dispatch)


def tasks() -> Counter[str]:
    """The tasks of this loop by what they do; without those that serve for the upstream, which is another machine."""
    names = Counter(getattr(task.get_coro(), "__qualname__", "") for task in asyncio.all_tasks())
    return Counter({name: count for name, count in names.items() if name != "Upstream.serve"})


def kept() -> int:
    """How many objects of requests there are."""
    gc.collect()
    return sum(isinstance(each, OF_A_REQUEST) for each in gc.get_objects())


async def load(edge: Bus, bad: Upstream, good: Upstream) -> Counter[str]:
    """Some hundred dispatches: answered, failed over, refused, without an agent, too late, left by their callers.

    The agents come and go with them, as they are given no more work once they have failed.
    """
    ended: Counter[str] = Counter()
    agents = [await register(edge, bad, name="bad", priority=6), await register(edge, good, name="good")]

    async def ask(**fields: object) -> None:
        try:
            await dispatch(edge, "x" * 1000, **fields)  # type: ignore[arg-type]  # what a dispatch may have
            ended["answered"] += 1
        except PlatformError as error:
            ended[error.reason] += 1
        except asyncio.CancelledError:
            ended["left"] += 1

    for chat in (None, reply(b"", status="400 No"), upstreams.closes_at_once, json_reply(upstreams.OPENAI_ANSWER)):
        bad.chat = chat
        await asyncio.gather(*(ask() for _ in range(40)), *(ask(model="nobody's") for _ in range(10)))
    good.chat = bad.chat = upstreams.hangs
    leaving = [asyncio.create_task(ask()) for _ in range(30)]
    await asyncio.gather(*(ask(seconds=0.6) for _ in range(5)))
    for call in leaving:
        call.cancel()
    await asyncio.wait(leaving)
    good.chat = bad.chat = None
    for agent in agents:
        await edge.call(REMOVE_AGENT, GetAgent(id=agent.id), by())
    return ended


async def test_no_task_and_nothing_of_a_request_is_left(
    nats: Nats, audit: AuditLog, data_dir: Path, server: Upstream
) -> None:
    async with upstream() as other, bus_as(nats, "edge") as edge:
        allowed = f"127.0.0.1:{server.port},127.0.0.1:{other.port}"
        async with replica(nats, data_dir, allowed=allowed):
            await load(edge, server, other)  # whatever is made once is there
            await eventually_quiet()
            before, kept_before = tasks(), kept()

            ended = await load(edge, server, other)

            async def as_before() -> bool:
                return not tasks() - before

            await eventually(as_before, within=10)
            assert min(ended[how] for how in ("answered", "agent-failed", "no-healthy-agents", "left")) > 0, ended
            assert kept() <= kept_before + 5


async def eventually_quiet() -> None:
    """Returns when three looks in a row find the same tasks."""
    looks: list[Counter[str]] = []
    while len(looks) < 3 or any(look != looks[-1] for look in looks[-3:]):
        await asyncio.sleep(0.1)
        looks.append(tasks())
