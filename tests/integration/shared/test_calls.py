"""Calls over a real bus: replies, failures, deadlines, limits."""

import asyncio

import pytest

from shared.bus import Bus, CallContext, Contract, Kind, call_context, context, responder
from shared.bus.admission import MAX_DISPATCHES_OF_ONE, MAX_RUNNING
from shared.bus.bus import ReplyNotUnderstood
from shared.bus.requester import NoResponder, OutcomeUnknown
from shared.bus.transport import Hearer
from shared.clock import unix_ms
from shared.contracts.health import health_contract
from shared.errors import (
    DeadlinePassed,
    ErrorCode,
    FieldError,
    InvalidFields,
    PlatformError,
    RemoteFailure,
    TooLarge,
)
from shared.principal import Caller
from tests.integration.bus import Nats, bus_as
from tests.integration.shared.calls import APPEND, CALLER, CHANGE, DISPATCH, ITSELF, READ, Text, echo, within
from tests.integration.shared.clients import client_as
from tests.waiting import until

HEALTH = health_contract("orchestrator")


class OutOfPeanuts(PlatformError):
    code = ErrorCode.RATE_LIMITED
    reason = "out-of-peanuts"


async def test_a_call_carries_who_asks_and_until_when_and_in_which_trace(nats: Nats) -> None:
    seen: list[CallContext] = []

    async def note(request: Text, context: CallContext) -> Text:
        seen.append(context)
        return request

    async with bus_as(nats, "edge") as edge, bus_as(nats, "auth") as auth:
        await auth.serve(READ.answered_by(note))
        context = within(5)
        answer = await edge.call(READ, Text(text="héllo 🥜"), context)

    assert answer == Text(text="héllo 🥜")
    assert seen == [context]
    assert seen[0].caller == CALLER


async def test_a_failure_keeps_everything_over_two_hops(nats: Nats) -> None:
    async def refuse(_request: Text, _context: CallContext) -> Text:
        raise OutOfPeanuts("Nüts are gone.", errors=(FieldError("nuts.0", "too few"),), retry_after=7)

    async with bus_as(nats, "edge") as edge, bus_as(nats, "orchestrator") as middle, bus_as(nats, "audit") as last:

        async def ask_on(request: Text, context: CallContext) -> Text:
            return await middle.call(APPEND, request, context)

        await middle.serve(DISPATCH.answered_by(ask_on))
        await last.serve(APPEND.answered_by(refuse))
        with pytest.raises(RemoteFailure) as caught:
            await edge.call(DISPATCH, Text(), within(5))

    error = caught.value
    assert (error.code, error.reason, error.detail) == (ErrorCode.RATE_LIMITED, "out-of-peanuts", "Nüts are gone.")
    assert (error.errors, error.retry_after) == ((FieldError("nuts.0", "too few"),), 7)


@pytest.mark.asvs("16.3.4", "16.5.1")
async def test_an_unexpected_error_says_nothing_of_itself_and_is_logged_with_its_trace(
    nats: Nats, caplog: pytest.LogCaptureFixture
) -> None:
    replies: list[bytes] = []

    async def fail(_request: Text, _context: CallContext) -> Text:
        raise LookupError("the-secret")

    async with bus_as(nats, "edge") as edge, bus_as(nats, "auth") as auth:
        _overhear(edge, replies)
        await auth.serve(CHANGE.answered_by(fail))
        context = within(5)
        with pytest.raises(RemoteFailure) as caught:
            await edge.call(CHANGE, Text(), context)

    [record] = [record for record in caplog.records if record.message == "handler_failed"]
    assert (caught.value.code, caught.value.reason) == (ErrorCode.INTERNAL, "internal")
    assert len(replies) == 1
    assert not any(word in replies[0] for word in (b"the-secret", b"LookupError", b"Traceback"))
    assert vars(record)["traceId"] == context.trace_id
    assert record.exc_info is not None


@pytest.mark.asvs("2.2.2")
async def test_a_request_that_does_not_fit_its_model_is_refused_with_each_field(nats: Nats) -> None:
    async with bus_as(nats, "edge") as edge, bus_as(nats, "auth") as auth:
        await auth.serve(READ.answered_by(echo))
        with pytest.raises(RemoteFailure) as caught:
            await edge.forward(READ, b'{"text": 7}', within(5))

    assert (caught.value.code, [error.path for error in caught.value.errors]) == (ErrorCode.INVALID, ["text"])


async def test_a_reply_that_does_not_fit_its_model_is_not_the_callers_mistake(nats: Nats) -> None:
    async def mumble(_body: bytes, _context: CallContext) -> bytes:
        return b'{"text": 7}'

    async with bus_as(nats, "edge") as edge, bus_as(nats, "auth") as auth:
        await auth.serve(READ.answered_in_bytes_by(mumble))
        with pytest.raises(ReplyNotUnderstood) as caught:
            await edge.call(READ, Text(), within(5))

    assert caught.value.code is ErrorCode.INTERNAL


async def test_the_deadline_ends_a_call(nats: Nats) -> None:
    async def sleep(request: Text, _context: CallContext) -> Text:
        await asyncio.sleep(60)
        return request

    async with bus_as(nats, "edge") as edge, bus_as(nats, "auth") as auth:
        await auth.serve(CHANGE.answered_by(sleep))
        with pytest.raises(DeadlinePassed):
            await edge.call(CHANGE, Text(), within(0.3))
        for task in tuple(auth._responder._calls):
            task.cancel()  # so that the drain need not wait


async def test_a_call_without_time_left_is_not_sent(nats: Nats) -> None:
    called: list[str] = []

    async def note(request: Text, _context: CallContext) -> Text:
        called.append(request.text)
        return request

    async with bus_as(nats, "edge") as edge, bus_as(nats, "auth") as auth:
        await auth.serve(READ.answered_by(note))
        with pytest.raises(DeadlinePassed):
            await edge.call(READ, Text(), within(-1))
        await edge.call(READ, Text(text="later"), within(5))

    assert called == ["later"]


@pytest.mark.parametrize("contract", [READ, CHANGE], ids=["read", "change"])
async def test_a_service_that_is_not_there_is_known_at_once(nats: Nats, contract: Contract[Text, Text]) -> None:
    async with bus_as(nats, "edge") as edge:
        async with asyncio.timeout(10):
            with pytest.raises(NoResponder):
                await edge.call(contract, Text(), within(60))


@pytest.mark.parametrize(("contract", "sent"), [(READ, 2), (CHANGE, 1)], ids=["read", "change"])
async def test_only_a_read_is_tried_again_and_once(nats: Nats, contract: Contract[Text, Text], sent: int) -> None:
    async with client_as(nats, "edge"), bus_as(nats, "edge") as edge:
        before = edge._client.stats["out_msgs"]
        with pytest.raises(NoResponder):
            await edge.call(contract, Text(), within(5))

        assert edge._client.stats["out_msgs"] - before == sent


async def test_what_is_too_large_is_refused_and_the_connection_lives_on(nats: Nats) -> None:
    async def double(request: Text, _context: CallContext) -> Text:
        return Text(text=request.text * 2)

    async with bus_as(nats, "edge") as edge, bus_as(nats, "auth") as auth:
        await auth.serve(CHANGE.answered_by(double))
        with pytest.raises(TooLarge):
            await edge.call(CHANGE, Text(text="x" * 9_000_000), within(5))
        with pytest.raises(RemoteFailure) as caught:
            await edge.call(CHANGE, Text(text="x" * 5_000_000), within(5))
        answer = await edge.call(CHANGE, Text(text="y"), within(5))

    assert (caught.value.code, answer.text) == (ErrorCode.TOO_LARGE, "yy")


async def test_calls_are_answered_side_by_side(nats: Nats) -> None:
    all_are_here = asyncio.Barrier(5)

    async def meet(request: Text, _context: CallContext) -> Text:
        await all_are_here.wait()
        return request

    async with bus_as(nats, "edge") as edge, bus_as(nats, "auth") as auth:
        await auth.serve(READ.answered_by(meet))
        answers = await asyncio.gather(*(edge.call(READ, Text(text=str(n)), within(5)) for n in range(5)))

    assert [answer.text for answer in answers] == ["0", "1", "2", "3", "4"]


async def test_a_service_can_be_called_back_by_whom_it_has_called(nats: Nats) -> None:
    async with bus_as(nats, "edge") as edge:

        async def count_down(request: Text, context: CallContext) -> Text:
            left = int(request.text)
            return await edge.call(ITSELF, Text(text=str(left - 1)), context) if left else Text(text="done")

        await edge.serve(ITSELF.answered_by(count_down))
        answer = await edge.call(ITSELF, Text(text="3"), within(3))

    assert answer.text == "done"


@pytest.mark.asvs("2.4.1")
async def test_more_calls_than_may_run_are_refused_at_once_and_other_kinds_are_answered(
    nats: Nats, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(context, "ACCEPT_WITHIN_MS", 60_000)  # a machine that stalls must not make them too late
    gate = asyncio.Event()
    begun: list[str] = []

    async def wait(request: Text, _context: CallContext) -> Text:
        begun.append(request.text)
        await gate.wait()
        return request

    async with bus_as(nats, "edge") as edge, bus_as(nats, "auth") as auth:
        await auth.serve(CHANGE.answered_by(wait), READ.answered_by(echo))
        calls = [asyncio.create_task(edge.call(CHANGE, Text(), within(60))) for _ in range(MAX_RUNNING)]
        await until(lambda: len(begun) == MAX_RUNNING, within=30)
        with pytest.raises(RemoteFailure) as caught:
            await edge.call(CHANGE, Text(), within(60))
        answer = await edge.call(READ, Text(text="read"), within(60))
        running = len(auth._responder._calls)
        gate.set()
        answers = await asyncio.gather(*calls)
        again = await edge.call(CHANGE, Text(text="again"), within(60))

    assert (caught.value.reason, caught.value.code) == ("overloaded", ErrorCode.UNAVAILABLE)
    assert (running, answer.text, again.text) == (MAX_RUNNING, "read", "again")
    assert len(answers) == MAX_RUNNING


@pytest.mark.asvs("2.3.2", "2.4.1")
async def test_hanging_dispatches_of_one_caller_leave_room_for_reads_and_for_others(
    nats: Nats, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.bus.context.ACCEPT_WITHIN_MS", 30_000)  # or a busy machine comes to some too late
    gate = asyncio.Event()

    async def wait(request: Text, context: CallContext) -> Text:
        if context.caller == CALLER:
            await gate.wait()
        return request

    assert CALLER.principal is not None
    other = Caller(principal=CALLER.principal.model_copy(update={"credential_id": "another"}))

    async with bus_as(nats, "edge") as edge, bus_as(nats, "orchestrator") as orchestrator:
        await orchestrator.serve(DISPATCH.answered_by(wait), HEALTH.answered_in_bytes_by(_as_it_is))
        calls = [asyncio.create_task(edge.call(DISPATCH, Text(), within(60))) for _ in range(1150)]
        await until(lambda: sum(call.done() for call in calls) == 1150 - MAX_DISPATCHES_OF_ONE, within=30)
        health = await edge.forward(HEALTH, b"{}", within(10))
        answer = await edge.call(DISPATCH, Text(text="other"), call_context(seconds=10, caller=other))
        gate.set()
        ends = await asyncio.gather(*calls, return_exceptions=True)
        again = await edge.call(DISPATCH, Text(text="again"), within(5))

    refused = [end for end in ends if isinstance(end, RemoteFailure)]
    assert (health, answer.text, again.text) == (b"{}", "other", "again")
    assert {(error.reason, error.code) for error in refused} == {("overloaded", ErrorCode.UNAVAILABLE)}
    assert "of your dispatches are running" in refused[0].detail


async def _as_it_is(body: bytes, _context: CallContext) -> bytes:
    return body


async def test_an_unknown_subject_of_a_known_service_is_unavailable(nats: Nats) -> None:
    async with bus_as(nats, "edge") as edge, bus_as(nats, "auth") as auth:
        await auth.serve(READ.answered_by(echo))
        with pytest.raises(RemoteFailure) as caught:
            await edge.call(CHANGE, Text(), within(5))

    assert caught.value.code is ErrorCode.UNAVAILABLE


async def test_a_call_in_flight_is_answered_by_a_service_that_stops_and_a_new_one_is_not(nats: Nats) -> None:
    ready, begun, stop = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def sleep(request: Text, _context: CallContext) -> Text:
        begun.set()
        await asyncio.sleep(0.5)
        return request

    async def serve() -> None:
        async with bus_as(nats, "auth") as auth:
            await auth.serve(CHANGE.answered_by(sleep))
            ready.set()
            await stop.wait()

    async with bus_as(nats, "edge") as edge:
        service = asyncio.create_task(serve())
        await ready.wait()
        call = asyncio.create_task(edge.call(CHANGE, Text(text="in flight"), within(5)))
        await begun.wait()
        stop.set()
        await asyncio.sleep(0.1)
        with pytest.raises(NoResponder):
            await edge.call(CHANGE, Text(), within(5))
        answer = await call
        await service

    assert answer.text == "in flight"


async def test_what_a_handler_awaited_being_cancelled_is_an_error_of_its_own(nats: Nats) -> None:
    async def lose_its_work(request: Text, _context: CallContext) -> Text:
        work = asyncio.create_task(asyncio.sleep(5))
        work.cancel()
        await work
        return request

    async with bus_as(nats, "edge") as edge, bus_as(nats, "auth") as auth:
        await auth.serve(CHANGE.answered_by(lose_its_work))
        with pytest.raises(RemoteFailure) as caught:
            await edge.call(CHANGE, Text(), within(5))

    assert caught.value.code is ErrorCode.INTERNAL


async def test_a_handler_that_is_stopped_before_its_deadline_leaves_the_outcome_open(nats: Nats) -> None:
    begun = asyncio.Event()

    async def sleep(request: Text, _context: CallContext) -> Text:
        begun.set()
        await asyncio.sleep(5)
        return request

    async with bus_as(nats, "edge") as edge, bus_as(nats, "auth") as auth:
        await auth.serve(CHANGE.answered_by(sleep))
        call = asyncio.create_task(edge.call(CHANGE, Text(), within(5)))
        await begun.wait()
        [task] = auth._responder._calls
        task.cancel()
        with pytest.raises(RemoteFailure) as caught:
            await call

    assert caught.value.reason == OutcomeUnknown.reason


async def test_a_call_that_outlasts_the_stopping_of_its_service_leaves_the_outcome_open(
    nats: Nats, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(responder, "DRAIN_WITHIN_S", 0.2)  # not ten seconds
    begun = asyncio.Event()

    async def sleep(request: Text, _context: CallContext) -> Text:
        begun.set()
        await asyncio.sleep(60)
        return request

    async with bus_as(nats, "edge") as edge:
        async with bus_as(nats, "auth") as auth:
            await auth.serve(CHANGE.answered_by(sleep))
            call = asyncio.create_task(edge.call(CHANGE, Text(), within(60)))
            await begun.wait()
        with pytest.raises(RemoteFailure) as caught:
            await call

    assert caught.value.reason == OutcomeUnknown.reason


async def test_a_handler_long_past_its_deadline_is_stopped(nats: Nats) -> None:
    stopped = asyncio.Event()

    async def never(request: Text, _context: CallContext) -> Text:
        try:
            await asyncio.sleep(60)
        finally:
            stopped.set()
        return request

    async with bus_as(nats, "edge") as edge, bus_as(nats, "auth") as auth:
        await auth.serve(CHANGE.answered_by(never))
        with pytest.raises(DeadlinePassed):
            await edge.call(CHANGE, Text(), within(0.1))
        [call] = auth._responder._calls.values()
        call.until = 0  # as if the grace were over
        await asyncio.wait_for(stopped.wait(), 1)


GOOD_HEADERS = {
    "Peanut-Principal": '{"principal":null,"origin":{"ip_address":"","user_agent":""}}',
    "Peanut-Request-Id": "r",
    "Peanut-Event-Id": "e",
    "Peanut-Deadline": "99999999999999",
    "Peanut-Accept-By": "99999999999999",
    "traceparent": f"00-{'a' * 32}-{'b' * 16}-00",
}


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({}, None),
        *(({name: None}, "malformed") for name in GOOD_HEADERS),
        ({"Peanut-Principal": "no JSON"}, "malformed"),
        ({"Peanut-Principal": "[]"}, "malformed"),
        ({"Peanut-Principal": '{"principal":{"role":"emperor"}}'}, "malformed"),
        ({"Peanut-Deadline": "soon"}, "malformed"),
        ({"Peanut-Deadline": "9" * 5000}, "malformed"),
        ({"Peanut-Deadline": "1e3"}, "malformed"),
        ({"Peanut-Deadline": "-1"}, "malformed"),
        ({"Peanut-Deadline": "١٢٣"}, "malformed"),  # digits, but not ours
        ({"Peanut-Accept-By": "soon"}, "malformed"),
        ({"Peanut-Accept-By": str(unix_ms() - 1)}, "unavailable"),
        ({"traceparent": "00-xyz"}, "malformed"),
    ],
)
async def test_the_headers_of_a_call_are_understood_or_it_is_refused(
    nats: Nats, headers: dict[str, str | None], code: str | None
) -> None:
    sent = {name: value for name, value in (GOOD_HEADERS | headers).items() if value is not None}

    async with client_as(nats, "edge") as (client, _), bus_as(nats, "auth") as auth:
        await auth.serve(CHANGE.answered_by(echo))
        inbox = "_INBOX_edge.test"
        subscription = await client.subscribe(inbox)
        await client.publish(CHANGE.subject, b"{}", reply=inbox, headers=sent)
        reply = await subscription.next_msg(timeout=2)

    assert (reply.headers or {}).get("Nats-Service-Error-Code") == code


@pytest.mark.parametrize("reply", ["", "peanut.audit.entry.append.auth"], ids=["none", "a call"])
async def test_a_call_that_names_no_inbox_is_not_begun_and_harms_nobody(nats: Nats, reply: str) -> None:
    called: list[str] = []

    async def note(request: Text, _context: CallContext) -> Text:
        called.append(request.text)
        return request

    async with client_as(nats, "edge") as (client, _), bus_as(nats, "edge") as edge, bus_as(nats, "auth") as auth:
        await auth.serve(CHANGE.answered_by(note))
        await client.publish(CHANGE.subject, b'{"text": "stray"}', reply=reply, headers=GOOD_HEADERS)
        await client.flush()
        await asyncio.sleep(0.05)
        await edge.call(CHANGE, Text(text="proper"), within(5))

    assert called == ["proper"]


@pytest.mark.parametrize("kind", list(Kind))
def test_each_kind_of_call_has_its_own_time(kind: Kind) -> None:
    assert kind.seconds == {Kind.READ: 5, Kind.CHANGE: 15, Kind.DISPATCH: 120, Kind.STREAM: 600}[kind]


async def test_an_answer_that_nobody_waits_for_is_dropped(nats: Nats) -> None:
    async def twice(body: bytes, _context: CallContext) -> bytes:
        await asyncio.sleep(0.2)
        return body

    async with bus_as(nats, "edge") as edge, bus_as(nats, "auth") as auth:
        await auth.serve(READ.answered_in_bytes_by(twice))
        call = asyncio.create_task(edge.forward(READ, b"{}", within(5)))
        await asyncio.sleep(0.05)
        call.cancel()
        await asyncio.sleep(0.3)

        assert await edge.forward(READ, b'{"text":"next"}', within(5)) == b'{"text":"next"}'


async def test_a_failure_whose_words_are_no_unicode_arrives_all_the_same(nats: Nats) -> None:
    async def refuse(_request: Text, _context: CallContext) -> Text:
        raise InvalidFields("half a pair: \ud800")

    async with bus_as(nats, "edge") as edge, bus_as(nats, "auth") as auth:
        await auth.serve(CHANGE.answered_by(refuse))
        with pytest.raises(RemoteFailure) as caught:
            await edge.call(CHANGE, Text(), within(2))

    assert (caught.value.code, caught.value.detail) == (ErrorCode.INVALID, "half a pair: ?")


def _overhear(bus: Bus, replies: list[bytes]) -> None:
    """Notes the bytes of each message as they came, headers included."""
    hearers = bus._client._hearers

    def noting(hearer: Hearer) -> Hearer:
        def note(subject: str, reply: str, body: bytes, headers: bytes) -> None:
            replies.append(headers + body)
            hearer(subject, reply, body, headers)

        return note

    hearers.update({number: noting(hearer) for number, hearer in hearers.items()})
