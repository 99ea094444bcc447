"""RFC 6962 Merkle trees: their roots, and the proofs that a leaf is in a tree and that one tree extends another."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256

HASH_BYTES = 32
EMPTY_ROOT = sha256().digest()
"""The root of a tree without leaves (RFC 6962, 2.1)."""

Node = Callable[[int, int], bytes]
"""`node(level, number)`: the root of the complete subtree of 2^level leaves that has that number, from the left."""


class ProofRefused(Exception):
    """A proof that does not prove what it is given for."""


def leaf_hash(data: bytes) -> bytes:
    """The hash that stands for an entry's data."""
    return sha256(b"\0" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of an inner node."""
    return sha256(b"\1" + left + right).digest()


@dataclass(frozen=True, slots=True)
class Frontier:
    """All of a tree that its growth depends on: the roots of its complete subtrees, the largest first."""

    size: int = 0
    hashes: tuple[bytes, ...] = ()

    def __post_init__(self) -> None:
        if self.size < 0 or len(self.hashes) != self.size.bit_count():
            raise ValueError("a tree has one complete subtree for each bit of its size")
        if any(len(hash) != HASH_BYTES for hash in self.hashes):
            raise ValueError(f"a hash has {HASH_BYTES} bytes")

    def appended(self, leaf_hashes: Iterable[bytes]) -> "Frontier":
        """The tree with these leaves after its own."""
        size, hashes = self.size, list(self.hashes)
        for hash in leaf_hashes:
            whole, bits = hash, size
            while bits & 1:
                whole = node_hash(hashes.pop(), whole)
                bits >>= 1
            hashes.append(whole)
            size += 1
        return Frontier(size, tuple(hashes))

    @property
    def root(self) -> bytes:
        """The root of the whole tree."""
        return _joined(self.hashes)


def root_of(leaf_hashes: Iterable[bytes]) -> bytes:
    """The root of the tree of these leaves."""
    return Frontier().appended(leaf_hashes).root


def inclusion_proof(index: int, size: int, node: Node) -> list[bytes]:
    """That a leaf is in the tree of `size` leaves (RFC 6962, 2.1.1): what lies beside its way up, lowest first."""
    if not 0 <= index < size:
        raise ValueError("only a leaf of the tree can be proved to be in it")
    proof: list[bytes] = []
    first, count = 0, size
    while count > 1:
        half = _left_part(count)
        if index < first + half:
            proof.append(_subtree_root(first + half, count - half, node))
            count = half
        else:
            proof.append(_subtree_root(first, half, node))
            first, count = first + half, count - half
    return proof[::-1]


def consistency_proof(old: int, new: int, node: Node) -> list[bytes]:
    """That the tree of `new` leaves begins with that of `old` leaves (RFC 6962, 2.1.2); empty from 0, and to itself."""
    if not 0 <= old <= new:
        raise ValueError("a tree extends a smaller one")
    if old == 0:
        return []
    proof: list[bytes] = []
    first, count = 0, new
    while first + count != old:
        half = _left_part(count)
        if old <= first + half:
            proof.append(_subtree_root(first + half, count - half, node))
            count = half
        else:
            proof.append(_subtree_root(first, half, node))
            first, count = first + half, count - half
    if first > 0:  # otherwise it is the old root, which the verifier has
        proof.append(_subtree_root(first, count, node))
    return proof[::-1]


def verify_inclusion(index: int, size: int, leaf_hash: bytes, proof: Sequence[bytes], root: bytes) -> None:
    """Raises ProofRefused unless the leaf is the one at `index` of the tree with this size and root."""
    if not 0 <= index < size:
        raise ProofRefused("no such leaf is in a tree of this size")
    _refuse_what_is_no_hash(leaf_hash, root, *proof)
    inner = (index ^ (size - 1)).bit_length()  # below here the leaf's way and the tree's right border are apart
    if len(proof) != inner + (index >> inner).bit_count():
        raise ProofRefused("this proof does not have the length of its way")
    found = leaf_hash
    for level, sibling in enumerate(proof):
        is_right = level >= inner or index >> level & 1
        found = node_hash(sibling, found) if is_right else node_hash(found, sibling)
    if found != root:
        raise ProofRefused("this proof leads to another root")


def verify_consistency(old_size: int, new_size: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]) -> None:
    """Raises ProofRefused unless the tree of `new_size` leaves begins with the one of `old_size` leaves.

    From an empty tree, and to the same tree, the proof is empty (C2SP tlog-witness).
    """
    if not 0 <= old_size <= new_size:
        raise ProofRefused("a tree does not extend a larger one")
    _refuse_what_is_no_hash(old_root, new_root, *proof)
    if old_size in (0, new_size):
        if proof or old_root != (new_root if old_size == new_size else EMPTY_ROOT):
            raise ProofRefused("these are not the same tree")
        return
    # The right border of the old tree, from its lowest complete subtree up, beside that of the new one.
    level = (old_size & -old_size).bit_length() - 1
    old_place, new_place = (old_size - 1) >> level, (new_size - 1) >> level
    hashes = list(proof) if old_place else [old_root, *proof]
    if not hashes:
        raise ProofRefused("this proof is too short")
    old = new = hashes[0]
    for sibling in hashes[1:]:
        if new_place == 0:
            raise ProofRefused("this proof is too long")
        if old_place & 1 or old_place == new_place:
            old, new = node_hash(sibling, old), node_hash(sibling, new)
            while old_place and not old_place & 1:
                old_place, new_place = old_place >> 1, new_place >> 1
        else:
            new = node_hash(new, sibling)
        old_place, new_place = old_place >> 1, new_place >> 1
    if new_place or (old, new) != (old_root, new_root):
        raise ProofRefused("this proof leads to other roots")


def _left_part(count: int) -> int:
    """How many of `count` > 1 leaves are in the left subtree: the largest power of two below."""
    return 1 << ((count - 1).bit_length() - 1)


def _subtree_root(first: int, count: int, node: Node) -> bytes:
    """Of a subtree that is, or is the right border of, a complete one."""
    return _joined([node(level, number) for level, number in _complete_parts(first, count)])


def _complete_parts(first: int, count: int) -> Iterator[tuple[int, int]]:
    for level in range(count.bit_length() - 1, -1, -1):
        if count >> level & 1:
            yield level, first >> level
            first += 1 << level


def _joined(hashes: Sequence[bytes]) -> bytes:
    """The root above complete subtrees that lie side by side, the largest first."""
    if not hashes:
        return EMPTY_ROOT
    *larger, root = hashes
    for hash in reversed(larger):
        root = node_hash(hash, root)
    return root


def _refuse_what_is_no_hash(*hashes: bytes) -> None:
    if any(len(hash) != HASH_BYTES for hash in hashes):
        raise ProofRefused(f"a hash has {HASH_BYTES} bytes")
