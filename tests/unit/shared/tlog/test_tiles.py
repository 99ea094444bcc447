from collections.abc import Callable

import pytest

from shared.tlog.merkle import Frontier, consistency_proof, inclusion_proof, verify_consistency, verify_inclusion
from shared.tlog.tiles import TILE_HEIGHT, TILE_WIDTH, node_from
from tests.unit.shared.tlog.trees import leaves

LEAVES = leaves(TILE_WIDTH * TILE_WIDTH + 300)


def tiles_of(size: int) -> Callable[[int, int], bytes]:
    """Each level holds the roots of the full tiles below."""
    levels = [LEAVES[:size]]
    while len(levels[-1]) >= TILE_WIDTH:
        below = levels[-1]
        whole = range(0, len(below) - TILE_WIDTH + 1, TILE_WIDTH)
        levels.append([Frontier().appended(below[at : at + TILE_WIDTH]).root for at in whole])

    def tile(level: int, number: int) -> bytes:
        assert level < len(levels)
        return b"".join(levels[level][number * TILE_WIDTH : (number + 1) * TILE_WIDTH])

    return tile


@pytest.mark.parametrize("size", [1, 2, 255, 256, 257, 511, 512, 513, 1000, 65_535, 65_536, 65_537, 65_836])
def test_proofs_from_tiles_are_proofs(size: int) -> None:
    node = node_from(tiles_of(size))
    root = Frontier().appended(LEAVES[:size]).root

    for index in {0, 1, 255, 256, 511, size // 2, size - 1} & set(range(size)):
        verify_inclusion(index, size, LEAVES[index], inclusion_proof(index, size, node), root)
    for old in {1, 2, 255, 256, 257, 65_536, size // 2, size - 1, size} & set(range(size + 1)):
        old_root = Frontier().appended(LEAVES[:old]).root
        verify_consistency(old, size, old_root, root, consistency_proof(old, size, node))


def test_a_node_is_found_in_the_tile_of_its_height() -> None:
    node = node_from(tiles_of(TILE_WIDTH))

    assert node(0, 7) == LEAVES[7]
    assert node(TILE_HEIGHT, 0) == Frontier().appended(LEAVES[:TILE_WIDTH]).root


@pytest.mark.parametrize(("level", "number"), [(0, 3), (1, 1), (2, 0), (7, 0)])
def test_a_node_that_a_tile_does_not_hold_is_not_made_up(level: int, number: int) -> None:
    node = node_from(tiles_of(3))

    with pytest.raises(ValueError, match="too short"):
        node(level, number)
