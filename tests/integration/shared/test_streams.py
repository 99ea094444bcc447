"""Streams over a real bus: pieces before the answer, in order, never too many of them, and an end that says so."""

import asyncio

from shared.bus import CallContext, Inlet, Outlet
from tests.integration.bus import Nats, bus_as
from tests.integration.shared.calls import STREAM, within


async def pieces_of(inlet: Inlet) -> list[bytes]:
    pieces = []
    while (piece := await inlet.piece()) is not None:
        pieces.append(piece)
    return pieces


async def test_pieces_come_in_their_order_and_then_the_answer(nats: Nats) -> None:
    async def count(body: bytes, _context: CallContext, outlet: Outlet) -> bytes:
        for n in range(100):
            await outlet.write(b"%d," % n)
            await asyncio.sleep(0)
        return body

    async with bus_as(nats, "edge") as edge, bus_as(nats, "orchestrator") as orchestrator:
        await orchestrator.serve(STREAM.streamed_by(count))
        async with edge.stream(STREAM, b"asked", within(5)) as inlet:
            pieces = await pieces_of(inlet)

    assert b"".join(pieces) == b"".join(b"%d," % n for n in range(100))
    assert inlet.answer == b"asked"
