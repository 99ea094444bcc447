"""What callers see when replicas or the nats-server are killed, paused or late."""

import asyncio
import logging
import signal
import time
from contextlib import suppress

import pytest
from nats.aio.msg import Msg

from deploy.nats.agent_keys import new_pair
from shared.bus import Bus, CallContext
from shared.bus.requester import OutcomeUnknown, ReplicaSilent
from shared.bus.responder import settle
from shared.contracts.events import AGENT_CHANGED
from shared.errors import RemoteFailure, Unavailable
from tests.integration.bus import Nats, bus_as
from tests.integration.shared.calls import CHANGE, DISPATCH, READ, Text, echo, within
from tests.integration.shared.clients import client_as
from tests.integration.shared.processes import replica, said, serving_replicas
from tests.waiting import until


async def test_a_killed_replica_is_noticed_long_before_the_deadline(nats: Nats) -> None:
    async with bus_as(nats, "edge") as edge, serving_replicas(nats, 1) as [process]:
        call = asyncio.create_task(edge.call(CHANGE, Text(text="60"), within(60)))
        await said(process, "working")
        process.kill()
        async with asyncio.timeout(20):
            with pytest.raises(OutcomeUnknown):
                await call


async def test_a_slow_call_on_a_living_replica_is_answered(nats: Nats) -> None:
    async with bus_as(nats, "edge") as edge, serving_replicas(nats, 1):
        change = edge.call(CHANGE, Text(text="4"), within(10))
        read = edge.call(READ, Text(text="3.5"), within(10))

        answers = await asyncio.gather(change, read)

    assert {answer.text for answer in answers} == {"auth-1"}


async def test_reads_survive_a_paused_replica(nats: Nats) -> None:
    async with bus_as(nats, "edge") as edge, serving_replicas(nats, 3) as [paused, *_]:
        paused.send_signal(signal.SIGSTOP)

        answers = await asyncio.gather(*(edge.call(READ, Text(text="0"), within(8)) for _ in range(10)))

    assert {answer.text for answer in answers} == {"auth-2", "auth-3"}


async def test_what_does_no_harm_twice_is_asked_again_soon_and_with_the_same_words(nats: Nats) -> None:
    asked: list[tuple[str, bytes]] = []

    async def answer_the_second(message: Msg) -> None:
        asked.append((message.reply, message.data))
        if len(asked) == 2:
            await message.respond(b'{"text":"second"}')

    async with bus_as(nats, "edge") as edge, client_as(nats, "auth") as (client, _):
        await client.subscribe(CHANGE.subject, queue="auth", cb=answer_the_second)
        await settle(client)
        answer = await edge.forward(CHANGE, b'{"text":"x"}', within(5), ask_again_after=0.2)

    assert (answer, asked[0]) == (b'{"text":"second"}', asked[1])


async def test_a_change_that_a_paused_replica_got_fails_with_an_open_outcome(nats: Nats) -> None:
    async with bus_as(nats, "edge") as edge, serving_replicas(nats, 1) as [paused]:
        paused.send_signal(signal.SIGSTOP)
        with pytest.raises(ReplicaSilent):
            await edge.call(CHANGE, Text(text="0"), within(60))


async def test_what_a_replica_slept_through_is_not_begun_when_it_wakes(nats: Nats) -> None:
    async with bus_as(nats, "edge") as edge, serving_replicas(nats, 1) as [paused]:
        paused.send_signal(signal.SIGSTOP)
        call = asyncio.create_task(edge.call(CHANGE, Text(text="0"), within(15)))
        await asyncio.sleep(1.3)
        paused.send_signal(signal.SIGCONT)
        with pytest.raises(RemoteFailure) as caught:
            await call

    assert caught.value.reason == "overloaded"


async def test_sigterm_answers_calls_in_flight_and_ends_with_status_0(nats: Nats) -> None:
    async with bus_as(nats, "edge") as edge, serving_replicas(nats, 1) as [process]:
        call = asyncio.create_task(edge.call(CHANGE, Text(text="0.7"), within(5)))
        await said(process, "working")
        process.terminate()
        answer = await call
        status = await process.wait()

    assert (answer.text, status) == ("auth-1", 0)


async def test_a_killed_server_fails_calls_in_flight_at_once_and_all_works_again(
    own_nats: Nats,
) -> None:
    events: list[bytes] = []
    reconnected: list[None] = []

    async def sleep(request: Text, _context: CallContext) -> Text:
        await asyncio.sleep(float(request.text))
        return request

    async def hear(body: bytes) -> None:
        events.append(body)

    async with bus_as(own_nats, "edge") as edge, bus_as(own_nats, "auth") as auth:
        await auth.serve(READ.answered_by(echo), CHANGE.answered_by(sleep))
        await edge.subscribe("peanut.version.auth.identity", hear)
        edge.on_reconnect(lambda: reconnected.append(None))
        call = asyncio.create_task(edge.call(CHANGE, Text(text="30"), within(30)))
        await until(lambda: bool(auth._responder._calls))

        own_nats.kill()
        async with asyncio.timeout(10):
            with pytest.raises(OutcomeUnknown):
                await call
        assert not edge.is_connected
        await auth.publish("peanut.version.auth.identity", b"lost")

        own_nats.start()
        answer = await _answer(edge)
        await until(lambda: auth.is_connected)
        await auth.publish("peanut.version.auth.identity", b"heard")
        await until(lambda: bool(events))
        for task in tuple(auth._responder._calls):
            task.cancel()  # the one whose caller was told long ago

    assert (answer.text, reconnected, events) == ("again", [None], [b"heard"])


async def test_an_answer_that_comes_after_the_reconnect_disturbs_nobody(
    own_nats: Nats, caplog: pytest.LogCaptureFixture
) -> None:
    gate, done = asyncio.Event(), asyncio.Event()

    async def wait(request: Text, _context: CallContext) -> Text:
        await gate.wait()
        done.set()
        return request

    async with bus_as(own_nats, "edge") as edge, bus_as(own_nats, "auth") as auth:
        await auth.serve(READ.answered_by(echo), CHANGE.answered_by(wait))
        call = asyncio.create_task(edge.call(CHANGE, Text(), within(30)))
        await until(lambda: bool(auth._responder._calls))
        own_nats.kill()
        with pytest.raises(OutcomeUnknown):
            await call
        own_nats.start()
        await _answer(edge)
        await until(lambda: auth.is_connected)
        caplog.clear()

        await asyncio.sleep(1.3)  # long enough for a sign of work, were it still sent
        gate.set()
        await done.wait()
        answer = await _answer(edge)

    assert answer.text == "again"
    assert [record.message for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_without_a_server_calls_fail_long_before_the_deadline(own_nats: Nats) -> None:
    async with bus_as(own_nats, "edge") as edge:
        own_nats.kill()
        await until(lambda: not edge.is_connected)
        async with asyncio.timeout(10):
            with pytest.raises(Unavailable):
                await edge.call(CHANGE, Text(), within(60))


async def test_a_service_ends_in_time_while_the_server_is_down(own_nats: Nats) -> None:
    async with asyncio.timeout(8), bus_as(own_nats, "auth") as auth:
        await auth.serve(READ.answered_by(echo))
        own_nats.kill()
        await until(lambda: not auth.is_connected)


async def test_a_standstill_of_the_caller_is_no_silence_of_the_replica(nats: Nats) -> None:
    async with bus_as(nats, "edge") as edge, replica(nats) as process:
        await said(process, "ready")
        call = asyncio.create_task(edge.call(CHANGE, Text(text="3.1"), within(15)))
        await asyncio.sleep(0.1)
        time.sleep(3.4)  # noqa: ASYNC251  # as if this process had been paused
        answer = await call

    assert answer.text == "auth-1"


async def test_a_caller_that_reads_behind_hears_a_living_replica_late_and_believes_it(nats: Nats) -> None:
    def read_slowly(*_: object) -> None:
        time.sleep(0.001)

    async with (
        bus_as(nats, "edge") as edge,
        client_as(nats, "orchestrator") as (talker, _),
        replica(nats) as process,
    ):
        await edge._client.hear(AGENT_CHANGED.subject, read_slowly)
        await settle(edge._client)
        await said(process, "ready")
        call = asyncio.create_task(edge.call(CHANGE, Text(text="4.5"), within(30)))
        await said(process, "working")
        for _ in range(5000):  # five seconds' reading, all of it before the next sign of work
            await talker.publish(AGENT_CHANGED.subject, bytes(4096))
        answer = await call

    assert answer.text == "auth-1"


async def _answer(bus: Bus) -> Text:
    async with asyncio.timeout(10):
        while True:
            with suppress(Unavailable):
                return await bus.call(READ, Text(text="again"), within(1))
            await asyncio.sleep(0.02)


async def test_calls_under_way_go_on_when_the_server_reads_its_configuration_anew(own_nats: Nats) -> None:
    begun, gate = asyncio.Event(), asyncio.Event()

    async def hold(request: Text, _context: CallContext) -> Text:
        begun.set()
        await gate.wait()
        return request

    async with bus_as(own_nats, "edge") as edge, bus_as(own_nats, "orchestrator") as orchestrator:
        await orchestrator.serve(DISPATCH.answered_by(hold))
        asked = asyncio.create_task(edge.call(DISPATCH, Text(text="x"), within(10)))
        await begun.wait()
        own_nats.config.write_text(own_nats.config.read_text().replace(own_nats.seeds.popitem()[1][1], new_pair()[1]))
        own_nats.read_anew()
        gate.set()

        assert await asked == Text(text="x")
