"""Witnessing: what the log says of itself is told to somebody outside it, who remembers what this one may forget."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Protocol

from audit.application.ports import LogDamaged, StoredCheckpoint
from shared.background import beside
from shared.errors import PlatformError, Unavailable
from shared.tlog.checkpoints import Checkpoint, parse_checkpoint
from shared.tlog.notes import CosignatureVerifier, KeyRefused, NoteRefused, open_note

ROUND_S = 2.0
"""A log that was rolled back is found out within 5 s of its start, also when the first round fails."""

_log = logging.getLogger(__name__)


class WitnessSilent(Unavailable):
    """Nobody answers; whoever asks how the platform is hears it from there."""

    reason = "witness-silent"


class WitnessSawAnother(Exception):
    """Somebody else, another replica, had a later checkpoint cosigned in the meantime."""


class WitnessContradicts(Exception):
    """The checkpoint does not extend what the witness has seen."""


class WitnessRefuses(Exception):
    """The witness does not take this log for the one that it watches, or says what nobody can follow."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What the witness saw last: a note that it has cosigned, None when it has seen nothing. `key` is its own vkey."""

    note: str | None
    key: str


class Witness(Protocol):
    """Somebody who cosigns what extends the last checkpoint that they saw. Everything raises WitnessSilent."""

    async def last(self) -> Seen:
        """What it saw last."""

    async def add(
        self, note: str, *, old_size: int, proof: Sequence[bytes], log_key: str, key_changes: Sequence[str]
    ) -> str:
        """Its cosignature line. Raises WitnessSawAnother, WitnessContradicts or WitnessRefuses."""


class Checkpoints(Protocol):
    """The log's checkpoints and the tree that they are of. Everything raises PlatformError or LogDamaged."""

    async def entries(self) -> int:
        """How many entries are stored, whether in the tree or not yet."""

    async def newest(self) -> StoredCheckpoint | None:
        """The newest checkpoint that this process knows, cosignatures included; None before it has any."""

    async def consistency(self, old: int, new: int) -> Sequence[bytes]:
        """The proof that the tree of `new` entries extends the one of `old`."""

    async def add_cosignature(self, size: int, line: str) -> None:
        """Appends the signature line to the stored checkpoint of that size."""

    async def keys(self) -> tuple[str, Sequence[str]]:
        """The log's vkey, and the notes by which its key was handed on, in order."""


class Witnessing:
    """Compares the log with what the witness saw, and has each new checkpoint cosigned.

    `contradicted` is called with the first index that is not what the witness saw, or is gone.
    """

    def __init__(
        self, witness: Witness, checkpoints: Checkpoints, *, origin: str, contradicted: Callable[[int], None]
    ) -> None:
        self._witness = witness
        self._checkpoints = checkpoints
        self._origin = origin
        self._contradicted = contradicted
        self._news = asyncio.Event()
        self._is_contradicted = False
        self.complaint = ""
        """What keeps an answering witness from cosigning, in words for people; empty when nothing does."""

    def checkpoint_made(self) -> None:
        """There is a new checkpoint; it is told at once."""
        self._news.set()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Compares while the block runs: now, after each new checkpoint, and every two seconds."""
        async with beside(self._repeat):
            yield

    async def _repeat(self) -> None:
        while True:
            self._news.clear()
            try:
                await self.compare()
            except Exception:
                _log.exception("witnessing_failed")
            with suppress(TimeoutError):
                async with asyncio.timeout(ROUND_S):  # wait_for can swallow a cancellation (Python 3.11)
                    await self._news.wait()

    async def compare(self) -> None:
        """One round. A witness that does not answer, or a log that cannot be read, is tried again in the next."""
        try:
            await self._compare()
        except (PlatformError, LogDamaged, WitnessSawAnother):
            return
        except (WitnessRefuses, NoteRefused, KeyRefused) as error:
            complaint = f"The witness does not cosign: {error}"
            if complaint != self.complaint:
                _log.error("witness_refuses", extra={"cause": str(error)})
            self.complaint = complaint
            return
        self.complaint = ""

    async def _compare(self) -> None:
        seen = await self._witness.last()  # before the log is read: another replica may go on meanwhile, never back
        witness = CosignatureVerifier.parse(seen.key)
        last = self._checkpoint_of(open_note(seen.note, [witness])) if seen.note else None
        last_size = last.size if last else 0
        entries = await self._checkpoints.entries()
        if last_size > entries:
            self._contradict(entries, f"It saw {last_size} entries.")
            return
        newest = await self._checkpoints.newest()
        if newest is None or newest.size < last_size:
            return  # another replica was faster; once this one has caught up it compares again
        if not _is_signed(newest.note, witness):
            await self._have_cosigned(newest, last_size, witness)
        elif last and last_size == newest.size and not newest.note.startswith(last.text):
            self._contradict(0, f"It saw another tree of {last_size} entries.")

    async def _have_cosigned(self, newest: StoredCheckpoint, last_size: int, witness: CosignatureVerifier) -> None:
        log_key, key_changes = await self._checkpoints.keys()
        proof = await self._checkpoints.consistency(last_size, newest.size)
        try:
            line = await self._witness.add(
                newest.note, old_size=last_size, proof=proof, log_key=log_key, key_changes=key_changes
            )
        except WitnessContradicts as error:
            self._contradict(0, str(error))  # one of the witnessed entries is not what it was, and nobody knows which
            return
        open_note(newest.note + line, [witness])  # what is stored must stay a note
        await self._checkpoints.add_cosignature(newest.size, line)

    def _contradict(self, first_bad: int, cause: str) -> None:
        if not self._is_contradicted:
            _log.error("log_contradicts_witness", extra={"firstBadIndex": first_bad, "cause": cause})
        self._is_contradicted = True
        self._contradicted(first_bad)

    def _checkpoint_of(self, text: str) -> Checkpoint:
        checkpoint = parse_checkpoint(text)
        if checkpoint.origin != self._origin:
            raise WitnessRefuses(f"it watches {checkpoint.origin}.")
        return checkpoint


def _is_signed(note: str, witness: CosignatureVerifier) -> bool:
    try:
        open_note(note, [witness])
    except NoteRefused:
        return False
    return True
