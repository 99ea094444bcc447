"""Anthropic's Messages API (platform.claude.com/docs/en/api/messages)."""

import re
from collections.abc import Collection, Sequence
from typing import Any
from urllib.parse import quote

import orjson

from orchestrator.domain.agent import Agent
from orchestrator.domain.chat import Completion, Message
from orchestrator.infrastructure.dialects.dialect import Headers, ModelPage, count, joined_texts, require_said, text

VERSION = "2023-06-01"
OPENING = "(The assistant begins.)"
"""What stands for the user's turn where there is none: the first one has to be the user's."""

_DATE = re.compile(r"-\d{8}$")


class Anthropic:
    """Anthropic, and the servers that speak its API; many of those do not tell their models."""

    chat_path = "/v1/messages"
    models_path = "/v1/models?limit=1000"
    always_lists_models = False
    dispensable = frozenset({"temperature"})  # from Claude Opus 4.7 on it is refused

    def headers(self, key: str | None) -> Headers:
        """The key in a header of its own, and the API's version."""
        version = ("anthropic-version", VERSION)
        return [version] if key is None else [version, ("x-api-key", key)]

    def request(self, agent: Agent, messages: Sequence[Message], refused: Collection[str]) -> bytes:
        """The body of POST /v1/messages. Instructions stand beside the conversation there, wherever they stood."""
        fields: dict[str, object] = {
            "model": agent.model,
            "max_tokens": agent.max_tokens,
            "messages": _turns(messages),
        }
        system = [turn["content"] for turn in messages if turn["role"] == "system" and turn["content"].strip()]
        if system:
            fields["system"] = "\n\n".join(system)
        if "temperature" not in refused:
            fields["temperature"] = min(agent.temperature, 1)
        return orjson.dumps(fields)

    def completion(self, answer: Any) -> Completion:
        """The meaning of a message. Tokens that were written to or read from the cache are the prompt's too."""
        usage = answer.get("usage") or {}
        prompt = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
        return Completion(
            require_said(joined_texts(answer["content"]), was_cut_off=answer.get("stop_reason") == "max_tokens"),
            count(sum(count(usage.get(name)) for name in prompt)),
            count(usage.get("output_tokens")),
        )

    def models(self, answer: Any) -> ModelPage:
        """A page of the models on offer; `claude-x-20260101` also as `claude-x`, which is no entry of the list."""
        names = [text(model["id"]) for model in answer["data"]]
        names += [_DATE.sub("", name) for name in names]
        if answer.get("has_more") is not True:
            return ModelPage(names)
        return ModelPage(names, f"{self.models_path}&after_id={quote(text(answer['last_id']), safe='')}")


def _turns(messages: Sequence[Message]) -> list[dict[str, str]]:
    """User and assistant in turns, the user first. Blank turns, which are refused there, are left out, but the last."""
    turns: list[dict[str, str]] = []
    for turn in messages:
        role, content = turn["role"], turn["content"]
        if role == "system" or (turn is not messages[-1] and not content.strip()):
            continue
        if not turns and role == "assistant":
            turns.append({"role": "user", "content": OPENING})
        if turns and turns[-1]["role"] == role:
            turns[-1]["content"] += "\n\n" + content
        else:
            turns.append({"role": role, "content": content})
    return turns
