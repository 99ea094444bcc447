"""The agents' calls over the real bus."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import orjson
import pytest
from pydantic import SecretStr

from orchestrator.prepare import prepare
from shared.bus import NOTHING, Bus
from shared.contracts.audit import Outcome, Phase
from shared.contracts.health import health_contract
from shared.contracts.orchestrator import (
    CHECK_AGENT,
    LIST_AGENTS,
    REGISTER_AGENT,
    REMOVE_AGENT,
    UPDATE_AGENT,
    AgentChanges,
    GetAgent,
    ListAgents,
    RegisterAgent,
    UpdateAgent,
)
from shared.errors import ErrorCode, PlatformError
from shared.principal import Role
from tests.integration.bus import Nats, bus_as
from tests.integration.orchestrator import upstreams
from tests.integration.orchestrator.calls import dispatch, look, register, remove_built_in
from tests.integration.orchestrator.cluster import KEY, AuditLog, by, replica
from tests.integration.orchestrator.upstreams import Upstream, reply

CANARY = "sk-canary-0123456789"


async def test_a_registered_agent_is_answered_with_its_real_health(edge: Bus, server: Upstream) -> None:
    agent = await register(edge, server, api_key=CANARY, tags=["b", "a", "b"], metadata={"team": {"n": 1}})

    assert (agent.health.status, agent.health.details) == ("online", "Answers.")
    assert agent.health.latency_ms is not None
    assert (agent.has_api_key, agent.version, agent.tags) == (True, 1, ["b", "a"])
    assert agent.metadata == {"team": {"n": 1}}
    assert agent == await look(edge, agent.id)


async def test_a_model_that_is_not_there_is_mentioned(edge: Bus, server: Upstream) -> None:
    agent = await register(edge, server, model="other", type="ollama")

    assert (agent.health.status, agent.health.details) == ("online", "Answers, but does not list the model other.")


@pytest.mark.parametrize(
    "probe",
    [upstreams.closes_at_once, upstreams.no_http, reply(b"<html>"), reply(b"{}"), reply(b"", status="401 No")],
)
async def test_an_agent_whose_probe_fails_is_registered_offline(
    edge: Bus, server: Upstream, probe: upstreams.Reply
) -> None:
    server.probe = probe

    agent = await register(edge, server)

    assert agent.health.status == "offline"


@pytest.mark.asvs("8.2.3", "16.2.5")
async def test_a_key_is_told_to_nobody_but_the_upstream(
    edge: Bus, server: Upstream, audit: AuditLog, data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    agent = await register(edge, server, api_key=CANARY)
    replies = [
        await edge.forward(LIST_AGENTS, b"{}", by()),
        await edge.forward(UPDATE_AGENT, orjson.dumps({"id": agent.id, "changes": {"weight": 3}}), by()),
        await edge.forward(CHECK_AGENT, orjson.dumps({"id": agent.id}), by()),
    ]
    server.chat = reply(CANARY.encode(), status="500 Oops")
    with pytest.raises(PlatformError) as failure:
        await dispatch(edge)

    assert server.chats[0].headers["authorization"] == f"Bearer {CANARY}"
    assert server.probes[0].headers["authorization"] == f"Bearer {CANARY}"
    assert all(CANARY.encode() not in body for body in replies)
    assert CANARY not in failure.value.detail
    assert CANARY not in repr(audit.entries)
    assert all(CANARY.encode() not in file.read_bytes() for file in data_dir.glob("orchestrator.db*"))
    assert CANARY not in "".join(capsys.readouterr())


async def test_changes_are_recorded_before_and_after_without_secrets(
    edge: Bus, server: Upstream, audit: AuditLog
) -> None:
    agent = await register(edge, server, api_key=CANARY, temperature=0.7)
    changes = AgentChanges(weight=20, api_key=None)
    await edge.call(UPDATE_AGENT, UpdateAgent(id=agent.id, changes=changes), by())
    await edge.call(REMOVE_AGENT, GetAgent(id=agent.id), by())

    story = [(entry.action, entry.phase, entry.outcome) for entry in audit.entries]
    assert story == [
        (action, phase, outcome)
        for action in ("agent.created", "agent.updated", "agent.deleted")
        for phase, outcome in ((Phase.INTENT, None), (Phase.OUTCOME, Outcome.SUCCESS))
    ]
    assert {entry.resource_id for entry in audit.entries} == {agent.id}
    created, updated = audit.entries[0].details, audit.entries[2].details
    assert created["values"]["temperature"] == "0.7"
    assert "apiKey" in created["fields"]
    assert updated == {"fields": ["apiKey", "weight"], "values": {"weight": 20}}


async def test_only_the_fields_given_change_and_the_version_grows(edge: Bus, server: Upstream) -> None:
    agent = await register(edge, server, api_key=CANARY)

    changed = await edge.call(UPDATE_AGENT, UpdateAgent(id=agent.id, changes=AgentChanges(priority=9)), by())

    assert (changed.priority, changed.version, changed.has_api_key) == (9, 2, True)
    assert changed.model_copy(update={"priority": 5, "version": 1, "updated_at": agent.updated_at}) == agent


async def test_a_change_on_an_older_version_is_refused(edge: Bus, server: Upstream, audit: AuditLog) -> None:
    agent = await register(edge, server)
    wish = UpdateAgent(id=agent.id, if_version=1, changes=AgentChanges(weight=2))
    await edge.call(UPDATE_AGENT, wish, by())

    with pytest.raises(PlatformError) as failure:
        await edge.call(UPDATE_AGENT, wish, by())

    assert (failure.value.code, failure.value.reason) == (ErrorCode.PRECONDITION_FAILED, "stale-agent")


async def test_changes_at_the_same_time_are_all_done(edge: Bus, server: Upstream) -> None:
    agent = await register(edge, server)
    wishes = [AgentChanges(weight=2), AgentChanges(priority=3), AgentChanges(model="n"), AgentChanges(tags=["t"])]

    await asyncio.gather(
        *(edge.call(UPDATE_AGENT, UpdateAgent(id=agent.id, changes=changes), by()) for changes in wishes)
    )

    after = await look(edge, agent.id)
    assert (after.weight, after.priority, after.model, after.tags, after.version) == (2, 3, "n", ["t"], 5)


@pytest.mark.asvs("2.3.4")
async def test_of_changes_to_one_version_at_the_same_time_one_is_done(edge: Bus, server: Upstream) -> None:
    agent = await register(edge, server)

    results = await asyncio.gather(
        *(
            edge.call(UPDATE_AGENT, UpdateAgent(id=agent.id, if_version=1, changes=AgentChanges(weight=w)), by())
            for w in range(1, 9)
        ),
        return_exceptions=True,
    )

    refusals = [result for result in results if isinstance(result, PlatformError)]
    assert [refusal.reason for refusal in refusals] == ["stale-agent"] * 7
    assert (await look(edge, agent.id)).version == 2


async def test_a_new_endpoint_is_probed_at_once_and_gets_no_key_of_another(edge: Bus, server: Upstream) -> None:
    agent = await register(edge, server, api_key=CANARY)
    there = f"http://localhost:{server.port}/v1"

    changed = await edge.call(UPDATE_AGENT, UpdateAgent(id=agent.id, changes=AgentChanges(endpoint=there)), by())

    assert (changed.health.status, changed.has_api_key) == ("online", False)
    assert "authorization" not in server.requests[-1].headers


async def test_a_key_stays_where_it_was_given_for_whoever_changes_the_endpoint_meanwhile(
    edge: Bus, server: Upstream
) -> None:
    """The trap is the operator's, the key the admin's: whichever change comes last, the trap is never sent the key."""
    trap, home = f"http://localhost:{server.port}", f"http://127.0.0.1:{server.port}/v1"
    for round_ in range(6):
        agent = await register(edge, server, name=f"agent-{round_}", endpoint=f"{trap}/v1")
        to_trap = [AgentChanges(endpoint=f"{trap}/v1{'/' * slashes}") for slashes in range(2)] * 3
        wishes = [*to_trap, AgentChanges(endpoint=home, api_key=SecretStr(CANARY)), *to_trap]

        await asyncio.gather(
            *(edge.call(UPDATE_AGENT, UpdateAgent(id=agent.id, changes=changes), by()) for changes in wishes)
        )

        after = await look(edge, agent.id)
        assert not (after.has_api_key and (after.endpoint or "").startswith(trap))
    sent = {request.headers["host"] for request in server.requests if "authorization" in request.headers}
    assert sent <= {f"127.0.0.1:{server.port}"}


async def test_a_key_survives_another_path_and_is_dropped_for_another_port(
    edge: Bus, server: Upstream, audit: AuditLog
) -> None:
    agent = await register(edge, server, api_key=CANARY)
    paths = [f"http://127.0.0.1:{server.port}/other", f"http://localhost:{server.port}/v1"]

    after = [
        await edge.call(UPDATE_AGENT, UpdateAgent(id=agent.id, changes=AgentChanges(endpoint=path)), by())
        for path in paths
    ]

    assert [one.has_api_key for one in after] == [True, False]
    assert [entry.details["fields"] for entry in audit.outcomes("agent.updated")] == [
        ["endpoint"],
        ["apiKey", "endpoint"],
    ]


async def test_a_key_moved_in_the_database_is_not_sent_to_another_origin(
    edge: Bus, server: Upstream, data_dir: Path
) -> None:
    agent = await register(edge, server, api_key=CANARY)
    asked = len(server.requests)
    with closing(sqlite3.connect(data_dir / "orchestrator.db")) as database, database:
        database.execute(
            "UPDATE agents SET endpoint = ? WHERE id = ?", (f"http://localhost:{server.port}/v1", agent.id)
        )
        database.execute("UPDATE registry SET number = number + 1")

    await asyncio.sleep(1)
    health = await edge.call(CHECK_AGENT, GetAgent(id=agent.id), by())

    assert (health.status, len(server.requests)) == ("offline", asked)
    assert "or for another endpoint" in health.details


@pytest.mark.parametrize("key", ["sk\r\nx: y", "sk\n", "a b", "\x7f", "schlüssel", "\ud7ff"])
async def test_a_key_that_no_header_can_carry_is_refused(edge: Bus, server: Upstream, key: str) -> None:
    agent = await register(edge, server)
    wish = {"name": "other", "type": "openai", "endpoint": server.address, "model": "m", "apiKey": key}

    problems = []
    for call in (
        edge.forward(REGISTER_AGENT, orjson.dumps(wish), by()),
        edge.forward(UPDATE_AGENT, orjson.dumps({"id": agent.id, "changes": {"apiKey": key}}), by()),
    ):
        with pytest.raises(PlatformError) as failure:
            await call
        problems.append((failure.value.code, failure.value.errors[0].path))
        assert "visible ASCII" in failure.value.errors[0].message

    assert problems == [(ErrorCode.INVALID, "apiKey"), (ErrorCode.INVALID, "changes.apiKey")]


@pytest.mark.parametrize(
    "text", ["\x00ab", "a\nb", "a\x9bb", "a\u202eb", "a\u2066b", "a\u2028b", "a\u2029b", "   ", "\u3000\u3000", "ab\n"]
)
async def test_names_that_deceive_who_reads_them_are_refused(edge: Bus, text: str) -> None:
    problems = []
    for field in ("name", "model"):
        wish = {"name": "llama", "type": "echo", "model": "m", field: text}
        with pytest.raises(PlatformError) as failure:
            await edge.forward(REGISTER_AGENT, orjson.dumps(wish), by())
        problems.append((failure.value.code, failure.value.errors[0].path))

    assert problems == [(ErrorCode.INVALID, "name"), (ErrorCode.INVALID, "model")]


@pytest.mark.parametrize("text", ["qwen2.5:7b", "Modell für Ärzte", "模型 1", "نموذج", "👩‍💻 coder", "a/b c"])
async def test_names_of_every_language_are_accepted(edge: Bus, text: str) -> None:
    agent = await edge.call(REGISTER_AGENT, RegisterAgent(name=text, type="echo", model=text), by())

    assert (agent.name, agent.model) == (text, text)


async def test_fifty_changes_at_the_same_time_are_all_done(edge: Bus) -> None:
    agent = await edge.call(REGISTER_AGENT, RegisterAgent(name="many", type="echo", model="m"), by())

    await asyncio.gather(
        *(
            edge.call(UPDATE_AGENT, UpdateAgent(id=agent.id, changes=AgentChanges(weight=weight)), by())
            for weight in range(1, 51)
        )
    )

    assert (await look(edge, agent.id)).version == 51


async def test_a_name_is_taken_whatever_its_case(edge: Bus, server: Upstream) -> None:
    await register(edge, server, name="Llama")
    other = await register(edge, server, name="other")

    problems = []
    for attempt in (
        register(edge, server, name="lLAMA"),
        edge.call(UPDATE_AGENT, UpdateAgent(id=other.id, changes=AgentChanges(name="LLAMA")), by()),
    ):
        with pytest.raises(PlatformError) as failure:
            await attempt
        problems.append((failure.value.code, failure.value.reason))

    assert problems == [(ErrorCode.CONFLICT, "agent-name-taken")] * 2


@pytest.mark.asvs("2.2.3")
@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"type": "echo"}, "endpoint"),
        ({"endpoint": None}, "endpoint"),
        ({"metadata": {"text": "x" * 20_000}}, "metadata"),
    ],
)
async def test_what_does_not_fit_together_is_refused(
    edge: Bus, server: Upstream, audit: AuditLog, fields: dict[str, object], path: str
) -> None:
    with pytest.raises(PlatformError) as failure:
        await register(edge, server, **fields)  # type: ignore[arg-type]  # types are the parameters' business

    assert (failure.value.code, failure.value.errors[0].path) == (ErrorCode.INVALID, path)
    assert audit.entries == []


@pytest.mark.parametrize("number", [b"1e999", b"-1e999", b"1000000000000000000000"])
async def test_numbers_that_not_every_reader_knows_are_not_kept(edge: Bus, server: Upstream, number: bytes) -> None:
    agent = await register(edge, server)
    body = b'{"id": "%b", "changes": {"metadata": {"a": [{"b": %b}]}}}' % (agent.id.encode(), number)

    with pytest.raises(PlatformError) as failure:
        await edge.forward(UPDATE_AGENT, body, by())

    assert (failure.value.code, failure.value.errors[0].path) == (ErrorCode.INVALID, "metadata")


async def test_a_private_endpoint_is_refused_with_the_entry_to_add(edge: Bus, audit: AuditLog) -> None:
    wish = RegisterAgent(name="llama", type="ollama", endpoint="http://127.0.0.1:9999", model="m")

    with pytest.raises(PlatformError) as failure:
        await edge.call(REGISTER_AGENT, wish, by())

    assert (failure.value.code, failure.value.reason) == (ErrorCode.INVALID, "endpoint-not-allowed")
    assert failure.value.errors[0].path == "endpoint"
    assert "add 127.0.0.1:9999 to AGENT_ALLOWED_HOSTS" in failure.value.detail
    assert audit.entries == []


async def test_an_agent_may_be_registered_before_its_name_resolves(edge: Bus) -> None:
    wish = RegisterAgent(name="later", type="ollama", endpoint="http://not-yet.invalid:11434", model="m")

    agent = await edge.call(REGISTER_AGENT, wish, by())

    assert agent.health.status == "offline"
    assert "cannot be looked up" in agent.health.details


async def test_a_list_is_told_in_pages_and_filtered(edge: Bus, server: Upstream) -> None:
    await remove_built_in(edge)
    for number in range(5):
        await register(edge, server, name=f"agent-{number}", tags=["even"] if number % 2 == 0 else [])
    server.probe = upstreams.closes_at_once
    await register(edge, server, name="down", type="ollama")

    async def names(**filters: object) -> list[str]:
        page = await edge.call(LIST_AGENTS, ListAgents.model_validate(filters), by(Role.VIEWER))
        found = [agent.name for agent in page.items]
        return found + (await names(**{**filters, "cursor": page.next_cursor}) if page.next_cursor else [])

    assert await names(limit=2) == [f"agent-{number}" for number in range(5)] + ["down"]
    assert await names(tag="even", limit=1) == ["agent-0", "agent-2", "agent-4"]
    assert await names(type="ollama") == ["down"]
    assert await names(status="offline") == ["down"]
    with pytest.raises(PlatformError) as failure:
        await names(cursor="made-up")
    assert failure.value.errors[0].path == "cursor"


@pytest.mark.parametrize("id", ["nobody", "01a20304-490e-7141-9251-cff2e71a6900", "", "'; DROP TABLE agents"])
async def test_an_unknown_agent_is_not_found(edge: Bus, id: str) -> None:
    problems = set()
    for call in (
        look(edge, id),
        edge.call(UPDATE_AGENT, UpdateAgent(id=id, changes=AgentChanges(weight=1)), by()),
        edge.call(REMOVE_AGENT, GetAgent(id=id), by()),
        edge.call(CHECK_AGENT, GetAgent(id=id), by()),
    ):
        with pytest.raises(PlatformError) as failure:
            await call
        problems.add((failure.value.code, failure.value.reason))

    assert problems == {(ErrorCode.NOT_FOUND, "agent-not-found")}


@pytest.mark.asvs("8.2.1", "8.3.1")
async def test_each_change_needs_its_role(edge: Bus, server: Upstream, audit: AuditLog) -> None:
    agent = await register(edge, server)
    recorded = len(audit.entries)

    for call in (
        edge.call(REGISTER_AGENT, RegisterAgent(name="xx", type="echo", model="m"), by(Role.VIEWER)),
        edge.call(UPDATE_AGENT, UpdateAgent(id=agent.id, changes=AgentChanges(weight=1)), by(Role.VIEWER)),
        edge.call(REMOVE_AGENT, GetAgent(id=agent.id), by(Role.OPERATOR)),
    ):
        with pytest.raises(PlatformError) as failure:
            await call
        assert failure.value.code is ErrorCode.FORBIDDEN

    assert len(audit.entries) == recorded


async def test_checks_at_the_same_time_are_one_probe(edge: Bus, server: Upstream) -> None:
    agent = await register(edge, server)
    before = len(server.probes)

    async def slowly(writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.3)
        await reply(b'{"data": []}')(writer)

    server.probe = slowly
    checks = await asyncio.gather(*(edge.call(CHECK_AGENT, GetAgent(id=agent.id), by(Role.VIEWER)) for _ in range(20)))

    assert len(server.probes) == before + 1
    assert {check.status for check in checks} == {"online"}


async def test_a_probe_that_hangs_does_not_hold_the_registration_longer_than_five_seconds(
    edge: Bus, server: Upstream
) -> None:
    server.probe = upstreams.hangs

    async with asyncio.timeout(6):
        agent = await register(edge, server)

    assert agent.health.details == "Does not answer a probe: no answer in time."


async def test_replicas_see_each_others_changes_at_once(
    nats: Nats, audit: AuditLog, data_dir: Path, server: Upstream
) -> None:
    allowed = f"127.0.0.1:{server.port}"
    async with (
        bus_as(nats, "edge") as edge,
        replica(nats, data_dir, 1, allowed=allowed),
        replica(nats, data_dir, 2, allowed=allowed),
    ):
        await remove_built_in(edge)
        for round_ in range(10):
            agent = await register(edge, server, name=f"agent-{round_}")
            seen = await asyncio.gather(*(look(edge, agent.id) for _ in range(8)))
            answers = await asyncio.gather(*(dispatch(edge, agent_id=agent.id) for _ in range(8)))
            await edge.call(REMOVE_AGENT, GetAgent(id=agent.id), by())
            gone = await asyncio.gather(*(look(edge, agent.id) for _ in range(8)), return_exceptions=True)

            assert {one.health.status for one in seen} == {"online"}
            assert {one.agent_id for one in answers} == {agent.id}
            assert {getattr(one, "reason", None) for one in gone} == {"agent-not-found"}


async def test_a_key_that_cannot_be_opened_is_said_and_the_agent_not_asked_without_it(
    nats: Nats, data_dir: Path, audit: AuditLog, server: Upstream
) -> None:
    allowed = f"127.0.0.1:{server.port}"
    async with bus_as(nats, "edge") as edge, replica(nats, data_dir, allowed=allowed):
        agent = await register(edge, server, api_key=CANARY)
    asked = len(server.requests)

    async with bus_as(nats, "edge") as edge, replica(nats, data_dir, allowed=allowed, key=KEY[::-1]):
        health = (await look(edge, agent.id)).health
        again = AgentChanges.model_validate({"api_key": CANARY})
        healed = await edge.call(UPDATE_AGENT, UpdateAgent(id=agent.id, changes=again), by())

    assert health.status == "offline"
    assert "sealed with another AGENT_ENCRYPTION_KEY" in health.details
    assert asked + 1 == len(server.requests)
    assert healed.health.status == "online"


async def test_an_endpoint_that_is_not_allowed_any_more_is_not_asked(
    nats: Nats, data_dir: Path, audit: AuditLog, server: Upstream
) -> None:
    async with bus_as(nats, "edge") as edge, replica(nats, data_dir, allowed=f"127.0.0.1:{server.port}"):
        agent = await register(edge, server)
    asked = len(server.requests)

    async with bus_as(nats, "edge") as edge, replica(nats, data_dir):
        health = (await look(edge, agent.id)).health

    assert health.status == "offline"
    assert f"add 127.0.0.1:{server.port} to AGENT_ALLOWED_HOSTS" in health.details
    assert len(server.requests) == asked


async def test_built_in_agents_come_once(data_dir: Path, nats: Nats, audit: AuditLog) -> None:
    async with bus_as(nats, "edge") as edge, replica(nats, data_dir):
        first = await edge.call(LIST_AGENTS, ListAgents(), by())
        await remove_built_in(edge)
    await asyncio.to_thread(prepare, f"sqlite+aiosqlite:///{data_dir / 'orchestrator.db'}")
    async with bus_as(nats, "edge") as edge, replica(nats, data_dir):
        second = await edge.call(LIST_AGENTS, ListAgents(), by())

    described = [(agent.name, agent.type, agent.priority, agent.weight, agent.model) for agent in first.items]
    assert described == [("echo-1", "echo", 1, 10, "echo"), ("echo-2", "echo", 1, 10, "echo")]
    assert second.items == []


async def test_health_really_asks_the_database(edge: Bus, data_dir: Path) -> None:
    contract = health_contract("orchestrator")
    before = await edge.call(contract, NOTHING, by())
    with closing(sqlite3.connect(data_dir / "orchestrator.db")) as database, database:
        database.execute("DROP TABLE registry")

    with pytest.raises(PlatformError) as failure:
        await edge.call(contract, NOTHING, by())

    assert before.healthy
    assert (failure.value.code, failure.value.reason) == (ErrorCode.UNAVAILABLE, "database-unavailable")
