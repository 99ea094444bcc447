"""Every user of the bus against every subject of the platform, at a real server."""

import asyncio
import json
import re
from typing import Any

import pytest
from nats.aio.msg import Msg

from deploy.nats.permissions import USERS, BusAgent, BusUser
from shared.bus import Contract, Kind
from shared.bus.direct import direct_subject
from shared.bus.records import create_subject, read_subject
from shared.bus.responder import settle
from shared.contracts import (
    audit,
    audit_export,
    audit_tree,
    auth,
    conversations,
    events,
    metrics,
    openai,
    orchestrator,
    second_factor,
    sessions,
    users,
    witness,
)
from shared.contracts.health import health_contract
from shared.versions import version_contract, version_subject
from tests.integration.bus import BUS_AGENTS, Nats
from tests.integration.shared.clients import client_as, may_publish, may_subscribe
from tests.waiting import until

SERVICES = ("edge", "auth", "orchestrator", "audit", "witness")
NAMES = (*SERVICES, "operator")
VERSIONS = (auth.IDENTITIES, orchestrator.AGENTS)
EVENTS = (
    events.AGENT_HEALTH_CHANGED,
    events.AGENT_CHANGED,
    events.INTEGRITY_CHANGED,
    audit_export.ENTRIES_COMMITTED,
)
CONTRACTS = (
    *(
        value
        for module in (
            audit,
            audit_export,
            audit_tree,
            auth,
            conversations,
            metrics,
            openai,
            orchestrator,
            second_factor,
            sessions,
            users,
            witness,
        )
        for value in vars(module).values()
        if isinstance(value, Contract)
    ),
    *(audit.append_contract(service) for service in NAMES),
    *(health_contract(service) for service in SERVICES),
    *(version_contract(name) for name in VERSIONS),
)
VERBS = ("chat", "embeddings", "probe", "cancel")
OTHERS = (
    *(version_subject(name) for name in VERSIONS),
    orchestrator.CIRCUITS,
    "peanut.circuit.auth",
    *(f"_INBOX_{name}.x.1" for name in NAMES),
    *(f"_INBOX_{caller}.{service}.x.1" for caller in NAMES for service in NAMES),
    *(f"peanut.cancel.{service}.{caller}" for service in NAMES for caller in NAMES),
    "peanut.cancel",
    "peanut.cancel.orchestrator",
    "peanut.cancel.orchestrator.edge.x",
    "_INBOX.x",
    "_INBOX_edge",
    "$SRV.PING",
    "$SRV.MADE-UP",
    "$SRV.STATS.auth",
    "$SRV.INFO.auth.auth-1",
    *(f"$SRV.{verb}.{name}{rest}" for verb in ("PING", "STATS") for name in NAMES for rest in ("", ".x")),
    "$JS.API.INFO",
    "$JS.API.STREAM.CREATE.x",
    "$JS.API.STREAM.DELETE.x",
    *(
        f"$JS{account}.API.{request}"
        for account in ("", ".limits")
        for request in (
            "INFO",
            "STREAM.NAMES",
            *(
                f"STREAM.{verb}.{stream}"
                for verb in ("CREATE", "UPDATE", "DELETE", "PURGE", "INFO", "MSG.GET", "MSG.DELETE", "SNAPSHOT")
                for stream in ("KV_limits", "KV_other")
            ),
            "DIRECT.GET.KV_limits",
            "CONSUMER.CREATE.KV_limits",
        )
    ),
    "$KV.limits.x",
    "$KV.limits.dispatch.x",
    "$KV.other.x",
    "$SYS.REQ.SERVER.PING",
    "$SYS.ACCOUNT.$G.CONNECT",
    "peanut.agent.x",
    "peanut.agent.x.chat",
    *(f"peanut.agent.{id}{rest}" for id in BUS_AGENTS for rest in ("", *(f".{verb}" for verb in VERBS), ".x.y")),
    *(f"_INBOX_orchestrator.talk.{id}{rest}" for id in BUS_AGENTS for rest in ("", ".x", ".x.1")),
    "_INBOX_orchestrator.talk",
    *(event.subject for event in EVENTS),
    "peanut.event.auth.changed",
    *(
        f"peanut.{what}.{name}{rest}"
        for what in ("stream", "flow")
        for name in NAMES
        for rest in ("", ".x-1", ".x-1.0a")
    ),
    "peanut.stream",
    "peanut.flow",
    *(direct_subject(contract.name, "x-1") for contract in CONTRACTS),
    "peanut.direct.auth.identity.resolve",
    "peanut.direct.auth.x-1",
    "peanut.direct.orchestrator.x-1.made.up",
    "peanut.direct",
    "peanut.version.made.up",
    "peanut.auth.made.up",
    "peanut.audit.entry.append",
    "peanut",
    "anything",
)
SUBJECTS = tuple(sorted({contract.subject for contract in CONTRACTS} | set(OTHERS)))
WILDCARDS = (
    ">",
    "*",
    "peanut.>",
    "peanut.*.>",
    "peanut.version.>",
    "peanut.event.>",
    "peanut.event.orchestrator.*",
    "peanut.cancel.>",
    "peanut.cancel.*.edge",
    *(f"peanut.cancel.{service}.{rest}" for service in NAMES for rest in ("*", ">")),
    *(f"peanut.{what}.>" for what in ("stream", "flow", "direct")),
    *(f"peanut.direct.{name}.{replica}.>" for name in NAMES for replica in ("*", "x-1")),
    *(f"peanut.direct.{name}.>" for name in NAMES),
    *(f"peanut.{what}.{name}.{rest}" for what in ("stream", "flow") for name in NAMES for rest in ("*", ">", "x-1.*")),
    "peanut.auth.>",
    "peanut.audit.entry.append.*",
    "_INBOX_edge.>",
    "_INBOX_auth.>",
    "_INBOX_operator.>",
    "_INBOX_orchestrator.talk.>",
    "_INBOX.>",
    "peanut.agent.>",
    *(f"peanut.agent.*.{verb}" for verb in VERBS),
    *(f"peanut.agent.{id}.{rest}" for id in BUS_AGENTS for rest in ("*", ">")),
    "$SRV.>",
    "$SRV.*",
    "$SRV.STATS.*",
    "$SRV.STATS.>",
    "$SRV.*.auth",
    "$SRV.*.auth.*",
    "$SRV.*.auth.>",
    "$JS.>",
    "$KV.>",
    "$KV.limits.>",
    "$SYS.>",
)

# The edge reads what these two stream and says how far it is; nobody else says or hears anything of it.
STREAMS_SENT_BY = {
    "edge": ("peanut.flow.orchestrator.", "peanut.flow.audit."),
    "orchestrator": ("peanut.stream.edge.",),
    "audit": ("peanut.stream.edge.",),
}
STREAMS_HEARD_BY = {
    "edge": ("peanut.stream.edge.",),
    "orchestrator": ("peanut.flow.orchestrator.",),
    "audit": ("peanut.flow.audit.",),
}

CALLERS_OF = {
    "audit": ("edge", "auth", "orchestrator", "operator"),
    "auth": ("edge", "operator"),
    "orchestrator": ("edge", "operator"),
    "edge": ("edge",),
    "witness": ("edge", "audit"),
}

everybody = pytest.mark.parametrize("user", USERS, ids=lambda user: user.name)
each_agent = pytest.mark.parametrize("agent", [BusAgent(id) for id in BUS_AGENTS], ids=["one", "other"])


@pytest.mark.asvs("8.3.1")
@everybody
async def test_a_user_publishes_what_the_table_says_and_nothing_else(nats: Nats, user: BusUser) -> None:
    async with client_as(nats, user.name) as (client, refusals):
        allowed = {subject for subject in SUBJECTS if await may_publish(client, refusals, subject)}

    discovery = {subject for subject in SUBJECTS if subject.startswith("$SRV.") and user.discovers}
    records = {subject for subject in SUBJECTS if subject.startswith("$KV.limits.") and user.name == "orchestrator"}
    streams = {subject for subject in SUBJECTS if subject.startswith(STREAMS_SENT_BY.get(user.name, ()))}
    agents = {s for s in SUBJECTS if s.startswith("peanut.agent.") and user.name == "orchestrator"}
    told = {subject for subject in user.may_publish if not re.search("[*>]", subject)}
    sent_again = {
        direct_subject(contract.name, "x-1")
        for contract in CONTRACTS
        if user.name == "edge" and _is_sent_again(contract)
    }
    answers = {f"_INBOX_{caller}.{user.name}.x.1" for caller in CALLERS_OF.get(user.name, ())}
    assert allowed == told | discovery | records | streams | agents | answers | sent_again


@pytest.mark.asvs("8.3.1")
@each_agent
async def test_a_bus_agent_publishes_its_answers_and_nothing_else(nats: Nats, agent: BusAgent) -> None:
    async with client_as(nats, agent.id) as (client, refusals):
        allowed = {subject for subject in SUBJECTS if await may_publish(client, refusals, subject)}

    assert allowed == {f"_INBOX_orchestrator.talk.{agent.id}.{rest}" for rest in ("x", "x.1")}


@pytest.mark.asvs("8.3.1")
@each_agent
async def test_a_bus_agent_hears_its_own_questions_in_its_queue_group_and_nothing_else(
    nats: Nats, agent: BusAgent
) -> None:
    allowed = set()
    async with client_as(nats, agent.id) as (client, refusals):
        for subject in (*SUBJECTS, *WILDCARDS):
            for queue in ("", "agent", "orchestrator"):
                if await may_subscribe(client, refusals, subject, queue=queue):
                    allowed.add((subject, queue))

    below = {f"peanut.agent.{agent.id}.{rest}" for rest in (*VERBS, "x.y", "*", ">")}
    cancelled = {(f"peanut.agent.{agent.id}.cancel", queue) for queue in ("", "agent")}
    assert allowed == {(subject, "agent") for subject in below} | cancelled


@everybody
async def test_a_user_subscribes_to_its_inbox_to_what_is_cancelled_streamed_told_or_a_version_and_to_nothing_else(
    nats: Nats, user: BusUser
) -> None:
    async with client_as(nats, user.name) as (client, refusals):
        asked = (*SUBJECTS, *WILDCARDS)
        allowed = {subject for subject in asked if await may_subscribe(client, refusals, subject)}

    own = {subject for subject in asked if subject.startswith(f"_INBOX_{user.name}.")}
    discovery = {subject for subject in asked if user.serves and _asks(subject, user.name)}
    cancelled = {subject for subject in asked if user.serves and _cancels(subject, user.name)}
    shared = {orchestrator.CIRCUITS} if user.name == "orchestrator" else set()
    heard = {version_subject(name) for name in _versions_heard_by(user)}
    heard |= {event.subject for event in EVENTS if user.name == "edge"}
    streams = {subject for subject in asked if subject.startswith(STREAMS_HEARD_BY.get(user.name, ()))}
    direct = {subject for subject in asked if user.serves and _is_direct(subject, user.name)}
    assert allowed == own | cancelled | discovery | shared | heard | streams | direct


@everybody
async def test_a_service_hears_its_own_calls_in_its_queue_group_only(nats: Nats, user: BusUser) -> None:
    async with client_as(nats, user.name) as (client, refusals):
        for service in NAMES:
            for queue in ("", *NAMES, "another", "*", ">"):
                for subject in (f"peanut.{service}.>", f"peanut.{service}.session.open"):
                    allowed = await may_subscribe(client, refusals, subject, queue=queue)

                    own = service == user.name and queue == user.name and user.serves
                    assert allowed == own, (subject, queue)


async def test_who_cannot_subscribe_does_not_see_what_others_are_asked(nats: Nats) -> None:
    seen: list[str] = []

    async def see(message: Msg) -> None:
        seen.append(message.subject)

    async with client_as(nats, "edge") as (edge, _), client_as(nats, "orchestrator") as (other, _refusals):
        for subject in (">", "peanut.auth.>", "peanut.auth.session.open", "_INBOX_edge.>", "_INBOX_edge.x.1"):
            await other.subscribe(subject, cb=see)
            await other.subscribe(subject, queue="auth", cb=see)
        await settle(other)

        await edge.publish("peanut.auth.session.open", b"password", reply="_INBOX_edge.x.1")
        await settle(edge)
        await asyncio.sleep(0.05)

    assert seen == []


@pytest.mark.asvs("8.3.1")
async def test_who_may_make_the_bucket_keeps_no_copy_of_what_others_say(own_nats: Nats) -> None:
    greedy = {"name": "KV_limits", "subjects": [">"], "storage": "memory", "no_ack": True}
    answers: list[dict[str, object]] = []

    async def hear(message: Msg) -> None:
        answers.append(json.loads(message.data))

    async with client_as(own_nats, "edge") as (edge, _), client_as(own_nats, "orchestrator") as (other, _refusals):
        await other.subscribe("_INBOX_orchestrator.here.*", cb=hear)
        await settle(other)
        await other.publish(create_subject("limits"), json.dumps(greedy).encode(), reply="_INBOX_orchestrator.here.1")
        await until(lambda: len(answers) == 1)
        await edge.publish("peanut.auth.session.open", b"password", reply="_INBOX_edge.x.1")
        await settle(edge)
        await other.publish("$KV.limits.x", b"known", reply="_INBOX_orchestrator.here.2")
        await until(lambda: len(answers) >= 1)
        wish = json.dumps({"last_by_subj": "peanut.auth.session.open"}).encode()
        await other.publish(read_subject("limits"), wish, reply="_INBOX_orchestrator.here.3")
        await until(lambda: any("error" in answer for answer in answers))

    found = [answer for answer in answers if "message" in answer]
    assert (answers[0].get("error"), found) == (None, [])


@pytest.mark.parametrize("service", SERVICES)
async def test_a_service_may_answer_whom_it_was_asked_by_and_nobody_else(nats: Nats, service: str) -> None:
    answers: list[bytes] = []

    async def hear(message: Msg) -> None:
        answers.append(message.data)

    async with client_as(nats, "edge") as (edge, _), client_as(nats, service) as (server, refusals):

        async def answer(message: Msg) -> None:
            await server.publish(message.reply, b"1")
            await server.publish(message.reply, b"2")

        await server.subscribe(f"peanut.{service}.>", queue=service, cb=answer)
        await edge.subscribe("_INBOX_edge.here.*", cb=hear)
        await settle(edge)
        await settle(server)

        await edge.publish(f"peanut.{service}.health.check", b"", reply="_INBOX_edge.here.1")
        await until(lambda: len(answers) == 2)

        assert await refusals.since_last_time() == []
        assert await may_publish(server, refusals, "_INBOX_edge.here.2") is False
    assert answers == [b"1", b"2"]


def _versions_heard_by(user: BusUser) -> tuple[str, ...]:
    return (*user.asks_versions_of, *user.hears_versions_of)


def _is_sent_again(contract: Contract[Any, Any]) -> bool:
    """Whether the edge calls it, and may send it to one replica: anything but a change."""
    others = (version_contract(orchestrator.AGENTS), witness.LAST_CHECKPOINT)
    return contract.kind is not Kind.CHANGE and contract not in others


def _is_direct(subject: str, service: str) -> bool:
    """Whether it is a call to one of this service's replicas."""
    match subject.split("."):
        case ["peanut", "direct", name, replica, *rest]:
            return name == service and replica != ">" and bool(rest)
    return False


def _cancels(subject: str, service: str) -> bool:
    """Whether it is where one caller cancels calls to this service, or all do."""
    match subject.split("."):
        case ["peanut", "cancel", name, _]:
            return name == service  # `>` too, for which see below
    return False


def _asks(subject: str, service: str) -> bool:
    """Whether it is a question to everybody or to this service."""
    match subject.split("."):
        case ["$SRV", "PING" | "INFO" | "STATS"]:
            return True
        case ["$SRV", _, name]:
            return name == service
        case ["$SRV", _, name, _]:  # the server lets `*` stand for a `>` too, here below the service's own name
            return name == service
    return False
