"""What the table of bus permissions promises, said a second time."""

import re
from pathlib import Path

import pytest

from deploy.nats.permissions import SERVICES, USERS, BusUser, configuration
from shared.contracts.audit import append_contract
from shared.contracts.health import health_contract
from shared.contracts.witness import ADD_CHECKPOINT, LAST_CHECKPOINT
from shared.versions import version_contract, version_subject

everybody = pytest.mark.parametrize("user", USERS, ids=lambda user: user.name)


@pytest.mark.asvs("8.3.1")
def test_only_the_edge_and_the_local_operator_pass_on_a_principal() -> None:
    assert {user.name for user in USERS if user.passes_principal} == {"edge", "operator"}


@everybody
def test_who_may_not_pass_on_a_principal_reaches_nothing_that_acts_on_one(user: BusUser) -> None:
    harmless = {append_contract(user.name).subject}
    harmless |= {health_contract(service).subject for service in SERVICES}
    harmless |= {version_contract(name).subject for name in user.asks_versions_of}
    harmless |= {version_subject(name) for name in user.owns_versions} | set(user.shares)
    harmless |= {event.subject for event in user.tells}
    harmless |= {ADD_CHECKPOINT.subject, LAST_CHECKPOINT.subject} if user.name == "audit" else set()
    harmless |= {"peanut.stream.edge.>", "peanut.agent.>"} if user.name == "orchestrator" else set()
    harmless |= {"peanut.stream.edge.>"} if user.name == "audit" else set()
    harmless |= {f"_INBOX_{caller.name}.{user.name}.>" for caller in USERS}
    harmless |= {"$JS.limits.API.STREAM.CREATE.KV_limits", "$JS.limits.API.STREAM.MSG.GET.KV_limits", "$KV.limits.>"}

    assert user.passes_principal or set(user.may_publish) <= harmless


@everybody
def test_nobody_appends_to_the_log_in_the_name_of_another(user: BusUser) -> None:
    appends = {subject for subject in user.may_publish if subject.startswith("peanut.audit.entry.append")}

    assert appends <= {f"peanut.audit.entry.append.{user.name}"}


def test_only_the_log_has_its_checkpoints_cosigned() -> None:
    asking = {user.name for user in USERS if any(s.startswith("peanut.witness.checkpoint") for s in user.may_publish)}

    assert asking == {"audit"}


@everybody
def test_a_version_is_published_by_its_owner_alone(user: BusUser) -> None:
    published = {subject for subject in user.may_publish if subject.startswith("peanut.version.")}

    assert all(subject.startswith(f"peanut.version.{user.name}.") for subject in published)


@everybody
def test_an_event_is_told_by_its_service_alone(user: BusUser) -> None:
    told = {subject for subject in user.may_publish if subject.startswith("peanut.event.")}

    assert all(subject.startswith(f"peanut.event.{user.name}.") for subject in told)


@everybody
def test_nobody_publishes_to_a_wildcard_but_for_what_has_no_single_subject(user: BusUser) -> None:
    direct = {subject for subject in user.may_publish if re.fullmatch(r"peanut\.direct\.[a-z]+\.\*\.[a-z.]+", subject)}
    allowed = {
        "edge": {"$SRV.>", "peanut.flow.orchestrator.>", "peanut.flow.audit.>", *direct},
        "audit": {"peanut.stream.edge.>"},
        "orchestrator": {"$KV.limits.>", "peanut.stream.edge.>", "peanut.agent.>"},
    }.get(user.name, set())
    answers = {f"_INBOX_{caller.name}.{user.name}.>" for caller in USERS if user.name in caller.asks}

    assert {subject for subject in user.may_publish if re.search(r"[*>]", subject)} <= allowed | answers


@everybody
def test_records_are_the_orchestrators_alone(user: BusUser) -> None:
    asked = {subject for subject in user.may_publish if subject.startswith(("$JS.", "$KV."))}

    limits = {"$JS.limits.API.STREAM.CREATE.KV_limits", "$JS.limits.API.STREAM.MSG.GET.KV_limits", "$KV.limits.>"}
    assert asked == (limits if user.name == "orchestrator" else set())


@everybody
def test_nobody_hears_what_another_service_is_asked_in_discovery(user: BusUser) -> None:
    heard = {subject for subject in user.may_subscribe if subject.startswith("$SRV.")}
    to_everybody = {"$SRV.PING", "$SRV.INFO", "$SRV.STATS"}

    assert heard == (to_everybody | {f"$SRV.*.{user.name}", f"$SRV.*.{user.name}.*"} if user.serves else set())


def test_only_the_orchestrator_asks_bus_agents() -> None:
    asking = {user.name for user in USERS if any(each.startswith("peanut.agent") for each in user.may_publish)}

    assert asking == {"orchestrator"}


def test_a_bus_agent_has_a_place_of_its_own_and_no_reply_permission() -> None:
    keys = {user.name: f"U{user.name.upper()}" for user in USERS}
    text = configuration(keys, host="127.0.0.1", port=4223, store_dir=Path("/data"), agents={"a-1": "UAGENT"})

    place = text.partition("nkey: UAGENT")[2].partition("imports")[0]
    assert place.split() == [
        "permissions:",
        "{",
        *["publish:", "{", "allow:", '["_INBOX_orchestrator.talk.a-1.>"]', "}"],
        *["subscribe:", "{", "allow:", '["peanut.agent.a-1.>', 'agent",', '"peanut.agent.a-1.cancel"]', "}"],
        *["}", "}", "]"],
    ]


def test_the_configuration_names_each_user_and_ends_dead_connections_soon() -> None:
    keys = {user.name: f"U{user.name.upper()}" for user in USERS}
    text = configuration(keys, host="127.0.0.1", port=4223, store_dir=Path("/data/nats/jetstream"))

    assert all(f"nkey: U{user.name.upper()}" in text for user in USERS)
    assert ("max_memory_store: 256MB" in text, "max_file_store: 0" in text) == (True, True)
    assert ('ping_interval: "5s"' in text, "ping_max: 2" in text, "max_payload: 8MB" in text) == (True, True, True)
