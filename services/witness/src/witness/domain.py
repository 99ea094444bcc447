"""The rules of the witness: what it trusts, what it remembers, and what it therefore refuses."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from shared.contracts.witness import INCONSISTENT, STALE_SIZE
from shared.errors import ErrorCode, Forbidden, PlatformError
from shared.tlog.checkpoints import Checkpoint, open_checkpoint
from shared.tlog.key_changes import successor
from shared.tlog.merkle import EMPTY_ROOT, ProofRefused, verify_consistency
from shared.tlog.notes import Cosigner, NoteRefused, Verifier, open_note, without_others


class NotOfThisLog(Forbidden):
    """A checkpoint that is not signed by the log that this witness watches."""

    reason = "not-of-this-log"


class StaleSize(PlatformError):
    """The proof begins at another checkpoint than the last one that was cosigned."""

    code = ErrorCode.CONFLICT
    reason = STALE_SIZE


class Inconsistent(PlatformError):
    """The log takes back something of what it has said."""

    code = ErrorCode.CONFLICT
    reason = INCONSISTENT


@dataclass(frozen=True, slots=True, kw_only=True)
class Addition:
    """A checkpoint that somebody wants to be cosigned. `key_changes` are notes, in order."""

    old_size: int
    proof: Sequence[bytes]
    note: str
    log: Verifier
    key_changes: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Memory:
    """What the witness remembers of its log: the key it is to sign with, and the last checkpoint, cosigned."""

    log: Verifier
    note: str
    checkpoint: Checkpoint

    @property
    def cosignature(self) -> str:
        """The witness's signature line: the last of the note."""
        return self.note.splitlines(keepends=True)[-1]


def extended(memory: Memory | None, addition: Addition, *, log: Verifier, witness: Cosigner, now: int) -> Memory:
    """What is remembered once the addition is cosigned, at `now` (Unix seconds).

    `log` is the key that is trusted as long as nothing is remembered. Raises NotOfThisLog, StaleSize or Inconsistent.
    """
    signer = _handed_on(memory.log if memory else log, addition.key_changes)
    try:
        note = without_others(addition.note, signer)  # a forged cosignature of ours must not be remembered
        checkpoint = open_checkpoint(note, signer)
    except NoteRefused as error:
        raise NotOfThisLog(f"Not a checkpoint of this log: {error}.") from error
    size, root = (memory.checkpoint.size, memory.checkpoint.root) if memory else (0, EMPTY_ROOT)
    if addition.old_size != size:
        raise StaleSize(f"The last checkpoint that was cosigned has {size} entries.")
    try:
        verify_consistency(size, checkpoint.size, root, checkpoint.root, addition.proof)
    except ProofRefused as error:
        raise Inconsistent(f"This does not extend the last checkpoint, of {size} entries: {error}.") from error
    return Memory(signer, note + witness.cosign(checkpoint.text, now), checkpoint)


def recalled(note: str, *, log: Verifier, witness: Verifier) -> Memory:
    """The memory that consists of a cosigned note; raises NoteRefused unless both have signed it."""
    checkpoint = open_checkpoint(note, log)
    open_note(note, [witness])
    return Memory(log, note, checkpoint)


def _handed_on(log: Verifier, key_changes: Sequence[str]) -> Verifier:
    """The key that this one was changed to by those of the notes that follow from it."""
    for note in key_changes:
        with suppress(NoteRefused):  # a change before this key's time, or not of this log
            log = successor(note, log)
    return log
