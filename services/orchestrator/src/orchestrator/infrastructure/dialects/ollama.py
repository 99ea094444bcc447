"""Ollama's own API (github.com/ollama/ollama, docs/api.md)."""

from collections.abc import Collection, Sequence
from typing import Any

import orjson

from orchestrator.domain.agent import Agent
from orchestrator.domain.chat import Completion, Message
from orchestrator.infrastructure.dialects.dialect import Headers, ModelPage, bearer, count, require_said, text


class Ollama:
    """Ollama. What a model thinks is in a field of its own, and no part of the answer."""

    chat_path = "/api/chat"
    models_path = "/api/tags"
    always_lists_models = True
    dispensable: frozenset[str] = frozenset()

    def headers(self, key: str | None) -> Headers:
        """A bearer token, as proxies before Ollama and its cloud want it."""
        return bearer(key)

    def request(self, agent: Agent, messages: Sequence[Message], refused: Collection[str]) -> bytes:
        """The body of POST /api/chat."""
        options = {"temperature": agent.temperature, "num_predict": agent.max_tokens}
        return orjson.dumps({"model": agent.model, "messages": messages, "stream": False, "options": options})

    def completion(self, answer: Any) -> Completion:
        """The meaning of a chat's answer."""
        reason = answer.get("done_reason")
        if answer.get("done") is False or reason in ("load", "unload"):
            raise ValueError("the model has not answered")
        said = require_said(text(answer["message"]["content"]), was_cut_off=reason == "length")
        return Completion(said, count(answer.get("prompt_eval_count")), count(answer.get("eval_count")))

    def models(self, answer: Any) -> ModelPage:
        """The models that are pulled; `qwen:latest` also as `qwen`."""
        names = [text(model["name"]) for model in answer["models"]]
        return ModelPage(names + [name.removesuffix(":latest") for name in names])
