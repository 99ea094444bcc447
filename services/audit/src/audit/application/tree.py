"""The tree of the log: the newest checkpoint that this process trusts, and what can be proved with it."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TypeVar

from audit.application import growing, proving
from audit.application.growing import Grown
from audit.application.knowledge import Knowledge
from audit.application.ports import (
    KeyRing,
    LogDamaged,
    LogReader,
    LogUnavailable,
    StoredCheckpoint,
    TreeStore,
    Workshop,
)
from audit.application.proving import Inclusion
from shared.clock import unix_ms
from shared.errors import ErrorCode, PlatformError
from shared.tlog.checkpoints import Checkpoint, open_checkpoint
from shared.tlog.key_changes import successor
from shared.tlog.merkle import Frontier, ProofRefused, verify_consistency
from shared.tlog.notes import NoteRefused, Verifier, note_of

T = TypeVar("T")

_log = logging.getLogger(__name__)


class NotCovered(PlatformError):
    """No checkpoint covers that yet."""

    code = ErrorCode.NOT_FOUND
    reason = "not-covered-yet"


class TreeBroken(LogUnavailable):
    """The log is not what was signed; nothing is signed or proved until it is again."""

    reason = "audit-tree-broken"


class OtherOrigin(PlatformError):
    """What is stored was signed under another name."""

    reason = "audit-origin"


def require_origin(reader: LogReader, origin: str) -> None:
    """Raises OtherOrigin where the newest checkpoint is not one of a log with this name."""
    with reader.snapshot() as snapshot:
        try:
            newest = snapshot.newest_checkpoint()
        except LogDamaged:  # no reason to record nothing; the service says it
            return
    stored = newest.note.partition("\n")[0] if newest else origin
    if stored != origin:
        raise OtherOrigin(f"This log has signed as {stored!r}, not as {origin!r}: AUDIT_ORIGIN never changes.")


class Tree:
    """Kept on the event loop. It grows by what is proved to extend it, and by nothing else; replicas take turns.

    `told` is called after each new checkpoint.
    """

    def __init__(
        self,
        reader: LogReader,
        store: TreeStore,
        keys: KeyRing,
        workshop: Workshop,
        knowledge: Knowledge,
        *,
        origin: str,
    ) -> None:
        self._reader = reader
        self._store = store
        self._keys = keys
        self._workshop = workshop
        self._knowledge = knowledge
        self._origin = origin
        self._turn = asyncio.Lock()
        self._is_recalled = False
        self._verifier: Verifier | None = None
        """The key that signed the newest checkpoint, or that it was handed over to since."""
        self.grown = Grown()
        self.checkpoint: StoredCheckpoint | None = None
        """The newest one that this process has signed or verified."""
        self.complaint = ""
        """Why nothing is signed, in words for people; empty while all is well."""
        self.told: Callable[[], None] = lambda: None

    async def grow(self) -> bool:
        """Takes in what was appended, and signs it; True when there may be more. Raises LogUnavailable."""
        async with self._turn:
            try:
                return await self._grow()
            except LogDamaged as error:
                broken = self._broken(0)
                self._complain(broken.detail)
                raise broken from error
            except PlatformError as error:
                self._complain(error.detail)
                raise

    async def covering(self) -> StoredCheckpoint | None:
        """A checkpoint of all that is known to be committed; None for an empty log. Raises LogUnavailable."""
        size = self._knowledge.seen.index + 1
        while self.checkpoint is None or self.checkpoint.size < size:
            if not await self.grow() and (self.checkpoint is None or self.checkpoint.size < size):
                break
        return self.checkpoint

    async def newest(self) -> StoredCheckpoint | None:
        """The newest checkpoint that is trusted, with its cosignatures so far; None before the first."""
        return await self._cosigned(self.checkpoint) if self.checkpoint else None

    async def entries(self) -> int:
        """How many entries are stored, whether in the tree or not yet."""
        return await self._workshop.do(partial(_entries, self._reader))

    async def inclusion(self, index: int) -> Inclusion:
        """That an entry is in the tree of the newest checkpoint; raises NotCovered, TreeBroken or LogUnavailable."""
        edge, checkpoint = self.grown.edge, self.checkpoint
        if index >= edge.size or checkpoint is None:
            raise NotCovered("No checkpoint covers this entry, yet.")
        inclusion = await self._proved(partial(proving.prove_inclusion, self._reader, edge, index), index)
        return replace(inclusion, checkpoint=(await self._cosigned(checkpoint)).note)

    async def consistency(self, old: int, new: int) -> Sequence[bytes]:
        """That the tree of `new` entries extends that of `old`; raises NotCovered, TreeBroken or LogUnavailable."""
        if new > self.grown.edge.size:
            raise NotCovered("No checkpoint covers so many entries, yet.")
        edge = self.grown.edge
        return await self._proved(partial(proving.prove_consistency, self._reader, edge, old, new), 0)

    async def frontier(self, size: int) -> Frontier:
        """That of the first `size` entries; raises NotCovered, TreeBroken or LogUnavailable."""
        if size > self.grown.edge.size:
            raise NotCovered("No checkpoint covers so many entries, yet.")
        return await self._proved(partial(proving.frontier, self._reader, self.grown.edge, size), 0)

    async def keys(self) -> tuple[str, Sequence[str]]:
        """The vkey that signs now, and the notes by which the key was handed on, in order."""
        key = self._verifier or self._keys.current().verifier
        return key.text, await self._workshop.do(partial(_key_changes, self._reader))

    async def add_cosignature(self, size: int, line: str) -> None:
        """Appends a witness's signature line to the stored checkpoint of that size."""
        await self._store.add_cosignature(size, line)

    async def _cosigned(self, known: StoredCheckpoint) -> StoredCheckpoint:
        """The same as it is stored by now, if that begins with it."""
        stored = await self._workshop.do(partial(_stored, self._reader, known.size))
        return stored if stored and stored.note.startswith(known.note) else known

    async def _grow(self) -> bool:
        if self._knowledge.first_bad is not None:
            raise TreeBroken("The audit log is not what was written; nothing is signed.")
        if not self._is_recalled:
            await self._recall()
        growth = await self._workshop.do(partial(growing.grow, self._reader, self.grown, self._knowledge.seen))
        if growth.first_bad is not None:
            raise self._broken(growth.first_bad)
        self._complain("")
        old_size = self.grown.edge.size
        if growth.grown.edge.size == old_size:
            return False
        verifier = self._verifier or self._first_key()
        for note in growth.key_changes:
            try:
                verifier = successor(note, verifier)
            except NoteRefused:  # not by the key that signed until then: anybody could have written that
                _log.warning("key_change_ignored")
        checkpoint = self._signed(growth.grown, verifier)
        if not await self._store.extend(old_size, growth.tiles, checkpoint):
            await self._follow()  # another replica was faster
            return True
        self._trust(growth.grown, checkpoint, verifier)
        return growth.grown.edge.size - old_size == growing.AT_ONCE

    def _signed(self, grown: Grown, verifier: Verifier) -> StoredCheckpoint:
        signer = self._keys.current()
        if signer.verifier != verifier:
            signer = self._keys.promote(verifier)
        text = Checkpoint(self._origin, grown.edge.size, grown.edge.root).text
        return StoredCheckpoint(grown.edge.size, note_of(text, signer.sign(text)), unix_ms())

    def _trust(self, grown: Grown, checkpoint: StoredCheckpoint, verifier: Verifier) -> None:
        self.grown, self.checkpoint, self._verifier = grown, checkpoint, verifier
        self._is_recalled = True
        self._knowledge.checkpoint_made(Checkpoint(self._origin, grown.edge.size, grown.edge.root))
        self.told()

    async def _recall(self) -> None:
        """What was signed before this process began, if the log is still that. Raises TreeBroken."""
        recalled = await self._workshop.do(partial(growing.recall, self._reader))
        if recalled.checkpoint is None:
            self._is_recalled = True
            return
        if recalled.first_bad is not None:
            raise self._broken(recalled.first_bad)
        verifier = self._signed_by(recalled.checkpoint.note, recalled.grown)
        if verifier is None:
            size = recalled.checkpoint.size
            raise self._broken(await self._workshop.do(partial(growing.find_difference, self._reader, size)))
        self._trust(recalled.grown, recalled.checkpoint, verifier)

    async def _follow(self) -> None:
        """Takes over what another replica has signed, if it extends what this one knows. Raises TreeBroken."""
        before = self.grown.edge
        recalled = await self._workshop.do(partial(growing.recall, self._reader))
        after = recalled.grown.edge
        if recalled.first_bad is not None:
            raise self._broken(recalled.first_bad)
        verifier = self._signed_by(recalled.checkpoint.note, recalled.grown) if recalled.checkpoint else None
        if recalled.checkpoint is None or verifier is None or after.size < before.size:
            raise self._broken(after.size if after.size < before.size else 0)
        try:
            proof = await self._workshop.do(
                partial(proving.prove_consistency, self._reader, after, before.size, after.size)
            )
            verify_consistency(before.size, after.size, before.root, after.root, proof)
        except (LogDamaged, ProofRefused) as error:
            raise self._broken(0) from error
        self._trust(recalled.grown, recalled.checkpoint, verifier)

    def _signed_by(self, note: str, grown: Grown) -> Verifier | None:
        """Which of our keys signed this checkpoint of that tree; None when none did, or it is another tree's."""
        for verifier in (self._keys.current().verifier, *reversed(self._keys.retired())):
            try:
                checkpoint = open_checkpoint(note, verifier)
            except NoteRefused:
                continue
            if checkpoint == Checkpoint(self._origin, grown.edge.size, grown.edge.root):
                return verifier
        return None

    def _first_key(self) -> Verifier:
        retired = self._keys.retired()
        return retired[0] if retired else self._keys.current().verifier

    def _broken(self, first_bad: int) -> TreeBroken:
        self._knowledge.found_bad(first_bad)
        return TreeBroken(f"The audit log is not what was signed, from entry {first_bad} on.")

    async def _proved(self, work: Callable[[], T], index: int) -> T:
        try:
            return await self._workshop.do(work)
        except LogDamaged as error:
            raise self._broken(index) from error

    def _complain(self, complaint: str) -> None:
        if complaint and complaint != self.complaint:
            _log.error("nothing_is_signed", extra={"cause": complaint})
        self.complaint = complaint


def _stored(reader: LogReader, size: int) -> StoredCheckpoint | None:
    with reader.snapshot() as snapshot:
        try:
            newest = snapshot.newest_checkpoint()
        except LogDamaged:
            return None
        return newest if newest and newest.size == size else None


def _entries(reader: LogReader) -> int:
    with reader.snapshot() as snapshot:
        return snapshot.last_index() + 1


def _key_changes(reader: LogReader) -> list[str]:
    with reader.snapshot() as snapshot:
        return growing.key_changes_in(snapshot)
