"""Anthropic's Messages API (platform.claude.com/docs/en/api/messages)."""

import re
from collections.abc import Collection
from typing import Any
from urllib.parse import quote

import orjson

from orchestrator.domain.agent import Agent
from orchestrator.domain.chat import Chat, Completion
from orchestrator.infrastructure.dialects.anthropic_conversation import conversation
from orchestrator.infrastructure.dialects.anthropic_stream import PROMPT_TOKENS, STOP_REASONS, Events
from orchestrator.infrastructure.dialects.dialect import Headers, ModelPage
from orchestrator.infrastructure.dialects.embeddings import EmbeddingDialect
from orchestrator.infrastructure.dialects.frames import EventStream
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
from orchestrator.infrastructure.dialects.parts import count, joined_texts, require_said, text
from orchestrator.infrastructure.dialects.reading import Reading, Steps

VERSION = "2023-06-01"
ONLY_JSON = "Answer with a single JSON object and nothing else: no other words, no code fence."

_ELSEWHERE = HINTS | {"seed", "tool_choice", "parallel_tool_calls"}
_DATE = re.compile(r"-\d{8}$")
_EFFORTS = {"minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "xhigh", "max": "max"}
_TOOL_CHOICES = {"auto": "auto", "required": "any", "none": "none"}


class Anthropic:
    """Anthropic, and the servers that speak its API; many of those do not tell their models."""

    chat_path = "/v1/messages"
    models_path = "/v1/models?limit=1000"
    always_lists_models = False
    dispensable = frozenset({"temperature"})  # from Claude Opus 4.7 on it is refused
    streams_json = False
    knows_choices = False
    embeddings: EmbeddingDialect | None = None

    def headers(self, key: str | None) -> Headers:
        """The key in a header of its own, and the API's version."""
        version = ("anthropic-version", VERSION)
        return [version] if key is None else [version, ("x-api-key", key)]

    def request(self, agent: Agent, chat: Chat, refused: Collection[str], *, streams: bool) -> bytes:
        """The body of POST /v1/messages. Instructions stand beside the conversation there, wherever they stood."""
        system, turns = conversation(chat.messages)
        fields: dict[str, Any] = {
            "model": agent.model,
            "max_tokens": chat.token_limit(agent.max_tokens),
            "messages": turns,
        }
        for name, value in wishes(chat, _ELSEWHERE):
            _add(fields, name, value)
        if choice := _tool_choice(chat, has_tools="tools" in fields):
            fields["tool_choice"] = choice
        if _wants_any_object(chat):
            system = [*system, ONLY_JSON]
        if system:
            fields["system"] = "\n\n".join(system)
        # Models that take both refuse them together; without a wish for a temperature, top_p is the wish.
        if "temperature" not in refused and ("top_p" not in fields or chat.options.get("temperature") is not None):
            fields["temperature"] = min(temperature(agent, chat), 1)
        if streams:
            fields["stream"] = True
        return orjson.dumps(fields)

    def completion(self, body: bytes, chat: Chat) -> Completion:
        """The meaning of a message. Tokens that were written to or read from the cache are the prompt's too."""
        answer = orjson.loads(body)
        said, reason = joined_texts(answer["content"]), answer.get("stop_reason")
        if chat.is_plain:
            require_said(said, was_cut_off=reason == "max_tokens")
        usage = answer.get("usage") or {}
        calls = [_call(part) for part in answer["content"] if part["type"] == "tool_use"]
        message: dict[str, Any] = {"role": "assistant", "content": said or None if calls else said}
        if calls:
            message["tool_calls"] = calls
        return Completion(
            said,
            count(sum(count(usage.get(name)) for name in PROMPT_TOKENS)),
            count(usage.get("output_tokens")),
            [{"index": 0, "message": message, "finish_reason": STOP_REASONS.get(reason, "stop")}],
        )

    def reading(self, chat: Chat) -> Reading:
        """Reads what events mean."""
        return Steps(EventStream(), Events(), is_plain=chat.is_plain)

    def models(self, answer: Any) -> ModelPage:
        """A page of the models on offer; `claude-x-20260101` also as `claude-x`, which is no entry of the list."""
        names = [text(model["id"]) for model in answer["data"]]
        names += [_DATE.sub("", name) for name in names]
        if answer.get("has_more") is not True:
            return ModelPage(names)
        return ModelPage(names, f"{self.models_path}&after_id={quote(text(answer['last_id']), safe='')}")


def _add(fields: dict[str, Any], name: str, value: Any) -> None:
    """Says in the request what an option asks for."""
    match name:
        case "top_p" | "top_k":
            fields[name] = value
        case "stop":
            fields["stop_sequences"] = stops(value)
        case "tools" if value:
            fields["tools"] = [_tool(tool) for tool in value]
        case "reasoning_effort":
            if value in _EFFORTS:
                fields.setdefault("output_config", {})["effort"] = _EFFORTS[value]
        case "response_format":
            schema = None if value["type"] == "text" else schema_of(value)
            if schema is not None:
                fields.setdefault("output_config", {})["format"] = {"type": "json_schema", "schema": schema}
        case _:
            require_off(name, value, "anthropic")


def _wants_any_object(chat: Chat) -> bool:
    wish = chat.options.get("response_format")
    return wish is not None and wish["type"] == "json_object"


def _tool(tool: Any) -> dict[str, Any]:
    function = function_of(tool, "anthropic")
    made = {"name": function["name"], "input_schema": function.get("parameters") or {"type": "object"}}
    for name in ("description", "strict"):
        if function.get(name):
            made[name] = function[name]
    return made


def _tool_choice(chat: Chat, *, has_tools: bool) -> dict[str, Any] | None:
    """Which tools the model may or must call, and whether several at once; without tools there is nothing to say."""
    choice = chat.options.get("tool_choice")
    told: dict[str, Any] = {"type": "auto"}
    if isinstance(choice, dict) and choice.get("type") == "function":
        told = {"type": "tool", "name": choice["function"]["name"]}
    elif isinstance(choice, str) and choice in _TOOL_CHOICES:
        told = {"type": _TOOL_CHOICES[choice]}
    elif choice is not None:
        raise cannot("anthropic agents know the tool_choice auto, required, none or one function; choose one of these")
    if chat.options.get("parallel_tool_calls") is False and told["type"] != "none":
        told["disable_parallel_tool_use"] = True
    says_nothing = told == {"type": "auto"} or (not has_tools and told["type"] in ("auto", "none"))
    return None if says_nothing else told


def _call(part: Any) -> dict[str, Any]:
    """A call of a tool; OpenAI has the arguments as a text."""
    arguments = orjson.dumps(part["input"]).decode()
    return {"id": text(part["id"]), "type": "function", "function": {"name": part["name"], "arguments": arguments}}
