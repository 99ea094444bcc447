"""The Messages API's dialect: any conversation becomes one that it takes."""

from itertools import pairwise

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.chat import Chat
from orchestrator.infrastructure.dialects.anthropic import Anthropic
from orchestrator.infrastructure.dialects.anthropic_conversation import OPENING
from tests.unit.orchestrator.agents import agent

TEXTS = st.sampled_from(["", " ", "\n\t", "a", "b c", "é"])
TURNS = st.lists(st.tuples(st.sampled_from(["system", "user", "assistant"]), TEXTS), max_size=12)


@given(TURNS)
def test_turns_alternate_from_the_user_to_the_user_and_nothing_said_is_lost(turns: list[tuple[str, str]]) -> None:
    messages = [{"role": role, "content": content} for role, content in [*turns, ("user", "last")]]

    body = orjson.loads(Anthropic().request(agent("a"), Chat(messages=messages), (), streams=False))

    sent = body["messages"]
    assert (sent[0]["role"], sent[-1]["role"]) == ("user", "user")
    assert all(one["role"] != other["role"] for one, other in pairwise(sent))
    assert all(turn["content"].strip() for turn in sent)
    for role in ("user", "assistant"):
        said = [turn["content"] for turn in messages if turn["role"] == role and turn["content"].strip()]
        told = [turn["content"] for turn in sent if turn["role"] == role and turn["content"] != OPENING]
        assert "\n\n".join(told) == "\n\n".join(said)
    system = [turn["content"] for turn in messages if turn["role"] == "system" and turn["content"].strip()]
    assert body.get("system") == ("\n\n".join(system) or None)


@pytest.mark.parametrize(("temperature", "sent"), [(0, 0), (0.3, 0.3), (1, 1), (1.01, 1), (2, 1)])
def test_a_temperature_is_at_most_one(temperature: float, sent: float) -> None:
    body = orjson.loads(Anthropic().request(agent("a", temperature=temperature), Chat(messages=[]), (), streams=False))

    assert body["temperature"] == sent


def test_messages_that_were_given_stay_as_they_are() -> None:
    messages = [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]

    Anthropic().request(agent("a"), Chat(messages=messages), (), streams=False)

    assert [message["content"] for message in messages] == ["a", "b"]


def test_without_a_key_only_the_version_is_told() -> None:
    assert Anthropic().headers(None) == [("anthropic-version", "2023-06-01")]
