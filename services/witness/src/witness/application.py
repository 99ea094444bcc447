"""Witnessing: one request at a time, and remembered before it is answered."""

import asyncio
import logging
from collections.abc import Callable
from typing import Protocol

from shared.errors import PlatformError, Unavailable
from shared.tlog.notes import Cosigner, Verifier
from witness.domain import Addition, Inconsistent, Memory, NotOfThisLog, extended

_log = logging.getLogger(__name__)


class DirectoryUnusable(PlatformError):
    """The witness cannot rely on what it remembers: whatever it said now could contradict what it has said."""

    reason = "witness-unusable"


class MemoryNotWritten(Unavailable):
    """What would have to be remembered was not; nothing was cosigned."""

    reason = "witness-unavailable"


class MemoryStore(Protocol):
    """Where the witness's memory lasts."""

    async def save(self, memory: Memory) -> None:
        """Returns once it would survive a power failure. Raises MemoryNotWritten; the memory before may stay."""


class Witnessing:
    """Cosigns the checkpoints of one log. `log` is its key when it was set; otherwise the first one seen is trusted."""

    def __init__(
        self,
        store: MemoryStore,
        memory: Memory | None,
        signer: Cosigner,
        *,
        origin: str,
        log: Verifier | None,
        now: Callable[[], int],
    ) -> None:
        self._store = store
        self._memory = memory
        self._signer = signer
        self._origin = origin
        self._log = log
        self._now = now
        self._turn = asyncio.Lock()
        self.complaint = ""
        """What is wrong, in words for people; empty when nothing is."""

    @property
    def last(self) -> str | None:
        """The last checkpoint that was cosigned, as a note; None when there is none."""
        return self._memory.note if self._memory else None

    @property
    def key(self) -> Verifier:
        """The witness's own public key."""
        return self._signer.verifier

    async def add(self, addition: Addition) -> str:
        """The cosignature line for a checkpoint that extends the last one.

        Raises NotOfThisLog, StaleSize, Inconsistent or MemoryNotWritten.
        """
        async with self._turn:
            try:
                if addition.log.name != self._origin:
                    raise NotOfThisLog(f"This is the witness of {self._origin}.")
                log = self._log or addition.log
                memory = extended(self._memory, addition, log=log, witness=self._signer, now=self._now())
            except (Inconsistent, NotOfThisLog) as error:
                _log.error("checkpoint_refused", extra={"reason": error.reason, "checkpoint": addition.note})
                raise
            await self._remember(memory)
        return memory.cosignature

    async def _remember(self, memory: Memory) -> None:
        try:
            await self._store.save(memory)
        except MemoryNotWritten as error:
            self.complaint = error.detail
            raise
        self.complaint = ""
        self._memory = memory
