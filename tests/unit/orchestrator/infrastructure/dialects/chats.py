"""Conversations, tools and readings for the tests of all dialects."""

from collections.abc import Sequence
from typing import Any

import orjson

from orchestrator.domain.chat import Chat, Completion, Delta
from orchestrator.infrastructure.dialects.dialect import Dialect
from tests.unit.orchestrator.agents import agent

PNG = "data:image/png;base64,iVBORw0KGgo="
TOOL: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Tells the weather.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
CALL = {"id": "call:1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Ulm"}'}}
WITH_TOOLS: list[dict[str, Any]] = [
    {"role": "developer", "content": "Be brief."},
    {"role": "user", "content": [{"type": "text", "text": "See:"}, {"type": "image_url", "image_url": {"url": PNG}}]},
    {"role": "assistant", "content": None, "tool_calls": [CALL, {**CALL, "id": "call:2"}]},
    {"role": "tool", "tool_call_id": "call:1", "content": "Sunny."},
    {"role": "tool", "tool_call_id": "call:2", "content": [{"type": "text", "text": "Rainy."}]},
    {"role": "user", "content": "Which?"},
]


def chat(*messages: dict[str, Any], **options: Any) -> Chat:
    return Chat(messages=messages or [{"role": "user", "content": "Hi"}], options=options)


def sent(dialect: Dialect, chat: Chat, *refused: str, streams: bool = False, **fields: Any) -> Any:
    """The body of a request."""
    one = agent("a", **{"max_tokens": 77, "temperature": 0.5, **fields})
    return orjson.loads(dialect.request(one, chat, refused, streams=streams))


def read(dialect: Dialect, chat: Chat, *pieces: bytes) -> tuple[list[Delta], Completion]:
    """The steps in a stream of these pieces, and what was answered."""
    reading = dialect.reading(chat)
    steps: list[Delta] = []
    for piece in (*pieces, b""):
        if not reading.is_over:
            arrived = (reading.feed(piece) if piece else reading.rest()) or []
            assert not isinstance(arrived, bytes)
            steps += arrived
    return steps, reading.completion()


def passed(dialect: Dialect, chat: Chat, *pieces: bytes) -> tuple[bytes, Completion]:
    """The bytes of such a stream that are passed through."""
    reading = dialect.reading(chat)
    whole = b""
    for piece in (*pieces, b""):
        if not reading.is_over:
            arrived = (reading.feed(piece) if piece else reading.rest()) or b""
            assert isinstance(arrived, bytes)
            whole += arrived
    return whole, reading.completion()


def answer_of(steps: Sequence[Delta], index: int = 0) -> dict[str, Any]:
    """What a client makes of steps."""
    text, calls, reason = "", dict[int, dict[str, Any]](), None
    for step in steps:
        if step.choice != index:
            continue
        text += step.content
        reason = step.finish_reason or reason
        for call in step.delta.get("tool_calls", ()):
            known = calls.setdefault(call["index"], {"arguments": ""})
            known["id"] = call.get("id") or known["id"]
            known["name"] = call["function"].get("name") or known["name"]
            known["arguments"] += call["function"].get("arguments", "")
    return {"text": text, "calls": list(calls.values()), "reason": reason}
