"""Keys of bus agents: for whom, by whom, and what is recorded of them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, cast

import pytest

from orchestrator.application.agent_keys import AgentKeys
from orchestrator.application.registry import Snapshot
from orchestrator.domain.agent import AgentNotFound
from shared.audit import AuditTrail, Resource
from shared.bus import CallContext, call_context
from shared.contracts.audit import Action, Details
from shared.errors import Forbidden, InvalidFields
from shared.principal import Caller, Principal, PrincipalKind, Role
from tests.unit.orchestrator.agents import agent, snapshot

KEY = "U" + "A" * 55
BUS = [replace(agent(id, type="bus", endpoint=None), name=name) for id, name in (("b", "first"), ("x", "B"))]


class Known:
    """Three agents; one of them is called as another's id is."""

    async def current(self) -> Snapshot:
        return snapshot(1, *BUS, agent("h"))


class Recorded:
    """A trail that only remembers."""

    def __init__(self) -> None:
        self.changes: list[tuple[Action, Resource, Details]] = []

    @asynccontextmanager
    async def change(
        self, action: Action, resource: Resource, _context: CallContext, details: Details
    ) -> AsyncIterator[Any]:
        self.changes.append((action, resource, details))
        yield None


@pytest.fixture
def trail() -> Recorded:
    return Recorded()


@pytest.fixture
def keys(trail: Recorded) -> AgentKeys:
    return AgentKeys(Known(), cast("AuditTrail", trail))


def by(kind: PrincipalKind = PrincipalKind.LOCAL_OPERATOR) -> CallContext:
    principal = Principal(kind=kind, user_id="u", email="", role=Role.ADMIN, credential_id="ada")
    return call_context(seconds=5, caller=Caller(principal=principal))


@pytest.mark.parametrize(("wanted", "id"), [("b", "b"), (" B ", "x"), ("x", "x")])
async def test_an_id_counts_more_than_a_name(keys: AgentKeys, trail: Recorded, wanted: str, id: str) -> None:
    found = await keys.issue(wanted, KEY, by())

    details = {"name": found.name, "publicKey": KEY, "localUser": "ada"}
    assert found.id == id
    assert trail.changes == [(Action.AGENT_KEY_CREATED, Resource("agent", id), details)]


@pytest.mark.parametrize("kind", [PrincipalKind.SESSION, PrincipalKind.KEY])
async def test_only_the_local_operator_makes_keys(keys: AgentKeys, trail: Recorded, kind: PrincipalKind) -> None:
    with pytest.raises(Forbidden):
        await keys.issue("b", KEY, by(kind))

    assert trail.changes == []


async def test_others_have_no_keys(keys: AgentKeys, trail: Recorded) -> None:
    with pytest.raises(AgentNotFound):
        await keys.issue("nobody", KEY, by())
    with pytest.raises(InvalidFields, match="only agents of type bus"):
        await keys.issue("h", KEY, by())

    assert trail.changes == []
