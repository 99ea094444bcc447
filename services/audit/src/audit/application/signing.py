"""What is known of a log by its signed checkpoints, and whether the stored ones go on from there."""

from dataclasses import dataclass

from audit.application.growing import key_changes_in
from audit.application.ports import LogDamaged, Snapshot
from audit.domain.chain import EMPTY, Head
from audit.domain.verification import NOTHING, Prefix
from shared.tlog.checkpoints import Checkpoint, open_checkpoint
from shared.tlog.key_changes import successor
from shared.tlog.notes import NoteRefused, Verifier


@dataclass(frozen=True, slots=True)
class Known:
    """What a process knows of the log: a part that was verified, the last entry it has seen committed, and the newest
    checkpoint, with the keys whose signatures count.
    """

    base: Prefix = NOTHING
    seen: Head = EMPTY
    newest: Checkpoint | None = None
    keys: tuple[Verifier, ...] = ()


@dataclass(frozen=True, slots=True)
class Signed:
    """A checkpoint and the signed note that it stands in."""

    checkpoint: Checkpoint
    note: str


class NotSigned(Exception):
    """The newest stored checkpoint is older than one that is known, or another, or not one of this log's at all.

    Entries from `after` on are in no stored checkpoint that counts.
    """

    def __init__(self, after: int) -> None:
        super().__init__(after)
        self.after = after


def newest_signed(snapshot: Snapshot, known: Known) -> Signed | None:
    """The newest stored checkpoint; None before the first. Raises NotSigned."""
    try:
        stored = snapshot.newest_checkpoint()
    except LogDamaged as error:
        raise NotSigned(0) from error
    signed = None if stored is None else Signed(_opened(stored.note, snapshot, known.keys), stored.note)
    size = signed.checkpoint.size if signed else 0
    if stored is not None and stored.size != size:
        raise NotSigned(0)
    if known.newest is not None:
        if size < known.newest.size:
            raise NotSigned(size)
        if size == known.newest.size and signed and signed.checkpoint.root != known.newest.root:
            raise NotSigned(0)
    return signed


def _opened(note: str, snapshot: Snapshot, keys: tuple[Verifier, ...]) -> Checkpoint:
    for key in keys:
        try:
            return open_checkpoint(note, key)
        except NoteRefused:
            continue
    for key in _successors(snapshot, keys):
        try:
            return open_checkpoint(note, key)
        except NoteRefused:
            continue
    raise NotSigned(0)


def _successors(snapshot: Snapshot, keys: tuple[Verifier, ...]) -> list[Verifier]:
    """The keys that entries of the log have handed on to, in order, and that this process has not been told of."""
    known = list(keys)
    for note in key_changes_in(snapshot):
        for key in tuple(known):
            try:
                known.append(successor(note, key))
            except NoteRefused:
                continue
    return known[len(keys) :]
