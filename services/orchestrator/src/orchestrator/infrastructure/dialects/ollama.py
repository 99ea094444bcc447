"""Ollama's own API (github.com/ollama/ollama, docs/api.md)."""

import secrets
from collections.abc import Callable, Collection, Sequence
from typing import Any

import orjson

from orchestrator.application.upstreams import UpstreamFailure
from orchestrator.domain.agent import Agent
from orchestrator.domain.chat import Chat, Completion, Delta
from orchestrator.infrastructure.dialects.dialect import Headers, ModelPage, bearer
from orchestrator.infrastructure.dialects.embeddings import EmbeddingDialect, OllamaEmbeddings
from orchestrator.infrastructure.dialects.frames import JsonLines
from orchestrator.infrastructure.dialects.ollama_conversation import conversation
from orchestrator.infrastructure.dialects.options import (
    HINTS,
    cannot,
    function_of,
    require_off,
    schema_of,
    stops,
    temperature,
    wishes,
)
from orchestrator.infrastructure.dialects.parts import count, require_said, text
from orchestrator.infrastructure.dialects.reading import NOT_OVER, Reading, Steps

_HINTS = HINTS | {"parallel_tool_calls"}
_SAMPLING = {"top_p", "top_k", "min_p", "seed", "frequency_penalty", "presence_penalty"}
_EFFORTS: dict[str, bool | str] = {
    "none": False,
    "minimal": "low",
    "low": "low",
    "medium": "medium",
    "high": "high",
    "xhigh": "max",
    "max": "max",
}


class Ollama:
    """Ollama. What a model thinks is in a field of its own, and no part of the answer."""

    chat_path = "/api/chat"
    models_path = "/api/tags"
    always_lists_models = True
    dispensable: frozenset[str] = frozenset()
    streams_json = True
    knows_choices = False
    embeddings: EmbeddingDialect | None = OllamaEmbeddings()

    def __init__(self, new_id: Callable[[], str] = lambda: f"call_{secrets.token_hex(12)}") -> None:
        self._new_id = new_id

    def headers(self, key: str | None) -> Headers:
        """A bearer token, as proxies before Ollama and its cloud want it."""
        return bearer(key)

    def request(self, agent: Agent, chat: Chat, refused: Collection[str], *, streams: bool) -> bytes:
        """The body of POST /api/chat."""
        fields: dict[str, Any] = {
            "model": agent.model,
            "messages": conversation(chat.messages),
            "stream": streams,
            "options": {"temperature": temperature(agent, chat), "num_predict": chat.token_limit(agent.max_tokens)},
        }
        for name, value in wishes(chat, _HINTS):
            _add(fields, name, value)
        if chat.options.get("tool_choice") == "none":
            fields.pop("tools", None)
        return orjson.dumps(fields)

    def completion(self, body: bytes, chat: Chat) -> Completion:
        """The meaning of a chat's answer."""
        answer = orjson.loads(body)
        reason = answer.get("done_reason")
        if answer.get("done") is False or reason in ("load", "unload"):
            raise ValueError("the model has not answered")
        message = answer["message"]
        calls = [_call(call, self._new_id) for call in message.get("tool_calls") or ()]
        said = text(message.get("content", "") if calls else message["content"])
        if chat.is_plain:
            require_said(said, was_cut_off=reason == "length")
        told: dict[str, Any] = {"role": "assistant", "content": said or None if calls else said}
        if calls:
            told["tool_calls"] = calls
        return Completion(
            said,
            count(answer.get("prompt_eval_count")),
            count(answer.get("eval_count")),
            [{"index": 0, "message": told, "finish_reason": _finish_reason(reason, has_called=bool(calls))}],
        )

    def reading(self, chat: Chat) -> Reading:
        """Reads what lines mean."""
        return Steps(JsonLines(), Lines(self._new_id), is_plain=chat.is_plain)

    def models(self, answer: Any) -> ModelPage:
        """The models that are pulled; `qwen:latest` also as `qwen`."""
        names = [text(model["name"]) for model in answer["models"]]
        return ModelPage(names + [name.removesuffix(":latest") for name in names])


class Lines:
    """What the lines of a stream mean."""

    def __init__(self, new_id: Callable[[], str]) -> None:
        self.is_over = False
        self._new_id = new_id
        self._has_begun = False
        self._calls = 0
        self._tokens = (0, 0)

    def steps(self, data: bytes) -> Sequence[Delta]:
        """The steps of a line; raises UpstreamFailure for an error in its place."""
        line = orjson.loads(data)
        if line.get("error"):
            raise UpstreamFailure("it broke off its answer with an error")
        reason, message = line.get("done_reason"), line["message"]
        if reason in ("load", "unload"):
            raise ValueError("the model has not answered")
        delta: dict[str, Any] = {} if self._has_begun else {"role": "assistant"}
        self._has_begun = True
        said = text(message.get("content") or "")
        if said or "role" in delta:
            delta["content"] = said
        calls = [_call(call, self._new_id) for call in message.get("tool_calls") or ()]
        if calls:
            delta["tool_calls"] = [{"index": self._calls + number, **call} for number, call in enumerate(calls)]
            self._calls += len(calls)
        steps = [Delta(0, delta)] if delta else []
        if line.get("done") is True:
            self.is_over = True
            self._tokens = count(line.get("prompt_eval_count")), count(line.get("eval_count"))
            steps.append(Delta(0, {}, _finish_reason(reason, has_called=self._calls > 0)))
        return steps

    def usage(self) -> tuple[int, int]:
        """The tokens."""
        if not self.is_over:
            raise UpstreamFailure(NOT_OVER)
        return self._tokens


def _add(fields: dict[str, Any], name: str, value: Any) -> None:
    """Says in the request what an option asks for."""
    match name:
        case "stop":
            fields["options"]["stop"] = stops(value)
        case "tools" if value:
            fields["tools"] = [{"type": "function", "function": function_of(tool, "ollama")} for tool in value]
        case "tool_choice":
            if value not in ("auto", "none"):
                raise cannot("ollama agents cannot be made to call a tool; leave tool_choice out")
        case "reasoning_effort":
            if value in _EFFORTS:
                fields["think"] = _EFFORTS[value]
        case "response_format":
            if value["type"] != "text":
                fields["format"] = schema_of(value) or "json"
        case name if name in _SAMPLING:
            fields["options"][name] = value
        case _:
            require_off(name, value, "ollama")


def _call(call: Any, new_id: Callable[[], str]) -> dict[str, Any]:
    """A call of a tool; OpenAI has the arguments as a text, and always an id."""
    function = call["function"]
    if not isinstance(function["arguments"], dict):
        raise TypeError("arguments are an object")
    told = {"name": text(function["name"]), "arguments": orjson.dumps(function["arguments"]).decode()}
    return {"id": call.get("id") or new_id(), "type": "function", "function": told}


def _finish_reason(reason: object, *, has_called: bool) -> str:
    if has_called:
        return "tool_calls"
    return "length" if reason == "length" else "stop"
