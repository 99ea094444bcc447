"""Appends to the audit log: one call in flight per process, and those who wait join the next."""

import asyncio
from dataclasses import dataclass

from shared.bus import Bus, call_context
from shared.contracts.audit import Append, NewEntry, Receipt, append_contract
from shared.errors import InvalidFields, PlatformError, Unavailable

RECEIPT_WITHIN_S = 2.0
ATTEMPT_S = 0.8
RETRY_EVERY_S = 0.05
MAX_BATCH = 256
FRESH_S = 1.0


class AuditUnavailable(Unavailable):
    """The audit log gives no receipt, so what had to be recorded first was not done."""

    reason = "audit-unavailable"


@dataclass(slots=True, eq=False)
class _Waiting:
    entry: NewEntry | None
    receipt: asyncio.Future[Receipt | None]
    give_up: float


class Appender:
    """Sends entries and returns their receipts. A lost reply is no harm: an entry counts once per (id, phase)."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._contract = append_contract(bus.service)
        self._waiting: list[_Waiting] = []
        self._sender: asyncio.Task[None] | None = None
        self._answered = float("-inf")

    async def append(self, entry: NewEntry) -> Receipt:
        """The receipt of the committed entry; raises AuditUnavailable when there is none within 2 s."""
        receipt = await self._join(entry)
        if receipt is None:
            raise ValueError("an entry was answered without a receipt")
        return receipt

    async def be_reachable(self) -> None:
        """Returns when the log has answered within the last second; raises AuditUnavailable otherwise."""
        if asyncio.get_running_loop().time() - self._answered > FRESH_S:
            await self._join(None)

    async def _join(self, entry: NewEntry | None) -> Receipt | None:
        loop = asyncio.get_running_loop()
        waiting = _Waiting(entry, loop.create_future(), loop.time() + RECEIPT_WITHIN_S)
        self._waiting.append(waiting)
        if self._sender is None or self._sender.done():
            self._sender = asyncio.create_task(self._send_all())
        return await waiting.receipt

    async def _send_all(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting[:MAX_BATCH], self._waiting[MAX_BATCH:]
            try:
                await self._send(batch)
            except InvalidFields as error:  # our own mistake; telling it beats trying it for ever
                _fail(batch, error)
            except PlatformError:
                await self._again_later(batch)
            except BaseException as error:
                _fail(batch + self._waiting, error if isinstance(error, Exception) else AuditUnavailable("Stopping."))
                raise

    async def _send(self, batch: list[_Waiting]) -> None:
        batch[:] = [waiting for waiting in batch if not waiting.receipt.done()]  # its caller may have given up
        entries = [waiting.entry for waiting in batch if waiting.entry is not None]
        sent = asyncio.get_running_loop().time()
        reply = await self._bus.call(self._contract, Append(entries=entries), call_context(seconds=ATTEMPT_S))
        self._answered = sent
        receipts = iter(reply.receipts)
        for waiting in batch:
            receipt = next(receipts) if waiting.entry is not None else None
            if not waiting.receipt.done():
                waiting.receipt.set_result(receipt)

    async def _again_later(self, batch: list[_Waiting]) -> None:
        now = asyncio.get_running_loop().time()
        late = [waiting for waiting in batch if waiting.give_up <= now + RETRY_EVERY_S]
        _fail(late, AuditUnavailable("The audit log gives no receipt; nothing was done."))
        self._waiting[:0] = [waiting for waiting in batch if waiting not in late]
        await asyncio.sleep(RETRY_EVERY_S)


def _fail(batch: list[_Waiting], error: Exception) -> None:
    for waiting in batch:
        if not waiting.receipt.done():
            waiting.receipt.set_exception(error)
