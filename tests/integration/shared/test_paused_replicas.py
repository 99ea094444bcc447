"""Calls that a paused process gets, which stays in its queue group: others answer soon, and it begins nothing later."""

import asyncio
import signal
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from nats.aio.msg import Msg

from shared.bus import Bus
from shared.bus.requester import ReplicaSilent
from shared.errors import RemoteFailure
from tests.integration.bus import Nats, bus_as
from tests.integration.shared.calls import DISPATCH, READ, STREAM, Text, within
from tests.integration.shared.clients import client_as
from tests.integration.shared.processes import said, serving_replicas, streamer

Ask = Callable[[Bus], Awaitable[str]]


@pytest.fixture
async def edge(nats: Nats) -> AsyncIterator[Bus]:
    async with bus_as(nats, "edge") as bus:
        yield bus


@asynccontextmanager
async def two_streamers(nats: Nats) -> AsyncIterator[tuple[Process, Process]]:
    async with streamer(nats, "orchestrator-1") as one, streamer(nats, "orchestrator-2") as other:
        await said(one, "ready")
        await said(other, "ready")
        yield one, other


async def who_dispatches(edge: Bus, work: str = "0") -> str:
    return (await edge.call(DISPATCH, Text(text=work), within(30))).text


async def who_streams(edge: Bus) -> str:
    async with edge.stream(STREAM, b"", within(30)) as inlet:
        return (await inlet.piece() or b"").decode()


async def who_reads(edge: Bus) -> str:
    return (await edge.call(READ, Text(text="0"), within(30))).text


async def rest_of_output(process: Process) -> list[bytes]:
    """All that it still says until it is told to end."""
    process.terminate()
    output, _ = await asyncio.wait_for(process.communicate(), 15)
    return output.split()


@pytest.mark.parametrize("ask", [who_dispatches, who_streams], ids=["dispatch", "stream"])
async def test_work_for_a_paused_replica_is_done_by_another_and_never_begun_by_the_first(
    nats: Nats, edge: Bus, ask: Ask
) -> None:
    async with two_streamers(nats) as (paused, _):
        paused.send_signal(signal.SIGSTOP)
        answers = await asyncio.gather(*(ask(edge) for _ in range(20)))
        paused.send_signal(signal.SIGCONT)
        begun = await rest_of_output(paused)

    assert (set(answers), begun) == ({"orchestrator-2"}, [])


async def test_what_a_paused_replica_is_asked_another_one_answers(nats: Nats, edge: Bus) -> None:
    async with serving_replicas(nats, 2) as [paused, _]:
        paused.send_signal(signal.SIGSTOP)
        answers = await asyncio.gather(*(who_reads(edge) for _ in range(20)))

    assert set(answers) == {"auth-2"}


async def test_what_was_begun_just_before_the_pause_is_done_by_another_and_stopped_when_the_first_wakes(
    nats: Nats, edge: Bus
) -> None:
    async with two_streamers(nats) as replicas:
        call = asyncio.create_task(who_dispatches(edge, "2.5"))  # more than the pause takes, or it would be done
        working = {asyncio.create_task(said(replica, "working")): replica for replica in replicas}
        [first], waiting = await asyncio.wait(working, return_when=asyncio.FIRST_COMPLETED)
        working[first].send_signal(signal.SIGSTOP)
        [second] = waiting
        await second
        working[first].send_signal(signal.SIGCONT)
        await said(working[first], "stopped")
        name = await call

    assert name == f"orchestrator-{replicas.index(working[second]) + 1}"


async def test_a_replica_that_is_alone_is_waited_for_and_begins_nothing_twice(nats: Nats, edge: Bus) -> None:
    async with streamer(nats) as alone:
        await said(alone, "ready")
        call = asyncio.create_task(who_dispatches(edge, "0.1"))
        await said(alone, "working")
        alone.send_signal(signal.SIGSTOP)
        await asyncio.sleep(1.3)
        alone.send_signal(signal.SIGCONT)
        name = await call
        output = await rest_of_output(alone)

    assert (name, output) == ("orchestrator-1", [])


async def test_a_replica_that_is_alone_and_stays_silent_leaves_the_outcome_open(nats: Nats, edge: Bus) -> None:
    async with streamer(nats) as alone:
        await said(alone, "ready")
        alone.send_signal(signal.SIGSTOP)
        async with edge.stream(STREAM, b"", within(60)) as inlet:
            with pytest.raises(ReplicaSilent):
                await inlet.piece()


async def test_a_call_to_one_replica_passes_the_same_gate_as_any_other(nats: Nats, edge: Bus) -> None:
    async with streamer(nats) as replica:
        await said(replica, "ready")
        answer = await edge._requester.exchange(DISPATCH, b'{"text":"0"}', within(5), replica="orchestrator-1")
        with pytest.raises(RemoteFailure) as caught:
            await edge._requester.exchange(STREAM, b"", within(5), replica="orchestrator-1")

    assert (answer, caught.value.code) == (b'{"text":"orchestrator-1"}', "malformed")


async def test_who_is_not_a_replica_of_the_service_is_not_called(nats: Nats, edge: Bus) -> None:
    async with client_as(nats, "orchestrator") as (client, refusals):

        async def mislead(message: Msg) -> None:
            await message.respond(b'{"id":"a.b","name":"orchestrator"}')

        async def ignore(_message: Msg) -> None: ...

        await client.subscribe("$SRV.PING.orchestrator", cb=mislead)
        await client.subscribe(DISPATCH.subject, queue="orchestrator", cb=ignore)
        assert await refusals.since_last_time() == []
        before = edge._client.stats["out_msgs"]
        with pytest.raises(ReplicaSilent) as caught:
            await edge.call(DISPATCH, Text(), within(30))

        assert (caught.value.other, edge._client.stats["out_msgs"] - before) == (None, 3)  # call, question, cancelling
