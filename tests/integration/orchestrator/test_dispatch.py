"""Dispatch, end to end inside the platform: bus, choice, upstream, record."""

import asyncio
import hashlib
from pathlib import Path

import orjson
import pytest

from shared.bus import Bus
from shared.contracts.audit import Outcome
from shared.contracts.orchestrator import CHECK_AGENT, DISPATCH, Dispatch, GetAgent
from shared.errors import ErrorCode, PlatformError
from shared.principal import PrincipalKind, Role
from tests.integration.bus import Nats, bus_as
from tests.integration.orchestrator import upstreams
from tests.integration.orchestrator.calls import dispatch, look, register, remove_built_in
from tests.integration.orchestrator.cluster import AuditLog, audit_service, by, replica
from tests.integration.orchestrator.upstreams import Reply, Upstream, json_reply, redirect, reply, upstream
from tests.waiting import eventually, until


async def test_a_fresh_start_answers_with_the_built_in_echo(edge: Bus) -> None:
    answer = await dispatch(edge, "Hello")

    assert (answer.message, answer.model, answer.session_id) == ("Hello", "echo", None)


async def test_an_openai_agent_is_sent_what_it_needs_and_no_more(edge: Bus, server: Upstream) -> None:
    await register(edge, server, api_key="sk-canary", max_tokens=77, temperature=0.5)

    answer = await dispatch(edge, "Hi", context=[{"role": "system", "content": "Be brief."}])

    sent = server.chats[0]
    assert sent.line == "POST /v1/chat/completions HTTP/1.1"
    assert sent.json == {
        "model": "m",
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}],
        "max_tokens": 77,
        "temperature": 0.5,
    }
    always = {"host", "user-agent", "accept", "accept-encoding"}
    assert sent.headers.keys() == always | {"content-type", "content-length", "authorization"}
    assert sent.headers["authorization"] == "Bearer sk-canary"
    assert (answer.message, answer.tokens_used) == ("Good day.", 12)
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (9, 3)


async def test_an_ollama_agent_is_sent_what_it_needs_and_no_more(edge: Bus, server: Upstream) -> None:
    await register(edge, server, type="ollama", max_tokens=77)

    answer = await dispatch(edge, "Hi")

    sent = server.chats[0]
    assert sent.line == "POST /api/chat HTTP/1.1"
    assert sent.json == {
        "model": "m",
        "messages": [{"role": "user", "content": "Hi"}],
        "stream": False,
        "options": {"temperature": 0, "num_predict": 77},
    }
    assert "authorization" not in sent.headers
    assert (answer.message, answer.tokens_used) == ("Good day.", 12)


async def test_connections_are_kept_for_the_next_dispatch(edge: Bus, server: Upstream) -> None:
    await register(edge, server)
    before = server.connections

    for _ in range(20):
        await dispatch(edge)

    assert server.connections <= before + 1


async def test_an_endpoint_by_name_is_reached_at_the_address_that_was_checked(edge: Bus, server: Upstream) -> None:
    agent = await register(edge, server, endpoint=f"http://localhost:{server.port}/v1")

    answer = await dispatch(edge)

    assert answer.agent_id == agent.id
    assert server.chats[0].headers["host"] == f"localhost:{server.port}"


async def test_no_proxy_of_the_environment_is_used(
    nats: Nats, audit: AuditLog, data_dir: Path, server: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")

    async with replica(nats, data_dir, allowed=f"127.0.0.1:{server.port}"), bus_as(nats, "edge") as edge:
        await register(edge, server)
        await dispatch(edge)

    assert len(server.chats) == 1


@pytest.mark.asvs("16.2.5")
async def test_a_dispatch_leaves_one_entry_with_sizes_and_hashes_and_no_texts(
    edge: Bus, server: Upstream, audit: AuditLog
) -> None:
    agent = await register(edge, server)
    context = by(Role.OPERATOR)
    body = orjson.dumps({"message": "a canary sings"})

    await edge.forward(DISPATCH, body, context)

    (entry,) = audit.outcomes("agent.request")
    assert (entry.id, entry.outcome, entry.resource_id) == (context.event_id, Outcome.SUCCESS, agent.id)
    assert (entry.user_email, entry.ip_address) == ("ada@example.org", "192.0.2.7")
    latency = entry.details.pop("latencyMs")
    assert type(latency) is int
    assert entry.details == {
        "agentName": "llama",
        "model": "m",
        "promptTokens": 9,
        "completionTokens": 3,
        "requestBytes": len(body),
        "requestSha256": hashlib.sha256(body).hexdigest(),
        "answerBytes": 9,
        "answerSha256": hashlib.sha256(b"Good day.").hexdigest(),
        "attempts": 1,
        "agentsTried": [agent.id],
    }


BAD_ANSWERS: dict[str, tuple[Reply, str]] = {
    "500": (reply(b"oops", status="500 Oops"), "HTTP 500"),
    "404": (reply(b"{}", status="404 Not Found"), "HTTP 404"),
    "401": (reply(b"{}", status="401 Unauthorized"), "HTTP 401"),
    "closes at once": (upstreams.closes_at_once, "connection broke"),
    "closes mid body": (upstreams.closes_mid_body, "connection broke"),
    "no HTTP": (upstreams.no_http, "connection broke"),
    "1 GB": (upstreams.one_gigabyte, "larger than 4 MiB"),
    "endless": (upstreams.endless_chunks, "larger than 4 MiB"),
    "HTML": (reply(b"<html>Welcome</html>", headers="content-type: text/html\r\n"), "not that of a model"),
    "empty": (reply(b""), "not that of a model"),
    "bad UTF-8": (reply(b'{"choices": [{"message": {"content": "\xff"}}]}'), "not that of a model"),
    "deep": (reply(b"[" * 100_000), "not that of a model"),
    "array": (json_reply([]), "not that of a model"),
    "null": (json_reply(None), "not that of a model"),
    "no choices": (json_reply({"choices": []}), "not that of a model"),
    "wrong types": (json_reply({"choices": [{"message": {"content": 7}}]}), "not that of a model"),
    "strange usage": (json_reply({"choices": [{"message": {"content": "x"}}], "usage": "many"}), "not that of a model"),
    "compressed unasked": (reply(b"\x1f\x8b\x08", headers="content-encoding: gzip\r\n"), "not that of a model"),
    "split headers": (reply(b"{}", headers="x-a: b\r\n folded: c\r\nx-b: \rx-c: d\r\n"), ""),
    "redirect": (redirect("http://127.0.0.1:9/"), "redirects are not followed"),
}


@pytest.mark.asvs("16.3.4")
@pytest.mark.parametrize("name", BAD_ANSWERS)
async def test_a_bad_answer_is_a_failed_agent_in_words(edge: Bus, server: Upstream, audit: AuditLog, name: str) -> None:
    agent = await register(edge, server)
    server.chat, words = BAD_ANSWERS[name]

    with pytest.raises(PlatformError) as failure:
        await dispatch(edge)

    assert (failure.value.code, failure.value.reason) == (ErrorCode.BAD_GATEWAY, "agent-failed")
    assert words in failure.value.detail
    assert "llama" in failure.value.detail
    (entry,) = audit.outcomes("agent.request")
    assert (entry.outcome, entry.resource_id) == (Outcome.FAILURE, agent.id)
    assert entry.details["reason"] == "agent-failed"


async def test_a_null_content_is_an_empty_answer(edge: Bus, server: Upstream) -> None:
    await register(edge, server)
    server.chat = json_reply({"choices": [{"message": {"content": None}}], "usage": {"prompt_tokens": -1}})

    answer = await dispatch(edge)

    assert (answer.message, answer.tokens_used) == ("", 0)


async def test_counts_of_tokens_add_up_to_a_number_that_every_reader_knows(edge: Bus, server: Upstream) -> None:
    await register(edge, server)
    totals = []
    for count in (2**52 - 1, 2**52):
        usage = {"prompt_tokens": count, "completion_tokens": count}
        server.chat = json_reply({"choices": [{"message": {"content": "x"}}], "usage": usage})
        totals.append((await dispatch(edge)).tokens_used)

    assert totals == [2**53 - 2, 0]


async def test_a_redirect_leads_nowhere(edge: Bus, server: Upstream) -> None:
    async with upstream() as trap:
        await register(edge, server)
        server.chat = redirect(f"{trap.address}/v1/chat/completions")

        with pytest.raises(PlatformError):
            await dispatch(edge)

        assert trap.requests == []


@pytest.mark.parametrize("behaviour", [upstreams.hangs, upstreams.drips])
async def test_an_upstream_that_takes_too_long_is_given_up_before_the_deadline(
    edge: Bus, server: Upstream, audit: AuditLog, behaviour: Reply
) -> None:
    await register(edge, server)
    server.chat = behaviour

    with pytest.raises(PlatformError) as failure:
        await dispatch(edge, seconds=1.5)

    assert (failure.value.code, failure.value.reason) == (ErrorCode.TIMEOUT, "deadline-passed")
    (entry,) = audit.outcomes("agent.request")
    assert (entry.outcome, entry.details["reason"]) == (Outcome.FAILURE, "deadline-passed")


async def test_of_a_dispatch_cut_off_by_a_stop_nobody_knows_what_the_agent_made(
    nats: Nats, data_dir: Path, audit: AuditLog, server: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.bus.responder.DRAIN_WITHIN_S", 0.2)
    server.chat = upstreams.hangs
    async with bus_as(nats, "edge") as edge:
        async with replica(nats, data_dir, allowed=f"127.0.0.1:{server.port}"):
            await register(edge, server)
            asked = asyncio.create_task(dispatch(edge))
            await until(lambda: len(server.chats) == 1)
        with pytest.raises(PlatformError):
            await asked

    (entry,) = audit.outcomes("agent.request")
    assert (entry.outcome, entry.details["reason"]) == (Outcome.UNKNOWN, "cancelled")


async def test_an_agent_that_is_offline_gets_no_work(edge: Bus, server: Upstream) -> None:
    async with upstream() as gone:
        closed = gone.address
    agent = await register(edge, server, endpoint=closed.replace(str(gone.port), str(server.port)), name="up")
    server.probe = reply(b"", status="503 Busy")
    down = await register(edge, server, name="down", priority=10)

    answer = await dispatch(edge)

    assert (down.health.status, down.health.details) == ("offline", "Does not answer a probe: HTTP 503.")
    assert answer.model == "echo" or answer.agent_id == agent.id
    assert all(request.json["model"] != "down" for request in server.chats)


@pytest.mark.asvs("16.5.2")
async def test_an_agent_that_is_gone_is_excluded_at_once_and_back_soon(edge: Bus, server: Upstream) -> None:
    agent = await register(edge, server)
    server.probe = server.chat = upstreams.closes_at_once
    with pytest.raises(PlatformError):
        await dispatch(edge)

    async def is_offline() -> bool:
        return (await look(edge, agent.id)).health.status == "offline"

    await eventually(is_offline)
    answer = await dispatch(edge)
    assert answer.model == "echo"

    server.probe = server.chat = None
    checked = await edge.call(CHECK_AGENT, GetAgent(id=agent.id), by(Role.VIEWER))

    assert checked.status == "online"
    assert (await dispatch(edge)).agent_id == agent.id


@pytest.mark.asvs("16.5.2")
async def test_three_failures_in_a_row_stop_the_work_though_probes_succeed(edge: Bus, server: Upstream) -> None:
    agent = await register(edge, server)
    server.chat = reply(b"", status="500 Oops")

    states = []
    for _ in range(3):
        with pytest.raises(PlatformError):
            await dispatch(edge)
        states.append((await look(edge, agent.id)).health.status)
    answer = await dispatch(edge)

    assert states == ["degraded", "degraded", "offline"]
    assert answer.model == "echo"
    health = (await look(edge, agent.id)).health
    assert (health.request_count, health.error_count, health.success_rate) == (3, 3, 0)


async def test_a_refusal_by_the_upstream_does_not_count_against_it(edge: Bus, server: Upstream) -> None:
    agent = await register(edge, server)
    server.chat = reply(b"", status="400 Bad Request")

    for _ in range(4):
        with pytest.raises(PlatformError):
            await dispatch(edge)

    health = (await look(edge, agent.id)).health
    assert (health.status, health.request_count, health.error_count) == ("online", 4, 0)


@pytest.mark.asvs("16.5.3")
async def test_without_audit_no_upstream_is_asked(
    nats: Nats, data_dir: Path, server: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.audit.appender.FRESH_S", 0.0)
    monkeypatch.setattr("shared.audit.appender.RECEIPT_WITHIN_S", 0.2)
    async with replica(nats, data_dir, allowed=f"127.0.0.1:{server.port}"), bus_as(nats, "edge") as edge:
        async with audit_service(nats):
            await register(edge, server)
            await dispatch(edge)

        with pytest.raises(PlatformError) as failure:
            await dispatch(edge)

        assert (failure.value.code, failure.value.reason) == (ErrorCode.UNAVAILABLE, "audit-unavailable")
        assert len(server.chats) == 1
        with pytest.raises(PlatformError) as failure:
            await register(edge, server, name="other")
        assert failure.value.reason == "audit-unavailable"


async def test_an_outcome_that_audit_misses_is_delivered_later(nats: Nats, data_dir: Path, server: Upstream) -> None:
    async with replica(nats, data_dir, allowed=f"127.0.0.1:{server.port}"), bus_as(nats, "edge") as edge:
        async with audit_service(nats):
            await register(edge, server)
            server.chat = upstreams.hangs
            asked = asyncio.create_task(dispatch(edge, seconds=2))
            await until(lambda: len(server.chats) == 1)
        with pytest.raises(PlatformError):
            await asked
        async with audit_service(nats) as later:

            async def is_there() -> bool:
                return bool(later.outcomes("agent.request"))

            await eventually(is_there)


async def test_nobody_healthy_is_said_and_recorded(edge: Bus, server: Upstream, audit: AuditLog) -> None:
    with pytest.raises(PlatformError) as failure:
        await dispatch(edge, model="gpt-unknown")

    assert (failure.value.code, failure.value.reason) == (ErrorCode.UNAVAILABLE, "no-healthy-agents")
    assert failure.value.retry_after
    (entry,) = audit.outcomes("agent.request")
    assert (entry.outcome, entry.details["reason"]) == (Outcome.FAILURE, "no-healthy-agents")


async def test_a_named_agent_is_found_unknown_unfit_or_offline(edge: Bus, server: Upstream) -> None:
    server.probe = upstreams.closes_at_once
    agent = await register(edge, server)

    problems = []
    for call in (
        dispatch(edge, agent_id="nobody"),
        dispatch(edge, agent_id=agent.id, model="x"),
        dispatch(edge, agent_id=agent.id),
    ):
        with pytest.raises(PlatformError) as failure:
            await call
        problems.append((failure.value.code, failure.value.reason))

    assert problems == [
        (ErrorCode.NOT_FOUND, "agent-not-found"),
        (ErrorCode.INVALID, "invalid-fields"),
        (ErrorCode.UNAVAILABLE, "no-healthy-agents"),
    ]


async def test_work_is_shared_by_weight_in_nginx_order(edge: Bus, server: Upstream) -> None:
    for name, weight in (("a", 5), ("b", 1), ("c", 1)):
        await register(edge, server, name=name * 2, weight=weight, tags=["t"])

    names = [(await dispatch(edge, tags=["t"])).attempts[0].agent_name[0] for _ in range(7)]

    assert "".join(names) == "aabacaa"


@pytest.mark.asvs("8.2.1")
@pytest.mark.parametrize(
    ("role", "kind", "may"),
    [
        (Role.VIEWER, PrincipalKind.SESSION, False),
        (Role.OPERATOR, PrincipalKind.SESSION, True),
        (Role.VIEWER, PrincipalKind.KEY, True),
    ],
)
async def test_operators_and_keys_may_dispatch(edge: Bus, role: Role, kind: PrincipalKind, may: bool) -> None:
    try:
        await edge.call(DISPATCH, Dispatch(message="Hi"), by(role, kind=kind))
        code = None
    except PlatformError as error:
        code = error.code

    assert code == (None if may else ErrorCode.FORBIDDEN)


@pytest.mark.asvs("2.2.2")
@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b'{"message": "a", "message": "b"}', ErrorCode.MALFORMED),
        (b'{"message": ', ErrorCode.MALFORMED),
        (b'{"message": "a", "colour": 1}', ErrorCode.INVALID),
        (b'{"message": 7}', ErrorCode.INVALID),
        (b'{"message": ""}', ErrorCode.INVALID),
        (b'{"message": "\\ud800"}', ErrorCode.MALFORMED),
    ],
)
async def test_what_is_not_a_dispatch_is_refused(edge: Bus, body: bytes, code: ErrorCode) -> None:
    with pytest.raises(PlatformError) as failure:
        await edge.forward(DISPATCH, body, by())

    assert failure.value.code is code


async def test_removed_built_in_agents_leave_nobody(edge: Bus) -> None:
    await remove_built_in(edge)

    with pytest.raises(PlatformError) as failure:
        await dispatch(edge)

    assert failure.value.detail == "No agent is registered."
