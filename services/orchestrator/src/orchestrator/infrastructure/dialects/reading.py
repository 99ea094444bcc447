"""Reading: a streamed answer as it arrives, piece by piece."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from orchestrator.application.upstreams import UpstreamFailure
from orchestrator.domain.chat import Completion, Delta, Piece
from orchestrator.infrastructure.dialects.frames import Frames
from orchestrator.infrastructure.dialects.parts import require_said

MAX_TEXT = 4 * 1024 * 1024
"""Bytes that a streamed answer may say, arguments of calls included: a dispatch tells all of them once more at its end,
in one message of the bus."""
MAX_STREAM_BYTES = 64 * 1024 * 1024
"""A streamed answer of 200,000 tokens has about 50 MB, most of it the frames around them."""
NO_MODELS_ANSWER = "its answer is not that of a model"
NOT_OVER = "its answer ended before it was complete"


class Reading(Protocol):
    """Reads one streamed answer. All raise UpstreamFailure, or what is raised for an answer that makes no sense."""

    @property
    def is_over(self) -> bool:
        """Whether the answer is complete, whatever may follow."""
        ...

    def feed(self, piece: bytes) -> Piece | None:
        """What has arrived with these bytes, which may be nothing new to hand on; None when no frame is whole yet."""
        ...

    def rest(self) -> Piece | None:
        """The same at the end of the bytes."""
        ...

    def completion(self) -> Completion:
        """What was answered; raises UpstreamFailure unless it is complete."""
        ...


class Meaning(Protocol):
    """What the frames of one dialect mean."""

    is_over: bool

    def steps(self, data: bytes) -> Sequence[Delta]:
        """The steps that a frame stands for."""
        ...

    def usage(self) -> tuple[int, int]:
        """The tokens of the prompt and of the answer; raises UpstreamFailure unless that is complete."""
        ...


class Steps:
    """Reads a stream as steps of an answer."""

    def __init__(self, frames: Frames, meaning: Meaning, *, is_plain: bool) -> None:
        self._frames = frames
        self._meaning = meaning
        self._is_plain = is_plain
        self._text = bytearray()  # a token as a text of its own takes ten times as much, also in a StringIO
        self._size = 0
        self._was_cut_off = False

    @property
    def is_over(self) -> bool:
        """Whether the answer is complete."""
        return self._meaning.is_over

    def feed(self, piece: bytes) -> Piece | None:
        """The steps that have arrived."""
        frames = self._frames.feed(piece)
        return self._taken([data for _, data in frames]) if frames else None

    def rest(self) -> Piece | None:
        """The last steps."""
        return self._taken([data for _, data in self._frames.rest()])

    def completion(self) -> Completion:
        """The text of the first choice, and the tokens; raises UpstreamRefusal as `Dialect.completion` does."""
        tokens = self._meaning.usage()
        said = self._text.decode()
        return Completion(require_said(said, was_cut_off=self._was_cut_off and self._is_plain), *tokens)

    def _taken(self, datas: Sequence[bytes | None]) -> Sequence[Delta]:
        steps: list[Delta] = []
        for data in datas:
            if data is not None and not self._meaning.is_over:
                steps += self._meaning.steps(data)
        for step in steps:
            self._note(step)
        return steps

    def _note(self, step: Delta) -> None:
        content = step.content.encode()
        self._size += len(content) + sum(map(_arguments_size, step.delta.get("tool_calls") or ()))
        if self._size > MAX_TEXT:
            raise UpstreamFailure(f"its answer is longer than {MAX_TEXT // 1024 // 1024} MiB")
        if step.choice == 0:
            self._was_cut_off |= step.finish_reason == "length"
            self._text += content


def steps_of(completion: Completion) -> list[Delta]:
    """An answer that came as a whole, as steps."""
    if not completion.choices:  # as of a chat for whose choices nobody asks
        return [Delta(0, {"role": "assistant", "content": completion.text}, "stop")]
    return [Delta(choice["index"], _step(choice["message"]), choice["finish_reason"]) for choice in completion.choices]


def _step(message: Mapping[str, Any]) -> Mapping[str, Any]:
    if "tool_calls" not in message:
        return message
    return {**message, "tool_calls": [{"index": index, **call} for index, call in enumerate(message["tool_calls"])]}


def _arguments_size(call: Any) -> int:
    return len(((call.get("function") or {}).get("arguments") or "").encode())
