"""Replies written by hand say exactly what the contract's models would say."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import orjson

from orchestrator.application.agents import Page, Seen
from orchestrator.application.attempts import Attempt
from orchestrator.application.dispatching import Answered
from orchestrator.application.limiting import Spending
from orchestrator.application.upstreams import UpstreamFailure
from orchestrator.domain.agent import Agent, AgentId
from orchestrator.domain.chat import Completion
from orchestrator.domain.health import Health
from orchestrator.interface import views
from orchestrator.interface.views import Views, dispatched
from shared.bus import Message, read, write
from shared.clock import rfc3339
from shared.contracts import orchestrator as contract

NOW = datetime(2026, 11, 22, 10, 37, 25, 123000, UTC)
AGENT = Agent(
    id=AgentId("01a20304-490e-7141-9251-cff2e71a6900"),
    name="Llama “3”\u2028",
    type="openai",
    endpoint="https://api.example.org/v1",
    model="m",
    sealed_key="v1|k|n|c",
    max_tokens=4096,
    temperature=0.7,
    priority=5,
    weight=10,
    tags=("a", "ü"),
    metadata={"team": {"n": [1, None, True, 1.5]}},
    created_at=NOW,
    updated_at=NOW + timedelta(milliseconds=877),
)
HEALTH = Health().probed_well("Answers.", latency_ms=1.5, at=NOW, now_s=0).succeeded(now_s=0).failed("Oops.", now_s=0)


def assert_same(model: type[Message], body: bytes) -> None:
    """Nothing more, nothing less, in the same order."""
    assert orjson.dumps(orjson.loads(write(read(model, body)))) == orjson.dumps(orjson.loads(body))


def test_an_agent_is_written_as_the_contract_says() -> None:
    view = Views()

    for health in (Health(), HEALTH):
        assert_same(contract.Agent, view.agent(Seen(AGENT, health)))
        assert_same(contract.AgentHealth, view.health(AGENT.id, health))


def test_a_page_is_written_as_the_contract_says() -> None:
    view = Views()

    assert_same(contract.Agents, view.page(Page([], None)))
    assert_same(contract.Agents, view.page(Page([Seen(AGENT, HEALTH), Seen(AGENT, HEALTH)], "next")))


def test_an_answer_is_written_as_the_contract_says() -> None:
    in_vain, last = Attempt(replace(AGENT, name="other"), Spending()), Attempt(AGENT, Spending())
    in_vain.failed(UpstreamFailure("HTTP 500"))
    completion = Completion("Good day \u2028 “”", 9, 3)
    last.succeeded(completion)
    answered = Answered(completion, [in_vain, last], 12.3)

    body = dispatched(answered, request_id="r-1", session_id=None, at=rfc3339(NOW))

    assert_same(contract.Dispatched, body)
    told = orjson.loads(body)
    assert told["tokensUsed"] == 12
    assert [(one["agentName"], one["outcome"], one["why"]) for one in told["attempts"]] == [
        ("other", "failed", "HTTP 500"),
        (AGENT.name, "success", None),
    ]


def test_what_changes_is_written_again() -> None:
    view = Views()
    view.agent(Seen(AGENT, Health()))

    changed = AGENT.changed({"weight": 99, "sealed_key": None}, at=NOW)
    body = orjson.loads(view.agent(Seen(changed, HEALTH)))

    assert (body["weight"], body["version"], body["hasApiKey"]) == (99, 2, False)
    assert body["health"]["errorCount"] == 1


def test_what_is_remembered_is_bounded() -> None:
    view = Views()
    for number in range(views.MAX_REMEMBERED + 10):
        view.health(str(number), HEALTH)

    assert len(view._healths._written) <= views.MAX_REMEMBERED
