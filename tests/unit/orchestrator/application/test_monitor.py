"""The monitor: who is probed when, and what becomes of late results."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from orchestrator.application.monitor import Monitor
from orchestrator.domain.agent import Agent
from tests.unit.orchestrator.agents import NOW, FakeUpstream, agent, snapshot
from tests.waiting import until


@pytest.fixture
def upstream() -> FakeUpstream:
    return FakeUpstream()


@pytest.fixture
async def monitor(upstream: FakeUpstream) -> AsyncIterator[Monitor]:
    monitor = Monitor({"openai": upstream}, now=lambda: NOW)
    async with monitor.watching():
        yield monitor


async def test_a_new_agent_is_probed_at_once_and_others_are_not_again(monitor: Monitor, upstream: FakeUpstream) -> None:
    a, b = agent("a"), agent("b")
    monitor.follow(snapshot(1, a))
    await monitor.first_checks()

    monitor.follow(snapshot(2, a.changed({"weight": 9}, at=NOW), b))
    await monitor.first_checks()

    assert upstream.probed == ["a", "b"]
    assert [monitor.health(id).status for id in ("a", "b")] == ["online", "online"]


async def test_a_changed_connection_is_judged_anew(monitor: Monitor, upstream: FakeUpstream) -> None:
    a = agent("a")
    monitor.follow(snapshot(1, a))
    await monitor.first_checks()
    monitor.succeeded(a)

    moved = a.changed({"endpoint": "https://example.com"}, at=NOW)
    monitor.follow(snapshot(2, moved))
    before = monitor.health("a")
    await monitor.first_checks()

    assert (before.status, before.request_count) == ("offline", 0)
    assert monitor.health("a").status == "online"
    assert upstream.probed == ["a", "a"]


async def test_work_of_an_agent_that_is_elsewhere_by_now_does_not_count(monitor: Monitor) -> None:
    a = agent("a")
    moved = a.changed({"endpoint": "https://example.com"}, at=NOW)
    monitor.follow(snapshot(1, moved))
    await monitor.first_checks()

    monitor.failed(a, "late")
    monitor.refused(agent("gone"))
    monitor.succeeded(agent("gone"))

    assert monitor.health("a").request_count == 0


async def test_the_result_of_a_probe_that_was_overtaken_falls_nowhere(monitor: Monitor, upstream: FakeUpstream) -> None:
    a = agent("a")
    upstream.slow.add("a")
    upstream.down.add("a")
    monitor.follow(snapshot(1, a))
    await asyncio.sleep(0)
    upstream.slow.clear()
    upstream.down.clear()

    monitor.follow(snapshot(2, a.changed({"endpoint": "https://example.com"}, at=NOW)))
    await monitor.first_checks()
    upstream.go.set()
    await turns()

    assert monitor.health("a").status == "online"


async def test_an_agent_that_hangs_is_waited_for_once_and_only_so_long(
    monitor: Monitor, upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.application.monitor.FIRST_CHECK_WITHIN_S", 0.05)
    upstream.slow.add("a")
    monitor.follow(snapshot(1, agent("a"), agent("b")))

    waits = [await monitor.first_checks() for _ in range(3)]

    assert waits == [True, False, False]
    assert (monitor.health("a").status, monitor.health("b").status) == ("offline", "online")


async def test_checks_join_the_probe_under_way(monitor: Monitor, upstream: FakeUpstream) -> None:
    monitor.follow(snapshot(1, agent("a")))
    await monitor.first_checks()
    upstream.slow.add("a")

    checks = [asyncio.create_task(monitor.check("a")) for _ in range(5)]
    await until(lambda: len(upstream.probed) == 2)
    upstream.go.set()
    await asyncio.gather(*checks)

    assert upstream.probed == ["a", "a"]


async def test_failed_work_is_followed_by_one_probe(monitor: Monitor, upstream: FakeUpstream) -> None:
    a = agent("a")
    monitor.follow(snapshot(1, a))
    await monitor.first_checks()
    generation = monitor.generation
    upstream.down.add("a")

    monitor.failed(a, "oops")
    monitor.failed(a, "oops")
    degraded = monitor.health("a")
    await monitor.check("a")

    assert (degraded.status, degraded.details) == ("degraded", "Failed at its last request: oops.")
    assert monitor.health("a").status == "offline"
    assert upstream.probed == ["a", "a"]
    assert monitor.generation == generation + 1


async def test_an_agent_that_did_not_answer_is_probed_again_soon(monitor: Monitor, upstream: FakeUpstream) -> None:
    upstream.down.add("a")
    monitor.follow(snapshot(1, agent("a")))
    await monitor.first_checks()
    upstream.down.clear()

    await until(lambda: monitor.health("a").status == "online")

    assert upstream.probed == ["a", "a"]


async def test_an_online_agent_is_probed_again_and_again_until_the_end(
    upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.domain.health.PROBE_EVERY_S", 0.02)
    async with (monitor := Monitor({"openai": upstream}, now=lambda: NOW)).watching():
        monitor.follow(snapshot(1, agent("a")))
        await until(lambda: len(upstream.probed) >= 3)
    probed = len(upstream.probed)
    await asyncio.sleep(0.1)

    assert len(upstream.probed) == probed


async def test_a_removed_agent_is_not_probed_any_more(
    monitor: Monitor, upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.domain.health.PROBE_AGAIN_S", 0.05)
    upstream.down.add("a")
    monitor.follow(snapshot(1, agent("a")))
    await monitor.first_checks()

    monitor.follow(snapshot(2))
    await asyncio.sleep(0.2)

    assert upstream.probed == ["a"]


async def turns() -> None:
    """All that needs no more than the loop is done."""
    for _ in range(20):
        await asyncio.sleep(0)


def at_hosts(count: int, prefix: str = "a") -> list[Agent]:
    return [agent(f"{prefix}{number}", endpoint=f"https://{prefix}{number}.example.org") for number in range(count)]


async def test_no_more_than_some_probes_run_at_once(monitor: Monitor, upstream: FakeUpstream) -> None:
    agents = at_hosts(100)
    upstream.slow |= {one.name for one in agents}

    monitor.follow(snapshot(1, *agents))
    await turns()
    at_once = len(upstream.probed)
    upstream.go.set()
    await monitor.first_checks()

    assert at_once == 32
    assert len(upstream.probed) == 100


async def test_a_host_that_hangs_leaves_slots_to_the_others(monitor: Monitor, upstream: FakeUpstream) -> None:
    hanging = [agent(f"a{number}") for number in range(100)]
    upstream.slow |= {one.name for one in hanging}

    monitor.follow(snapshot(1, *hanging, agent("b", endpoint="https://example.com:8443/v1")))
    await turns()

    assert len(upstream.probed) == 8 + 1
    assert monitor.health("b").status == "online"


async def test_a_check_that_is_asked_for_does_not_wait_behind_those_that_hang(
    monitor: Monitor, upstream: FakeUpstream
) -> None:
    hanging = at_hosts(100)
    upstream.slow |= {one.name for one in hanging}
    last = agent("z", endpoint="https://z.example.org")
    monitor.follow(snapshot(1, *hanging, last))
    await turns()
    before = monitor.health("z")

    async with asyncio.timeout(5):
        health = await monitor.check("z")

    assert (before.details, health.status) == ("Not checked yet.", "online")
    assert await monitor.a_first_check(["z"], within_s=1) is False


async def test_agents_that_hang_are_probed_less_often(
    monitor: Monitor, upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.application.monitor.SLOW_PROBE_S", 0.05)
    upstream.slow.add("a")
    upstream.down |= {"a", "b"}
    monitor.follow(snapshot(1, agent("a"), agent("b")))
    await asyncio.sleep(0.1)
    upstream.go.set()
    await monitor.first_checks()

    assert (monitor.health("a").pause_s(now_s=0), monitor.health("b").pause_s(now_s=0)) == (2, 0.5)


async def test_a_probe_that_breaks_is_a_failed_one_and_told_once(
    monitor: Monitor, upstream: FakeUpstream, caplog: pytest.LogCaptureFixture
) -> None:
    upstream.broken.add("a")
    monitor.follow(snapshot(1, agent("a")))
    await monitor.first_checks()
    await monitor.check("a")

    upstream.broken.clear()
    failed = monitor.health("a")
    healed = await monitor.check("a")

    assert (failed.status, failed.circuit.failures, healed.status) == ("offline", 2, "online")
    assert [record.message for record in caplog.records] == ["probe_failed"]


async def test_work_is_counted_whenever_somebody_looks(monitor: Monitor) -> None:
    a = agent("a")
    monitor.follow(snapshot(1, a))
    await monitor.first_checks()

    for _ in range(3):
        monitor.succeeded(a)
    monitor.failed(a, "oops")
    monitor.succeeded(a)
    monitor.succeeded(a)

    health = monitor.health("a")
    assert (health.request_count, health.error_count, health.status) == (6, 1, "online")
    assert monitor.health("a") is health


async def test_a_bus_agent_is_probed_every_two_seconds_whether_it_is_there_or_not(
    upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.application.monitor.FREE_PROBE_EVERY_S", 0.05)
    here, gone = (agent(name, type="bus", endpoint=None) for name in ("here", "gone"))
    upstream.down.add("gone")
    async with (monitor := Monitor({"bus": upstream}, now=lambda: NOW)).watching():
        monitor.follow(snapshot(1, here, gone))
        await until(lambda: upstream.probed.count("here") > 3 and upstream.probed.count("gone") > 5)
        offline = monitor.health("gone").status

        upstream.down.clear()
        await until(lambda: monitor.health("gone").status == "online")

    assert offline == "offline"


async def test_bus_agents_that_hang_leave_slots_to_others(upstream: FakeUpstream) -> None:
    hanging = [agent(f"a{number}", type="bus", endpoint=None) for number in range(10)]
    upstream.slow |= {one.name for one in hanging}
    watched = Monitor({"bus": upstream}, now=lambda: NOW)

    async with watched.watching():
        watched.follow(snapshot(1, *hanging, agent("b", type="bus", endpoint=None)))
        await until(lambda: watched.health("b").status == "online")
        upstream.go.set()
