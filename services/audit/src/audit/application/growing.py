"""Growing the tree by what was appended to the log, and reading back how far it had grown; done in the worker."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import orjson

from audit.application.ports import Filters, LogDamaged, LogReader, Snapshot, StoredCheckpoint
from audit.domain.chain import EMPTY, Head, fingerprint
from audit.domain.entry import Row
from audit.domain.tree import NOTHING, RightEdge, Tile, cut, recalled
from shared.contracts.audit import Action
from shared.tlog.merkle import ProofRefused, inclusion_proof, leaf_hash, verify_inclusion
from shared.tlog.tiles import TILE_HEIGHT, TILE_WIDTH, node_from

AT_ONCE = 4096
"""Entries by which the tree grows in a go: some 60 ms of the worker, for which queries wait."""
MAX_KEY_CHANGES = 256
"""As many as the witness takes at once."""

_CHANGES_KEY = b'{"action":"%b",' % Action.AUDIT_KEY_CHANGED.encode()


@dataclass(frozen=True, slots=True)
class Grown:
    """A tree, and the last entry in it."""

    edge: RightEdge = NOTHING
    head: Head = EMPTY


@dataclass(frozen=True, slots=True)
class Growth:
    """A tree that has grown: the tiles to keep, the notes by which the key was changed, and what did not chain on."""

    grown: Grown
    tiles: list[Tile] = field(default_factory=list)
    key_changes: list[str] = field(default_factory=list)
    first_bad: int | None = None


@dataclass(frozen=True, slots=True)
class Recalled:
    """The newest stored checkpoint, unverified, and the stored tree of its size; `first_bad` where there is none.

    The last entry is the one that the tree says.
    """

    checkpoint: StoredCheckpoint | None
    grown: Grown = field(default_factory=Grown)
    first_bad: int | None = None


def grow(reader: LogReader, grown: Grown, seen: Head) -> Growth:
    """The tree with at most AT_ONCE more entries: as long as they are linked to those before, and `seen` is met."""
    with reader.snapshot() as snapshot:
        head, first_bad = grown.head, None
        if (last := snapshot.last_index()) < max(seen.index, head.index):
            return Growth(grown, first_bad=last + 1)
        leaves: list[bytes] = []
        key_changes: list[str] = []
        try:
            for row in snapshot.rows(head.index + 1, head.index + AT_ONCE):
                if not _is_linked(row, head) or (row.index == seen.index and row.head != seen):
                    first_bad = head.index + 1
                    break
                head = row.head
                leaves.append(leaf_hash(row.fingerprint))
                if row.body.startswith(_CHANGES_KEY) and (note := _note_in(row)):  # what is hashed says so
                    key_changes.append(note)
        except LogDamaged:
            first_bad = head.index + 1
    edge, tiles = grown.edge.appended(leaves)
    return Growth(Grown(edge, head), tiles, key_changes, first_bad)


def recall(reader: LogReader) -> Recalled:
    """How far the tree had grown, as it is stored."""
    with reader.snapshot() as snapshot:
        checkpoint = snapshot.newest_checkpoint()
        if checkpoint is None:
            return Recalled(None)
        last = snapshot.last_index()
        if checkpoint.size > last + 1:
            return Recalled(checkpoint, first_bad=last + 1)
        if checkpoint.size <= 0:
            return Recalled(checkpoint, first_bad=0)
        try:
            return Recalled(checkpoint, stored_tree(snapshot, checkpoint.size))
        except (ProofRefused, LogDamaged, ValueError, TypeError, KeyError):
            return Recalled(checkpoint, first_bad=first_difference(snapshot, checkpoint.size))


def find_difference(reader: LogReader, size: int) -> int:
    """Where entries and tiles first say something else; 0 where they agree, and so nobody knows."""
    with reader.snapshot() as snapshot:
        return first_difference(snapshot, size)


def first_difference(snapshot: Snapshot, size: int) -> int:
    """The same on this snapshot."""
    for number in range(size // TILE_WIDTH):
        first = number * TILE_WIDTH
        try:
            stored = cut(snapshot.tile(0, number) or b"")
            found = snapshot.fingerprints(range(first, first + TILE_WIDTH))
        except LogDamaged:
            return first
        for index, leaf in zip(range(first, first + TILE_WIDTH), stored, strict=False):
            if not isinstance(found.get(index), bytes) or leaf_hash(found[index]) != leaf:
                return index
        if len(stored) != TILE_WIDTH:
            return first + min(len(stored), TILE_WIDTH - 1)
    return 0


def key_changes_in(snapshot: Snapshot) -> list[str]:
    """The notes by which the log's key was changed, in order."""
    rows = snapshot.newest(Filters(action=Action.AUDIT_KEY_CHANGED), MAX_KEY_CHANGES, 0)
    return [note for row in reversed(rows) if (note := _note_in(row))]


def _stored_tile(snapshot: Snapshot, size: int) -> Callable[[int, int], bytes]:
    """The tiles of a tree of this size as they are stored, the last leaves from their entries."""

    def tile(level: int, number: int) -> bytes:
        is_last = level == 0 and number == size >> TILE_HEIGHT
        if is_last:
            return leaves_of(snapshot, range(number * TILE_WIDTH, size))
        found = snapshot.tile(level, number)
        if found is None:
            raise ValueError("a tile of the tree is missing")
        return found

    return tile


def leaves_of(snapshot: Snapshot, indexes: Sequence[int]) -> bytes:
    """The leaf hashes of these entries, joined; raises KeyError when one is not there."""
    found = snapshot.fingerprints(indexes)
    return b"".join(leaf_hash(found[index]) for index in indexes)


def stored_tree(snapshot: Snapshot, size: int) -> Grown:
    """The tree of this size as its tiles say, and the last entry in it.

    Raises ProofRefused, LogDamaged, ValueError, TypeError or KeyError where tiles or that entry are gone or others.
    """
    tile = _stored_tile(snapshot, size)
    edge, index = recalled(size, tile), size - 1
    fingerprint = snapshot.fingerprints([index])[index]
    # After a full tile the edge holds no leaf at all, and what is appended next must be linked to one that was signed.
    verify_inclusion(index, size, leaf_hash(fingerprint), inclusion_proof(index, size, node_from(tile)), edge.root)
    return Grown(edge, Head(index, fingerprint))


def _is_linked(row: Row, previous: Head) -> bool:
    return (
        row.index == previous.index + 1
        and isinstance(row.body, bytes)
        and row.fingerprint == fingerprint(row.index, previous.fingerprint, row.body)
    )


def _note_in(row: Row) -> str | None:
    try:
        note = orjson.loads(row.body)["details"]["note"]
    except (ValueError, KeyError, TypeError):
        return None
    return note if isinstance(note, str) else None
