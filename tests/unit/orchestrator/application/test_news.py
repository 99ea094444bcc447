"""News: what is told of agents, in which order, and that nothing waits for it."""

from contextlib import AsyncExitStack

from orchestrator.application.news import MAX_UNTOLD, News
from orchestrator.domain.health import Health
from shared.bus import read
from shared.contracts.events import AGENT_CHANGED, AGENT_HEALTH_CHANGED, AgentChanged, AgentHealthChanged
from tests.unit.orchestrator.agents import NOW, agent
from tests.waiting import until

UP = Health().probed_well("Answers.", latency_ms=1, at=NOW, now_s=0)


class Published:
    """What a bus was given; it breaks for the first `failures` times."""

    def __init__(self, failures: int = 0) -> None:
        self.events: list[tuple[str, bytes]] = []
        self._failures = failures

    async def publish(self, subject: str, body: bytes) -> None:
        if self._failures:
            self._failures -= 1
            raise OSError("away")
        self.events.append((subject, body))


async def test_changes_of_health_and_of_the_pool_are_told_in_their_order() -> None:
    bus = Published()
    news = News(bus.publish, now=lambda: NOW)

    async with news.telling():
        news.agent_changed(agent("a"), "created")
        news.health_changed(agent("a"), Health(), UP)
        await until(lambda: len(bus.events) == 2)

    (first, created), (second, changed) = bus.events
    assert (first, second) == (AGENT_CHANGED.subject, AGENT_HEALTH_CHANGED.subject)
    assert read(AgentChanged, created).change == "created"
    health = read(AgentHealthChanged, changed)
    assert (health.agent_id, health.previous_status, health.status) == ("a", "offline", "online")


async def test_one_that_cannot_be_told_is_not_in_the_way_of_the_next() -> None:
    bus = Published(failures=1)
    news = News(bus.publish, now=lambda: NOW)

    async with news.telling():
        news.agent_changed(agent("a"), "created")
        news.agent_changed(agent("b"), "created")
        await until(lambda: len(bus.events) == 1)

    assert read(AgentChanged, bus.events[0][1]).agent_id == "b"


async def test_what_waits_is_bounded_and_the_oldest_goes() -> None:
    bus = Published()
    news = News(bus.publish, now=lambda: NOW)
    for number in range(MAX_UNTOLD + 5):
        news.agent_changed(agent(str(number)), "updated")

    async with AsyncExitStack() as stack:
        await stack.enter_async_context(news.telling())
        await until(lambda: len(bus.events) == MAX_UNTOLD)

    assert read(AgentChanged, bus.events[0][1]).agent_id == "5"
