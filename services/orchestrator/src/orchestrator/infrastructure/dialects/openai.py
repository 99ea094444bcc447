"""The chat completions API of OpenAI, and of the many servers that speak it."""

from collections.abc import Collection
from typing import Any

import orjson

from orchestrator.domain.agent import Agent
from orchestrator.domain.chat import LIMITS, Chat, Completion
from orchestrator.infrastructure.dialects.dialect import Headers, ModelPage, bearer
from orchestrator.infrastructure.dialects.embeddings import EmbeddingDialect, OpenAiEmbeddings
from orchestrator.infrastructure.dialects.frames import EventStream
from orchestrator.infrastructure.dialects.openai_stream import FINISH_REASONS, Chunks, PassedThrough
from orchestrator.infrastructure.dialects.options import temperature
from orchestrator.infrastructure.dialects.parts import count, joined_texts, require_few, require_said, text
from orchestrator.infrastructure.dialects.reading import Reading, Steps

_SAID = ("tool_calls", "function_call", "refusal", "annotations", "audio")
"""What a message says beside its content. What a model thinks has many names and is none of it."""


class OpenAi:
    """OpenAI, at a base path that ends with /v1 as a rule.

    Models that think refuse `max_tokens`, for which they want another name, and every temperature but their own; most
    other servers know only `max_tokens`. Some servers know no `stream_options`.
    """

    chat_path = "/chat/completions"
    models_path = "/models"
    always_lists_models = True
    dispensable = frozenset({"max_tokens", "temperature", "stream_options"})
    streams_json = False
    knows_choices = True
    embeddings: EmbeddingDialect | None = OpenAiEmbeddings()

    def headers(self, key: str | None) -> Headers:
        """A bearer token."""
        return bearer(key)

    def request(self, agent: Agent, chat: Chat, refused: Collection[str], *, streams: bool) -> bytes:
        """The body of POST /chat/completions. Options go as they are, whether they are known here or not."""
        limit = "max_completion_tokens" if "max_tokens" in refused else "max_tokens"
        fields: dict[str, object] = {
            "model": agent.model,
            "messages": chat.messages,
            limit: agent.max_tokens,
            "temperature": agent.temperature,
        }
        if chat.options:
            others = {name: value for name, value in chat.options.items() if name not in LIMITS}
            fields |= {limit: chat.token_limit(agent.max_tokens), "temperature": temperature(agent, chat)}
            fields = {**others, **fields}
        if "temperature" in refused:
            del fields["temperature"]
        if chat.choices != 1:
            fields["n"] = chat.choices
        if streams:
            fields["stream"] = True
            if "stream_options" not in refused:
                fields["stream_options"] = {"include_usage": True}
        return orjson.dumps(fields)

    def completion(self, body: bytes, chat: Chat) -> Completion:
        """The meaning of a completion; passed through, if it is one that OpenAI's clients take as it is."""
        answer = orjson.loads(body)
        usage = answer.get("usage") or {}
        prompt, completion = count(usage.get("prompt_tokens")), count(usage.get("completion_tokens"))
        if chat.is_plain:
            choice = answer["choices"][0]
            content = choice["message"]["content"]
            said = content if type(content) is str else _content(content) or ""
            if choice.get("finish_reason") == "length":
                require_said(said, was_cut_off=True)
            return Completion(said, prompt, completion)
        require_few(answer["choices"])
        choices = [_choice(index, choice) for index, choice in enumerate(answer["choices"])]
        passed = body if chat.passes_through and _is_openais(answer) else None
        return Completion(choices[0]["message"]["content"] or "", prompt, completion, choices, passed)

    def reading(self, chat: Chat) -> Reading:
        """Passes events through, or reads what they mean."""
        if chat.passes_through:
            return PassedThrough(EventStream(), Chunks(), wants_usage=chat.wants_usage)
        return Steps(EventStream(), Chunks(), is_plain=chat.is_plain)

    def models(self, answer: Any) -> ModelPage:
        """The models on offer."""
        return ModelPage([text(model["id"]) for model in answer["data"]])


class Custom(OpenAi):
    """A server of the same API under a base path of its own, which may not tell its models."""

    always_lists_models = False


def _content(content: object) -> str | None:
    """It is null when the model had nothing to say, and parts with some."""
    if isinstance(content, list):
        return joined_texts(content)
    return None if content is None else text(content)


def _choice(index: int, choice: Any) -> dict[str, Any]:
    """A choice as OpenAI has it."""
    message = choice["message"]
    calls = message.get("tool_calls")
    if calls and not (isinstance(calls, list) and all(isinstance(call, dict) for call in calls)):
        raise TypeError("no calls of tools")
    content = message.get("content") if calls else message["content"]
    told: dict[str, Any] = {"role": "assistant", "content": _content(content)}
    for name in _SAID:
        if message.get(name):
            told[name] = message[name]
    reason = FINISH_REASONS.get(choice.get("finish_reason"), "stop")
    made: dict[str, Any] = {"index": index, "message": told, "finish_reason": reason}
    if choice.get("logprobs"):
        made["logprobs"] = choice["logprobs"]
    return made


def _is_openais(answer: dict[str, Any]) -> bool:
    """Whether it has what clients rely on."""
    return (
        answer.get("object") == "chat.completion"
        and isinstance(answer.get("id"), str)
        and isinstance(answer.get("model"), str)
        and type(answer.get("created")) is int
    )
