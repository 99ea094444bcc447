"""What the contract says of agents and dispatch, at its edges."""

import httpx

from tests.e2e.test_http_contract import DISPATCH, is_problem

AGENTS = "/api/v1/agents"


async def test_any_field_may_change_but_the_type(operator: httpx.AsyncClient, admin: httpx.AsyncClient) -> None:
    made = await operator.post(AGENTS, json={"name": "of one type", "type": "echo", "model": "m", "priority": 1})
    url = made.headers["location"]

    retyped = await operator.put(url, json={"type": "ollama"})
    changed = await operator.put(url, json={"name": "renamed", "weight": 2, "tags": ["t"], "metadata": {"a": 1}})
    forbidden = await operator.delete(url)
    removed = await admin.delete(url)

    assert is_problem(retyped, 422)
    assert [error["path"] for error in retyped.json()["errors"]] == ["type"]
    agent = changed.json()
    assert (agent["name"], agent["weight"], agent["tags"], agent["metadata"]) == ("renamed", 2, ["t"], {"a": 1})
    assert is_problem(forbidden, 403)
    assert removed.status_code == 204


async def test_the_longest_message_and_a_conversation_with_times_are_answered(operator: httpx.AsyncClient) -> None:
    turn = {"role": "assistant", "content": "before", "timestamp": "2026-11-22T10:00:00.000Z"}

    longest = await operator.post(DISPATCH, json={"message": "x" * 100_000})
    continued = await operator.post(DISPATCH, json={"message": "Hello", "context": [turn]})

    assert (longest.status_code, len(longest.json()["message"])) == (200, 100_000)
    assert (continued.status_code, continued.json()["sessionId"]) == (200, None)
