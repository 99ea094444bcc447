"""Chats: what is to be answered and what was answered, in the terms of OpenAI's chat completions, whoever answers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import orjson

from orchestrator.domain.budget import BYTES_PER_TOKEN, TOKENS_PER_MESSAGE, bytes_of, likely_tokens

LIMITS = ("max_tokens", "max_completion_tokens")
"""The options that say how many tokens an answer may have."""
TOKENS_PER_PICTURE = 16_384
"""More than any model makes of a picture, a sound or a file, which may stand there as an address."""
TOKENS_PER_OPTIONS = 1024
"""More than any model is told of its own about tools and forms of answers."""
BYTES_OF_EVENT = 512
"""More than usually stands around the words in an event of OpenAI's API."""

Message = Mapping[str, Any]
"""A message as OpenAI has it: `role` and `content` (a text, or parts of one), and what belongs to calls of tools."""


@dataclass(slots=True, kw_only=True)  # not frozen: each dispatch makes one, and that would take three times as long
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
    """Whether a stream's chunk that only tells the tokens is wanted, too."""

    @property
    def texts(self) -> Sequence[str]:
        """All of it that costs tokens, as text."""
        texts = [_text_of(message) for message in self.messages]
        if self.options:
            texts += [orjson.dumps(self.options[name]).decode() for name in _COSTLY if name in self.options]
        return texts

    def token_limit(self, max_tokens: int) -> int:
        """How many tokens an answer may have: what is asked for, and never more than the agent's `max_tokens`."""
        limits = [self.options.get(name) for name in LIMITS] if self.options else []
        return min([max_tokens, *(limit for limit in limits if type(limit) is int)])

    def most_tokens(self, max_tokens: int) -> int:
        """An upper bound of what answering it uses: no token is shorter than a byte, and each answer has its end."""
        most = bytes_of(self.texts) + TOKENS_PER_MESSAGE * len(self.messages) + self.token_limit(max_tokens)
        most += TOKENS_PER_PICTURE * sum(map(_pictures_in, self.messages))
        return (most + TOKENS_PER_OPTIONS if self.options else most) * self.choices

    @property
    def is_plain(self) -> bool:
        """Whether nothing but a text is wanted, as a dispatch does: an answer without one is of no use then."""
        return not self.options and not self.passes_through and self.choices == 1


@dataclass(slots=True)  # as above
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

    @property
    def said(self) -> Sequence[str]:
        """All that the choices say, calls of tools included."""
        if not self.choices:
            return [self.text]
        return [text for choice in self.choices for text in _said_in(choice["message"])]


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

    @property
    def said(self) -> Sequence[str]:
        """The text in it, and what there is of calls of tools."""
        return _said_in(self.delta)


Piece = Sequence[Delta] | bytes
"""What arrived together of a stream: its steps, or whole events as OpenAI's API sends them, to be passed through."""


def likely_tokens_of(piece: Piece) -> int:
    """An estimate of how many tokens a piece is: one for each step or event, or by bytes where that is more."""
    if isinstance(piece, bytes):
        events = piece.count(b"data:")
        return max(events, (len(piece) - events * BYTES_OF_EVENT) // BYTES_PER_TOKEN)
    return max(len(piece), likely_tokens([text for delta in piece for text in delta.said]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """Texts, or lists of tokens, whose embeddings are wanted."""

    inputs: Sequence[str | Sequence[int]]
    options: Mapping[str, Any] = field(default_factory=dict)
    """What else a request may say (`dimensions`, `user` …), but `model`, `input` and `encoding_format`."""

    @property
    def texts(self) -> Sequence[str]:
        """All of it as text; a token that is given as a number is one of its own."""
        return [text if isinstance(text, str) else "    " * len(text) for text in self.inputs]

    def most_tokens(self) -> int:
        """An upper bound of what it uses."""
        return bytes_of(self.texts) + TOKENS_PER_MESSAGE * len(self.inputs)


@dataclass(frozen=True, slots=True)
class Embeddings:
    """A vector for each of the inputs, in their order."""

    vectors: Sequence[Sequence[float]]
    prompt_tokens: int

    completion_tokens = 0
    """Nothing is said, so that nothing is used for saying it."""


_COSTLY = ("tools", "functions", "response_format")


def _text_of(message: Message) -> str:
    content = message.get("content")
    if isinstance(content, str) and "tool_calls" not in message:
        return content
    return orjson.dumps({name: value for name, value in message.items() if name != "role"}).decode()


def _said_in(message: Message) -> Sequence[str]:
    """The text of an answer's message, or of a part of one, and the names and arguments of its calls."""
    content = message.get("content")
    calls = [call.get("function") for call in message.get("tool_calls") or ()]
    told = [call.get(name) for call in (*calls, message.get("function_call")) if call for name in ("name", "arguments")]
    return [text for text in (content, *told) if isinstance(text, str)]


def _pictures_in(message: Message) -> int:
    content = message.get("content")
    return 0 if isinstance(content, str) or not content else sum(part.get("type") != "text" for part in content)


def text_of(content: object) -> str:
    """The texts in a message's content, whose other parts (images, audio …) say nothing here."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    texts = (part.get("text") for part in parts if isinstance(part, dict) and part.get("type") == "text")
    return "\n".join(text for text in texts if isinstance(text, str))
