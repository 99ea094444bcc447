"""Streamed answers as event streams (WHATWG server-sent events): tokens for a dispatch, OpenAI's chunks for a chat."""

from collections.abc import Mapping
from typing import Any, Protocol

import orjson

from orchestrator.domain.agent import Agent
from orchestrator.domain.chat import Completion, Piece
from shared.errors import FieldError, InvalidFields

DONE = b"data: [DONE]\n\n"


class StreamNotPlain(InvalidFields):
    """A stream is asked for in an odd spelling, which the edge has taken for a request without one."""

    def __init__(self) -> None:
        message = 'write the field as "stream": true, without escapes'
        super().__init__("This asks for a stream in an odd way.", errors=(FieldError("stream", message),))


class Outlet(Protocol):
    """Where pieces of an answer are written to."""

    async def write(self, piece: bytes) -> None:
        """Sends it; waits while whoever reads is too far behind."""
        ...


class TokenEvents:
    """A dispatch's stream: each step of the answer's text as an event `token`, at the end `done`."""

    def __init__(self, outlet: Outlet) -> None:
        self._outlet = outlet

    async def take(self, _agent: Agent, piece: Piece) -> bytes:
        """Sends the texts on; returns them."""
        assert not isinstance(piece, bytes)  # a dispatch passes nothing through
        texts = [delta.content for delta in piece if delta.content]
        if texts:
            await self._outlet.write(
                b"".join([b"event: token\ndata: %b\n\n" % _json({"text": text}) for text in texts])
            )
        return "".join(texts).encode()

    async def end(self, dispatched: bytes) -> None:
        """Sends the whole answer, which needs no second line."""
        await self._outlet.write(b"event: done\ndata: %b\n\n" % dispatched)


class ChunkEvents:
    """A chat's stream, in OpenAI's chunks. What an agent sends in that form already is passed through."""

    def __init__(self, outlet: Outlet, *, id: str, created: int, wants_usage: bool) -> None:
        self._outlet = outlet
        self._fixed = {"id": id, "object": "chat.completion.chunk", "created": created}
        self._wants_usage = wants_usage
        self._has_passed_through = False

    async def take(self, agent: Agent, piece: Piece) -> bytes:
        """Sends the chunks on; returns them."""
        if isinstance(piece, bytes):
            self._has_passed_through = True
            chunks = piece
        else:
            chunks = b"".join(
                [
                    self._chunk(
                        agent,
                        choices=[
                            {"index": delta.choice, "delta": delta.delta, "finish_reason": delta.finish_reason},
                        ],
                    )
                    for delta in piece
                ]
            )
        await self._outlet.write(chunks)
        return chunks

    async def end(self, agent: Agent, completion: Completion) -> None:
        """Sends the end, and before it the tokens where they are wanted and were not passed through."""
        usage = b""
        if self._wants_usage and not self._has_passed_through:
            usage = self._chunk(agent, choices=[], usage=usage_of(completion))
        await self._outlet.write(usage + DONE)

    def _chunk(self, agent: Agent, **fields: Any) -> bytes:
        return b"data: %b\n\n" % _json({**self._fixed, "model": agent.model, **fields})


def usage_of(completion: Completion) -> Mapping[str, int]:
    """The tokens as OpenAI tells them."""
    prompt, said = completion.prompt_tokens, completion.completion_tokens
    return {"prompt_tokens": prompt, "completion_tokens": said, "total_tokens": prompt + said}


def _json(value: object) -> bytes:
    return orjson.dumps(value)  # writes no line end, which would end the event's line
