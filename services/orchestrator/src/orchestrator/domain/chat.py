"""Chats: what is to be answered and what was answered, in the terms of OpenAI's chat completions, whoever answers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

Message = Mapping[str, Any]
"""A message as OpenAI has it: `role` and `content` (a text, or parts of one), and what belongs to calls of tools."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chat:
    """A conversation to be answered, the newest message last."""

    messages: Sequence[Message]
    options: Mapping[str, Any] = field(default_factory=dict)
    """What else a request may say (`tools`, `response_format`, `stop`, `temperature` …), but `model`, `n`, `stream` and
    `stream_options`."""
    choices: int = 1
    """How many answers are wanted (`n`)."""
    passes_through: bool = False
    """Whether bytes that OpenAI's API would send are taken as they are, instead of what they mean."""
    wants_usage: bool = False
    """Whether the event that tells the tokens is wanted too, where a stream's bytes are passed through."""

    @property
    def is_plain(self) -> bool:
        """Whether nothing but a text is wanted, as a dispatch does: an answer without one is of no use then."""
        return not self.options and not self.passes_through and self.choices == 1


@dataclass(frozen=True, slots=True)
class Completion:
    """What an agent answered. Token counts are zero where it does not say."""

    text: str
    """What the first choice says; empty where bytes were passed through a stream."""
    prompt_tokens: int
    completion_tokens: int
    choices: Sequence[Mapping[str, Any]] = ()
    """OpenAI's choices: `{"index": …, "message": …, "finish_reason": …}`. None after a stream, or of a plain chat."""
    body: bytes | None = None
    """The whole answer where it is OpenAI's already and is passed through."""


class Delta(NamedTuple):
    """A step of a streamed choice, as OpenAI's chunks have it; `choice` is its index there."""

    choice: int
    delta: Mapping[str, Any]
    finish_reason: str | None = None

    @property
    def content(self) -> str:
        """The text in it."""
        content = self.delta.get("content")
        return content if isinstance(content, str) else ""


Piece = Sequence[Delta] | bytes
"""What arrived together of a stream: its steps, or whole events as OpenAI's API sends them, to be passed through."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """Texts, or lists of tokens, whose embeddings are wanted."""

    inputs: Sequence[str | Sequence[int]]
    options: Mapping[str, Any] = field(default_factory=dict)
    """What else a request may say (`dimensions`, `user` …), but `model`, `input` and `encoding_format`."""


@dataclass(frozen=True, slots=True)
class Embeddings:
    """A vector for each of the inputs, in their order."""

    vectors: Sequence[Sequence[float]]
    prompt_tokens: int


def text_of(content: object) -> str:
    """The texts in a message's content, whose other parts (images, audio …) say nothing here."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    texts = (part.get("text") for part in parts if isinstance(part, dict) and part.get("type") == "text")
    return "\n".join(text for text in texts if isinstance(text, str))
