"""Proofs from the stored tree, checked against the tree that this process trusts; made in the worker."""

from collections.abc import Callable
from dataclasses import dataclass

from audit.application.growing import leaves_of
from audit.application.ports import LogDamaged, LogReader, Snapshot
from audit.domain.tree import RightEdge
from shared.tlog.merkle import (
    Frontier,
    Node,
    ProofRefused,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    verify_consistency,
    verify_inclusion,
)
from shared.tlog.tiles import TILE_HEIGHT, TILE_WIDTH, node_from


@dataclass(frozen=True, slots=True)
class Inclusion:
    """That an entry is in the tree of a checkpoint: what lies beside its way to the root, lowest first."""

    index: int
    fingerprint: bytes
    size: int
    proof: list[bytes]
    checkpoint: str = ""


class ProofFails(LogDamaged):
    """The stored tree does not lead to the root that was signed."""


def prove_inclusion(reader: LogReader, edge: RightEdge, index: int) -> Inclusion:
    """Raises ProofFails when the stored tree, or the stored entry, does not lead to this tree's root."""
    with reader.snapshot() as snapshot:
        try:
            fingerprint = snapshot.fingerprints([index])[index]
            proof = inclusion_proof(index, edge.size, node_from(tile_of(snapshot, edge)))
            verify_inclusion(index, edge.size, leaf_hash(fingerprint), proof, edge.root)
        except (ProofRefused, ValueError, TypeError, KeyError) as error:
            raise ProofFails(f"entry {index} is not in the tree") from error
    return Inclusion(index, fingerprint, edge.size, proof)


def prove_consistency(reader: LogReader, edge: RightEdge, old: int, new: int) -> list[bytes]:
    """That the tree of the first `new` entries extends that of the first `old`; raises ProofFails, as above."""
    with reader.snapshot() as snapshot:
        node = node_from(tile_of(snapshot, edge))
        try:
            old_root, new_root = frontier_of(old, node).root, frontier_of(new, node).root
            proof = consistency_proof(old, new, node)
            verify_consistency(old, new, old_root, new_root, proof)
            verify_consistency(new, edge.size, new_root, edge.root, consistency_proof(new, edge.size, node))
        except (ProofRefused, ValueError, TypeError, KeyError) as error:
            raise ProofFails(f"the trees of {old} and {new} entries do not lead to the one that was signed") from error
    return proof


def frontier(reader: LogReader, edge: RightEdge, size: int) -> Frontier:
    """The frontier of the tree of the first `size` entries; raises ProofFails, as above."""
    with reader.snapshot() as snapshot:
        node = node_from(tile_of(snapshot, edge))
        try:
            found = frontier_of(size, node)
            verify_consistency(size, edge.size, found.root, edge.root, consistency_proof(size, edge.size, node))
        except (ProofRefused, ValueError, TypeError, KeyError) as error:
            raise ProofFails(f"the tree of {size} entries does not lead to the one that was signed") from error
    return found


def frontier_of(size: int, node: Node) -> Frontier:
    """The frontier of the tree of `size` leaves, of a tree that has these nodes."""
    hashes: list[bytes] = []
    first = 0
    for level in range(size.bit_length() - 1, -1, -1):
        if size >> level & 1:
            hashes.append(node(level, first >> level))
            first += 1 << level
    return Frontier(size, tuple(hashes))


def tile_of(snapshot: Snapshot, edge: RightEdge) -> Callable[[int, int], bytes]:
    """The tiles of this tree: those at its edge as this process knows them, all others as they are stored."""

    def tile(level: int, number: int) -> bytes:
        known = edge.tile(level, number)
        if known is not None:
            return known
        found = snapshot.tile(level, number)
        if found is None and level == 0:
            first = number << TILE_HEIGHT
            return leaves_of(snapshot, range(first, min(first + TILE_WIDTH, edge.size)))
        if found is None:
            raise ValueError("a tile of the tree is missing")
        return found

    return tile
