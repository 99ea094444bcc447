"""The right edge of the tree: growing, and coming back from what was kept."""

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.domain.tree import RightEdge, recalled
from shared.tlog.merkle import EMPTY_ROOT, Frontier, root_of
from shared.tlog.tiles import node_from

SIZES = [0, 1, 2, 3, 255, 256, 257, 511, 512, 1000, 65_535, 65_536, 65_537]
LEAVES = [sha256(str(number).encode()).digest() for number in range(max(SIZES))]


def grown(size: int, *, by: int = 1000) -> tuple[RightEdge, dict[tuple[int, int], bytes]]:
    edge = RightEdge()
    kept: dict[tuple[int, int], bytes] = {}
    for start in range(0, size, by):
        edge, tiles = edge.appended(LEAVES[start : min(start + by, size)])
        kept |= {(tile.level, tile.number): tile.hashes for tile in tiles}
    return edge, kept


@pytest.mark.parametrize("size", SIZES)
def test_it_has_the_root_and_the_frontier_of_all_its_leaves(size: int) -> None:
    edge, _ = grown(size)

    assert edge.size == size
    assert edge.root == (root_of(LEAVES[:size]) if size else EMPTY_ROOT)
    assert edge.frontier == Frontier().appended(LEAVES[:size])


@given(st.lists(st.integers(0, 700), max_size=12))
def test_it_does_not_matter_how_many_are_appended_at_once(steps: list[int]) -> None:
    edge = RightEdge()
    kept: dict[tuple[int, int], bytes] = {}
    for step in steps:
        edge, tiles = edge.appended(LEAVES[edge.size : edge.size + step])
        kept |= {(tile.level, tile.number): tile.hashes for tile in tiles}

    assert (edge, kept) == grown(edge.size)


@pytest.mark.parametrize("size", SIZES)
def test_it_comes_back_from_the_tiles_and_the_last_leaves(size: int) -> None:
    edge, kept = grown(size)
    last = b"".join(LEAVES[size // 256 * 256 : size])

    again = recalled(size, lambda level, number: kept[level, number] if level else last)

    assert again == edge


def test_a_tile_that_has_grown_since_is_cut() -> None:
    edge, _ = grown(300)
    _, later = grown(2000)

    again = recalled(300, lambda level, number: later[level, number] if level else b"".join(LEAVES[256:400]))

    assert again == edge


def test_too_little_is_no_edge() -> None:
    with pytest.raises(ValueError, match="not the edge"):
        recalled(300, lambda _level, _number: b"")
    with pytest.raises(ValueError, match="not the edge"):
        RightEdge(300, ())


@pytest.mark.parametrize("size", [1, 256, 300, 65_537])
def test_kept_tiles_and_the_edge_hold_every_node(size: int) -> None:
    edge, kept = grown(size)

    def tile(level: int, number: int) -> bytes:
        return edge.tile(level, number) or kept[level, number]

    node = node_from(tile)
    for level in range(size.bit_length()):
        last = (size >> level) - 1
        for number in {0, last // 2, last}:
            assert node(level, number) == root_of(LEAVES[number << level : (number + 1) << level])
