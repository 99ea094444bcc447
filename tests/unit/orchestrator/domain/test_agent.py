"""Agents and their rules."""

import pytest

from orchestrator.domain.agent import name_key, require_fitting_endpoint
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


def test_an_endpoint_belongs_to_the_types_that_need_one() -> None:
    require_fitting_endpoint("echo", None)
    require_fitting_endpoint("ollama", "http://x")
    with pytest.raises(InvalidFields):
        require_fitting_endpoint("echo", "http://x")
    with pytest.raises(InvalidFields):
        require_fitting_endpoint("openai", None)
