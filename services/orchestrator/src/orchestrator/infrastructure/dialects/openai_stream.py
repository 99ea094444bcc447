"""Streams of OpenAI's chat completions API: chunks, passed through as they are or read."""

from collections.abc import Sequence
from typing import Any

import orjson

from orchestrator.application.upstreams import UpstreamFailure
from orchestrator.domain.chat import Completion, Delta, likely_tokens_of
from orchestrator.infrastructure.dialects.frames import EventStream
from orchestrator.infrastructure.dialects.parts import count, joined_texts, require_few, text
from orchestrator.infrastructure.dialects.reading import NOT_OVER

DONE = b"[DONE]"
FINISH_REASONS = {
    "length": "length",
    "model_length": "length",  # Mistral's
    "tool_calls": "tool_calls",
    "function_call": "function_call",
    "content_filter": "content_filter",
}
"""Why answers end; all other reasons are `stop`, whatever servers call it."""

_SAID = ("role", "content", "tool_calls", "function_call", "refusal")
"""What a step says. What a model thinks has many names and is none of it."""


class Chunks:
    """What chunks mean, and how far the answer is."""

    def __init__(self) -> None:
        self.is_over = False
        self.tokens: tuple[int, int] | None = None
        """The prompt's and the answer's, once they were told."""
        self._begun: set[int] = set()
        self._finished: set[int] = set()

    def choices(self, data: bytes) -> list[Any]:
        """The choices that a chunk is about, none at the end; raises UpstreamFailure for an error in its place."""
        if data == DONE:
            self.is_over = True
            return []
        chunk = orjson.loads(data)
        if chunk.get("error"):
            raise UpstreamFailure("it broke off its answer with an error")
        usage = chunk.get("usage")
        if usage:
            self.tokens = count(usage.get("prompt_tokens")), count(usage.get("completion_tokens"))
        choices: list[Any] = chunk.get("choices", []) if usage else chunk["choices"]
        require_few(choices)
        for choice in choices:
            index = choice.get("index", 0)
            self._begun.add(index)
            if choice.get("finish_reason") is not None:
                self._finished.add(index)
        return choices

    def steps(self, data: bytes) -> Sequence[Delta]:
        """The steps of a chunk."""
        return [_step(choice) for choice in self.choices(data)]

    def usage(self) -> tuple[int, int]:
        """The tokens, zero where they were not told."""
        if not self._begun or not (self.is_over or self._begun <= self._finished):
            raise UpstreamFailure(NOT_OVER)
        return self.tokens or (0, 0)


class PassedThrough:
    """Reads a stream as whole events for OpenAI's clients: those that are chunks, as they came."""

    def __init__(self, frames: EventStream, chunks: Chunks, *, wants_usage: bool) -> None:
        self._frames = frames
        self._chunks = chunks
        self._wants_usage = wants_usage
        self._likely_tokens = 0

    @property
    def is_over(self) -> bool:
        """Whether the answer is complete."""
        return self._chunks.is_over

    def feed(self, piece: bytes) -> bytes | None:
        """The events that have arrived; those that say nothing to the client are left out."""
        frames = self._frames.feed(piece)
        return b"".join([raw for raw, data in frames if self._passes(raw, data)]) if frames else None

    def rest(self) -> bytes | None:
        """The last event, if its end is missing."""
        return b"".join([raw for raw, data in self._frames.rest() if self._passes(raw, data)])

    def completion(self) -> Completion:
        """Without a text. Where the answer's tokens were not told, they are estimated from the events with content."""
        prompt, completion = self._chunks.usage()
        return Completion("", prompt, completion or self._likely_tokens)

    def _passes(self, raw: bytes, data: bytes | None) -> bool:
        chunks = self._chunks
        if data is None or chunks.is_over:
            return False
        choices = chunks.choices(data)
        if choices:
            if any(map(_has_content, choices)):
                self._likely_tokens += likely_tokens_of(raw)
            return True
        return not chunks.is_over and (self._wants_usage or chunks.tokens is None)


def _has_content(choice: Any) -> bool:
    delta = choice.get("delta") or {}
    return bool(delta.get("content")) or any(delta[name] for name in delta if name != "role")


def _step(choice: Any) -> Delta:
    delta = choice.get("delta") or {}
    said = {name: delta[name] for name in _SAID if delta.get(name) is not None}
    content = said.get("content")
    if isinstance(content, list):
        said["content"] = joined_texts(content)
    elif content is not None:
        text(content)
    index, reason = choice.get("index", 0), choice.get("finish_reason")
    if type(index) is not int:
        raise TypeError("no index")
    return Delta(index, said, None if reason is None else FINISH_REASONS.get(reason, "stop"))
