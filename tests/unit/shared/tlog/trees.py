"""Trees to prove things of, whose nodes are worked out from their leaves each time."""

from hashlib import sha256

from shared.tlog.merkle import Node, leaf_hash, root_of


def leaves(count: int, branch: str = "") -> list[bytes]:
    """The hashes of leaves that all differ; those of another branch differ from these."""
    return [leaf_hash(sha256(f"{branch}{n}".encode()).digest()) for n in range(count)]


def node_in(leaf_hashes: list[bytes]) -> Node:
    """Fails a test that asks for a subtree which is not complete."""

    def node(level: int, number: int) -> bytes:
        subtree = leaf_hashes[number << level : (number + 1) << level]
        assert len(subtree) == 1 << level
        return root_of(subtree)

    return node
