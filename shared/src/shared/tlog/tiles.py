"""Tiles (C2SP tlog-tiles): a tree kept in pieces of up to 256 hashes, from which any of its nodes is worked out."""

from collections.abc import Callable

from shared.tlog.merkle import HASH_BYTES, Node, root_of

TILE_HEIGHT = 8
TILE_WIDTH = 1 << TILE_HEIGHT

Tile = Callable[[int, int], bytes]
"""`tile(level, number)`: up to 256 hashes joined. On level 0 leaves; above, the roots of full tiles one level below."""


def node_from(tile: Tile) -> Node:
    """The nodes of a tree that is kept in tiles. Asked for a node that its tile does not hold, it raises ValueError."""

    def node(level: int, number: int) -> bytes:
        height = level % TILE_HEIGHT
        tile_number, start = divmod(number << height, TILE_WIDTH)
        hashes = _cut(tile(level // TILE_HEIGHT, tile_number))[start : start + (1 << height)]
        if len(hashes) != 1 << height:
            raise ValueError(f"tile {tile_number} of level {level // TILE_HEIGHT} is too short")
        return root_of(hashes)

    return node


def _cut(tile: bytes) -> list[bytes]:
    return [tile[at : at + HASH_BYTES] for at in range(0, len(tile), HASH_BYTES)]
