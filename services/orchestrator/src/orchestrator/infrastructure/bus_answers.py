"""What bus agents answer, read in OpenAI's terms: completions, numbered chunks of them, and embeddings."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import orjson

from orchestrator.domain.chat import Completion, Delta, Embeddings
from orchestrator.infrastructure.dialects.dialect import count, joined_texts, require_said, text
from shared.bus import Said
from shared.contracts.bus_agents import END, SEQUENCE
from shared.contracts.openai import MAX_CHOICES


class NotUnderstood(Exception):
    """An answer that makes no sense. The argument says in words what is wrong, without any of it."""


def completion_of(body: bytes) -> Completion:
    """A whole completion; raises NotUnderstood, or UpstreamRefusal for one that was cut off before it said anything."""
    with _understood("its answer is not that of a model"):
        answer = orjson.loads(body)
        choices = [_choice(index, choice) for index, choice in enumerate(answer["choices"][:MAX_CHOICES])]
        said = _text_in(choices[0]["message"])
        prompt_tokens, completion_tokens = _used(answer)
    was_cut_off = choices[0]["finish_reason"] == "length" and not choices[0]["message"].get("tool_calls")
    return Completion(require_said(said, was_cut_off=was_cut_off), prompt_tokens, completion_tokens, choices)


def deltas_of(completion: Completion) -> list[Delta]:
    """The same as one step of each choice."""
    return [_step(choice) for choice in completion.choices]


def embeddings_of(body: bytes, *, inputs: int) -> Embeddings:
    """A vector for each of so many inputs; raises NotUnderstood."""
    with _understood("its answer is not one of embeddings"):
        answer = orjson.loads(body)
        rows = sorted(answer["data"], key=lambda row: row["index"])
        if [row["index"] for row in rows] != list(range(inputs)):
            raise ValueError("not one for each input")
        return Embeddings([[float(number) for number in row["embedding"]] for row in rows], _used(answer)[0])


class StreamedAnswer:
    """A streamed answer so far: messages are numbered from 1, and the last one says that it is."""

    def __init__(self) -> None:
        self.has_ended = False
        self._number = 0
        self._texts: list[str] = []
        self._used = (0, 0)

    @property
    def has_begun(self) -> bool:
        """Whether anything has come."""
        return self._number > 0

    @property
    def completion(self) -> Completion:
        """All of it."""
        return Completion("".join(self._texts), *self._used)

    def add(self, said: Sequence[Said]) -> list[Delta]:
        """The steps that these messages are, up to the end; raises NotUnderstood."""
        deltas: list[Delta] = []
        for one in said:
            if self.has_ended:
                break
            self._number += 1
            if one.headers.get(SEQUENCE) != str(self._number):
                raise NotUnderstood("a message of its stream is missing, or has no number")
            self.has_ended = END in one.headers
            if one.body or not self.has_ended:
                deltas += self._steps(one.body)
        return deltas

    def _steps(self, body: bytes) -> list[Delta]:
        with _understood("its stream is not that of a model"):
            chunk = orjson.loads(body)
            deltas = [_delta(choice) for choice in chunk["choices"]]
            if chunk.get("usage"):
                self._used = _used(chunk)
        self._texts += [delta.content for delta in deltas if delta.choice == 0]
        return deltas


@contextmanager
def _understood(words: str) -> Iterator[None]:
    try:
        yield
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise NotUnderstood(words) from error


def _choice(index: int, given: Mapping[str, Any]) -> dict[str, Any]:
    message = {"role": "assistant", "content": None, **given["message"]}
    _text_in(message)
    reason = given.get("finish_reason") or ("tool_calls" if message.get("tool_calls") else "stop")
    return {"index": index, "message": message, "finish_reason": text(reason)}


def _text_in(message: Mapping[str, Any]) -> str:
    content = message["content"]
    if content is None:
        return ""
    return joined_texts(content) if isinstance(content, list) else text(content)


def _step(choice: Mapping[str, Any]) -> Delta:
    """Calls of tools have their place in chunks, which they lack in messages."""
    message = choice["message"]
    calls = message.get("tool_calls")
    numbered = {"tool_calls": [{"index": place, **call} for place, call in enumerate(calls)]} if calls else {}
    return Delta(choice["index"], {**message, "content": _text_in(message), **numbered}, choice["finish_reason"])


def _delta(choice: Mapping[str, Any]) -> Delta:
    index, delta, reason = choice.get("index", 0), choice["delta"], choice.get("finish_reason")
    if type(index) is not int or not 0 <= index < MAX_CHOICES or not isinstance(delta, dict):
        raise ValueError("not a choice")
    return Delta(index, delta, reason if reason is None else text(reason))


def _used(answer: Mapping[str, Any]) -> tuple[int, int]:
    usage = answer.get("usage") or {}
    return count(usage.get("prompt_tokens")), count(usage.get("completion_tokens"))
