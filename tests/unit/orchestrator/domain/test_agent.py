"""Agents and their rules."""

from typing import get_args

import pytest

from orchestrator.domain.agent import (
    WITHOUT_ENDPOINT,
    AgentType,
    name_key,
    require_fitting_endpoint,
    require_may_have_key,
)
from shared.contracts.orchestrator import AgentType as ContractsAgentType
from shared.errors import InvalidFields
from tests.unit.orchestrator.agents import NOW, agent


@pytest.mark.parametrize("fields", [{"weight": 0}, {"weight": 101}, {"priority": 11}, {"endpoint": None}])
def test_an_impossible_agent_cannot_be_made(fields: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="an agent"):
        agent("a", **fields)


def test_a_change_makes_the_next_version() -> None:
    before = agent("a")

    after = before.changed({"weight": 7}, at=NOW)

    assert (after.weight, after.version, before.version) == (7, 2, 1)


def test_a_sealed_key_is_not_in_what_logs_would_show() -> None:
    assert "canary" not in repr(agent("a", sealed_key="canary"))


@pytest.mark.parametrize("other", ["llama", "LLAMA", " Llama ", "\uff4clama"])
def test_names_that_people_take_for_the_same_are_the_same(other: str) -> None:
    assert name_key(other) == name_key("Llama")


def test_the_contract_has_the_types_that_there_are() -> None:
    assert get_args(ContractsAgentType) == get_args(AgentType)


@pytest.mark.parametrize("type", get_args(AgentType))
def test_an_endpoint_and_a_key_belong_to_the_types_that_need_one(type: AgentType) -> None:
    right, wrong = (None, "http://x") if type in WITHOUT_ENDPOINT else ("http://x", None)

    require_fitting_endpoint(type, right)
    with pytest.raises(InvalidFields):
        require_fitting_endpoint(type, wrong)
    if type not in WITHOUT_ENDPOINT:
        require_may_have_key(type)
        return
    with pytest.raises(InvalidFields, match="API key"):
        require_may_have_key(type)


@pytest.mark.parametrize(
    ("type", "endpoint"),
    [
        ("ollama", "http://x/api/chat"),
        ("openai", "http://x/v1/chat/completions"),
        ("custom", "http://x/chat/completions//"),
        ("anthropic", "http://x/v1/"),
        ("anthropic", "http://x/v1/messages"),
    ],
)
def test_an_endpoint_is_given_without_the_path_that_is_added(type: AgentType, endpoint: str) -> None:
    with pytest.raises(InvalidFields) as failure:
        require_fitting_endpoint(type, endpoint)

    assert "which is added" in failure.value.errors[0].message


@pytest.mark.parametrize(
    ("type", "endpoint"),
    [("ollama", "http://x/api"), ("openai", "http://x/v1"), ("custom", "http://x/v1"), ("anthropic", "http://x/v2")],
)
def test_any_other_path_may_be_a_base(type: AgentType, endpoint: str) -> None:
    require_fitting_endpoint(type, endpoint)
