"""A bus with services behind it that say what tests want."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from shared.bus import CallContext, Contract
from shared.bus.notes import hear_notes

Coming = bytes | BaseException | None


@dataclass
class FakeInlet:
    """Pieces as tests send them; after None, `answer` is the reply."""

    answer: bytes = b"{}"
    coming: asyncio.Queue[Coming] = field(default_factory=asyncio.Queue)
    notes: dict[str, str] = field(default_factory=dict)
    is_left: bool = False

    async def piece(self) -> bytes | None:
        piece = await self.coming.get()
        hear_notes(self.notes)
        if isinstance(piece, BaseException):
            raise piece
        return piece

    def sends(self, *pieces: Coming) -> None:
        for piece in pieces:
            self.coming.put_nowait(piece)


class FakeBus:
    """Answers each contract as `answers` say by its name, and keeps what was asked."""

    def __init__(self) -> None:
        self.answers: dict[str, bytes | BaseException] = {}
        self.inlet = FakeInlet()
        self.asked: list[tuple[str, bytes, CallContext]] = []
        self.heard: dict[str, Callable[[bytes], Awaitable[None]]] = {}

    async def forward(self, contract: Contract[Any, Any], body: bytes, context: CallContext) -> bytes:
        self.asked.append((contract.name, body, context))
        answer = self.answers[contract.name]
        if isinstance(answer, BaseException):
            raise answer
        return answer

    @asynccontextmanager
    async def stream(self, contract: Contract[Any, Any], body: bytes, context: CallContext) -> AsyncIterator[FakeInlet]:
        self.asked.append((contract.name, body, context))
        inlet = self.inlet
        try:
            yield inlet
        finally:
            inlet.is_left = True

    async def subscribe(self, subject: str, on_event: Callable[[bytes], Awaitable[None]]) -> None:
        self.heard[subject] = on_event
