"""The chat completions API of OpenAI, and of the many servers that speak it."""

from collections.abc import Collection, Sequence
from typing import Any

import orjson

from orchestrator.domain.agent import Agent
from orchestrator.domain.chat import Completion, Message
from orchestrator.infrastructure.dialects.dialect import (
    Headers,
    ModelPage,
    bearer,
    count,
    joined_texts,
    require_said,
    text,
)


class OpenAi:
    """OpenAI, at a base path that ends with /v1 as a rule.

    Models that think refuse `max_tokens`, for which they want another name, and every temperature but their own; most
    other servers know only `max_tokens`.
    """

    chat_path = "/chat/completions"
    models_path = "/models"
    always_lists_models = True
    dispensable = frozenset({"max_tokens", "temperature"})

    def headers(self, key: str | None) -> Headers:
        """A bearer token."""
        return bearer(key)

    def request(self, agent: Agent, messages: Sequence[Message], refused: Collection[str]) -> bytes:
        """The body of POST /chat/completions."""
        limit = "max_completion_tokens" if "max_tokens" in refused else "max_tokens"
        fields: dict[str, object] = {"model": agent.model, "messages": messages, limit: agent.max_tokens}
        if "temperature" not in refused:
            fields["temperature"] = agent.temperature
        return orjson.dumps(fields)

    def completion(self, answer: Any) -> Completion:
        """The meaning of a completion. Its content is null when the model had nothing to say, and parts with some."""
        choice = answer["choices"][0]
        content = choice["message"]["content"]
        if content is None:
            content = ""
        said = joined_texts(content) if isinstance(content, list) else text(content)
        usage = answer.get("usage") or {}
        return Completion(
            require_said(said, was_cut_off=choice.get("finish_reason") == "length"),
            count(usage.get("prompt_tokens")),
            count(usage.get("completion_tokens")),
        )

    def models(self, answer: Any) -> ModelPage:
        """The models on offer."""
        return ModelPage([text(model["id"]) for model in answer["data"]])


class Custom(OpenAi):
    """A server of the same API under a base path of its own, which may not tell its models."""

    always_lists_models = False
