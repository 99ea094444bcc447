"""The echo, which answers with the last message."""

import hashlib
import re
import struct
from math import sqrt
from typing import Any

from orchestrator.application.upstreams import Take
from orchestrator.domain.agent import Agent
from orchestrator.domain.chat import LIMITS, Chat, Completion, Delta, Embeddings, Inputs, text_of
from orchestrator.infrastructure.dialects.embeddings import texts
from orchestrator.infrastructure.dialects.options import NOT_OPENAIS, cannot, stops
from orchestrator.infrastructure.dialects.parts import NOT_UNDERSTOOD
from orchestrator.infrastructure.side_by_side import completed, streamed

CALL_ID = "call_000000000000000000000000"

_WORD = re.compile(r"\S+")
_PIECE = re.compile(r"\s*\S+|\s+")


class Echo:
    """The built-in agent, which answers with the last message: for a first try, and for tests of everything else.

    It calls a tool when it has to, without arguments. A token is a word.
    """

    async def complete(self, agent: Agent, chat: Chat, *, within_s: float) -> Completion:
        """The last message."""
        return await completed(chat, _answer)

    async def stream(self, agent: Agent, chat: Chat, take: Take, *, within_s: float, silence_s: float) -> Completion:
        """The last message word by word."""
        return await streamed(chat, take, _streamed)

    async def embed(self, agent: Agent, inputs: Inputs, *, within_s: float) -> Embeddings:
        """Vectors of eight numbers that have nothing in common but where texts are equal."""
        told = texts(inputs, "echo")
        return Embeddings([_vector(text) for text in told], sum(_words(text) for text in told))

    async def probe(self, agent: Agent, *, within_s: float) -> str:
        """It is always there."""
        return "Built in; always there."


async def _answer(chat: Chat) -> Completion:
    try:
        return _echoed(chat)
    except NOT_UNDERSTOOD as error:
        raise cannot(NOT_OPENAIS) from error


def _echoed(chat: Chat) -> Completion:
    prompt = sum(_words(text_of(message.get("content"))) for message in chat.messages)
    call = _call(chat)
    if call is not None:
        message = {"role": "assistant", "content": None, "tool_calls": [call]}
        return Completion("", prompt, 1, [{"index": 0, "message": message, "finish_reason": "tool_calls"}])
    text, reason = _text(chat)
    message = {"role": "assistant", "content": text}
    return Completion(text, prompt, _words(text), [{"index": 0, "message": message, "finish_reason": reason}])


async def _streamed(chat: Chat, take: Take) -> Completion:
    answer = await _answer(chat)
    choice = answer.choices[0]
    await take([Delta(0, {"role": "assistant", "content": ""})])
    for call in choice["message"].get("tool_calls", ()):
        await take([Delta(0, {"tool_calls": [{"index": 0, **call}]})])
    for piece in _PIECE.findall(answer.text):
        await take([Delta(0, {"content": piece})])
    await take([Delta(0, {}, choice["finish_reason"])])
    return Completion(answer.text, answer.prompt_tokens, answer.completion_tokens)


def _text(chat: Chat) -> tuple[str, str]:
    """What is said, and why it ends there."""
    text = text_of(chat.messages[-1].get("content"))
    stop = chat.options.get("stop")
    for end in stops(stop) if stop is not None else ():
        text = text.partition(end)[0]
    words = list(_WORD.finditer(text))
    limit = min((chat.options[name] for name in LIMITS if type(chat.options.get(name)) is int), default=len(words))
    return (text[: words[limit - 1].end()], "length") if limit < len(words) else (text, "stop")


def _call(chat: Chat) -> dict[str, Any] | None:
    """The call of a tool that the caller insists on."""
    choice = chat.options.get("tool_choice")
    if choice in (None, "none", "auto"):
        return None
    named = choice["function"]["name"] if isinstance(choice, dict) else None
    for tool in chat.options.get("tools") or ():
        name = tool["function"]["name"]
        if named in (None, name):
            return {"id": CALL_ID, "type": "function", "function": {"name": name, "arguments": "{}"}}
    raise cannot("there is no such tool to be called; give it in tools")


def _words(text: str) -> int:
    return len(text.split())


def _vector(text: str) -> list[float]:
    numbers = [number - 2**31 for number in struct.unpack(">8I", hashlib.sha256(text.encode()).digest())]
    length = sqrt(sum(number * number for number in numbers))
    return [number / length for number in numbers]
