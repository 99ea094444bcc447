"""Streamed answers of bus agents: numbered messages, each with a chunk as OpenAI's API has them."""

from collections.abc import Sequence

from orchestrator.application.upstreams import UpstreamFailure
from orchestrator.domain.chat import Chat, Completion, Delta
from orchestrator.infrastructure.dialects.frames import MAX_FRAME_BYTES, Frame
from orchestrator.infrastructure.dialects.openai_stream import Chunks
from orchestrator.infrastructure.dialects.reading import Steps
from shared.bus import Said
from shared.contracts.bus_agents import END, SEQUENCE


class StreamedAnswer:
    """A streamed answer so far: messages are numbered from 1, and the last one says that it is."""

    def __init__(self, chat: Chat) -> None:
        self._chunks = Chunks()
        self._steps = Steps(_Messages(), self._chunks, is_plain=chat.is_plain)
        self._number = 0

    @property
    def has_begun(self) -> bool:
        """Whether anything has come."""
        return self._number > 0

    @property
    def has_ended(self) -> bool:
        """Whether all of it has come."""
        return self._chunks.is_over

    def completion(self) -> Completion:
        """What was answered; raises UpstreamFailure for nothing at all."""
        return self._steps.completion()

    def add(self, said: Sequence[Said]) -> list[Delta]:
        """The steps that these messages are, up to the end; raises UpstreamFailure, or as a dialect does."""
        steps: list[Delta] = []
        for one in said:
            if self.has_ended:
                break
            self._number += 1
            if one.headers.get(SEQUENCE) != str(self._number):
                raise UpstreamFailure("a message of its stream is missing, or has no number")
            is_last = END in one.headers
            if one.body or not is_last:
                steps += self._read(one.body)
            self._chunks.is_over = is_last
        return steps

    def _read(self, body: bytes) -> Sequence[Delta]:
        if len(body) > MAX_FRAME_BYTES:
            raise UpstreamFailure(f"a message of its stream is larger than {MAX_FRAME_BYTES >> 20} MiB")
        steps = self._steps.feed(body)
        assert not isinstance(steps, bytes)
        return steps or ()


class _Messages:
    """Each message is a frame."""

    def feed(self, piece: bytes) -> list[Frame]:
        """The message itself."""
        return [(piece, piece)]

    def rest(self) -> list[Frame]:
        """Messages come whole."""
        return []
