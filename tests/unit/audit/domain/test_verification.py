"""One walk over the entries, and over the tiles above them, without a database."""

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.domain.chain import EMPTY, Head, fingerprint
from audit.domain.entry import Row, seal
from audit.domain.erasure import ERASED, SOURCE, details_of
from audit.domain.tree import RightEdge
from audit.domain.verification import NOTHING, Marks, Prefix, Verification
from shared.tlog.merkle import Frontier, leaf_hash
from tests.unit.audit.logs import draft


def chain(length: int, start: Head = EMPTY) -> list[Row]:
    rows: list[Row] = []
    for number in range(length):
        rows.append(seal(draft(id=f"e{number}"), rows[-1].head if rows else start, bytes(48)))
    return rows


ROWS = chain(70)
HEADS = [row.head for row in ROWS]
LONG = chain(600)


class Kept:
    """Rows, tiles and notes of erasures in memory."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self.stored = {row.index: row for row in rows}
        edge, tiles = RightEdge().appended([leaf_hash(row.fingerprint) for row in rows])
        self.size, self.root = edge.size, edge.root
        self.tiles = {(tile.level, tile.number): tile.hashes for tile in tiles}
        self.erased: dict[int, int] = {}

    def rows(self, first: int, last: int) -> Iterator[Row]:
        return (self.stored[index] for index in range(first, last + 1) if index in self.stored)

    def fingerprints(self, indexes: Sequence[int]) -> dict[int, bytes]:
        return {index: self.stored[index].fingerprint for index in indexes if index in self.stored}

    def tile(self, level: int, number: int) -> bytes | None:
        return self.tiles.get((level, number))

    def erasure_of(self, index: int) -> int | None:
        return self.erased.get(index)


def verified(
    rows: Sequence[Row], *, start: Prefix = NOTHING, seen: Head = EMPTY, kept: Kept | None = None
) -> int | None:
    roots = {kept.size: kept.root} if kept else {}
    check = Verification(start, Marks(seen, roots), kept or Kept([]), tiled=kept.size if kept else 0)
    check.walk(rows)
    check.end()
    return check.first_bad


def rehashed(rows: Sequence[Row]) -> list[Row]:
    """What a forger leaves who can write the file and knows the format."""
    result: list[Row] = []
    previous = EMPTY
    for row in rows:
        result.append(row._replace(fingerprint=fingerprint(row.index, previous.fingerprint, row.body)))
        previous = result[-1].head
    return result


def test_a_whole_chain_is_sound() -> None:
    assert verified(ROWS, seen=HEADS[-1]) is None
    assert verified(LONG, seen=LONG[-1].head, kept=Kept(LONG)) is None


@given(st.integers(0, 69), st.integers(0, 69), st.sampled_from(["delete", "swap", "insert", "repeat"]))
def test_deleted_swapped_inserted_and_repeated_entries_are_found_where_they_are(i: int, j: int, how: str) -> None:
    forged = list(ROWS)
    if how == "delete":
        del forged[i]
    elif how == "swap":
        forged[i], forged[j] = forged[j], forged[i]
    elif how == "insert":
        forged.insert(i, chain(1, HEADS[i - 1] if i else EMPTY)[0]._replace(id="other"))
    else:
        forged.insert(i, ROWS[i])
    if forged == ROWS:
        return

    first = next((k for k, row in enumerate(ROWS) if k >= len(forged) or forged[k] != row), i + 1)
    first = min(first, i + 1) if how == "repeat" else first
    assert verified(forged, seen=HEADS[-1]) == first


@given(st.integers(0, 69))
def test_a_truncated_log_is_not_what_was_seen(length: int) -> None:
    assert verified(ROWS[:length], seen=HEADS[-1]) == length
    assert verified(ROWS[:length], kept=Kept(ROWS)) == length


@given(st.integers(0, 69))
def test_a_log_rewritten_from_some_entry_on_contradicts_what_is_remembered(place: int) -> None:
    forged = list(ROWS)
    forged[place] = seal(draft(id="forged"), HEADS[place - 1] if place else EMPTY, bytes(48))
    forged = rehashed(forged)

    assert verified(forged) is None, "the chain alone cannot tell"
    assert verified(forged, seen=HEADS[-1]) == 0
    assert verified(forged, kept=Kept(ROWS)) == 0


@pytest.mark.parametrize("place", [0, 17, 255, 256, 511, 512])
def test_tiles_tell_where_a_log_was_rewritten(place: int) -> None:
    forged = list(LONG)
    forged[place] = seal(draft(id="forged"), LONG[place - 1].head if place else EMPTY, bytes(48))

    assert verified(rehashed(forged), kept=Kept(LONG)) == (place if place < 512 else 0)
    assert verified(forged, kept=Kept(LONG)) == (place if place < 512 else place + 1)


@pytest.mark.parametrize(
    ("level", "number", "hashes", "first_bad"),
    [
        (0, 0, None, 0),
        (0, 1, b"", 256),
        (1, 0, None, 0),
        (1, 0, bytes(64), 0),
        (0, 2, bytes(32), 600),
        (1, 1, bytes(32), None),
    ],
)
def test_an_altered_tile_is_found(level: int, number: int, hashes: bytes | None, first_bad: int | None) -> None:
    kept = Kept(LONG)
    kept.tiles.pop((level, number), None)
    if hashes is not None:
        kept.tiles[level, number] = hashes

    assert verified(LONG, kept=kept) == first_bad


def test_a_tile_with_a_hash_too_many_or_half_a_hash_is_found() -> None:
    for more in (b"x", bytes(32)):
        for place in ((0, 1), (1, 0)):
            kept = Kept(LONG)
            kept.tiles[place] += more

            assert verified(LONG, kept=kept) is not None


@settings(deadline=None, max_examples=25)
@given(st.lists(st.integers(1, 300), min_size=1, max_size=6))
def test_it_does_not_matter_in_how_many_parts_a_log_is_verified(steps: list[int]) -> None:
    kept = Kept(LONG)
    at = NOTHING
    for step in [*steps, len(LONG)]:
        if at.size == len(LONG):
            break
        check = Verification(at, Marks(LONG[-1].head, {600: kept.root}), kept, tiled=600)
        check.walk(LONG[at.size : at.size + step])
        at = check.prefix

    check.end()
    assert (check.first_bad, at.size) == (None, 600)
    assert at.tree == Frontier().appended([leaf_hash(row.fingerprint) for row in LONG])
    assert at.proved == 600


def erasing(rows: Sequence[Row], indexes: Sequence[int], **changes: Any) -> tuple[list[Row], Kept]:
    """The log after these entries' values were erased by an entry at its end."""
    details = details_of(indexes)
    fields = {"source": SOURCE, "action": ERASED, "details": details, **changes}
    entry = seal(draft(id=f"erasure-{len(rows)}", **fields), rows[-1].head, bytes(48))
    left = [row._replace(personal="{}") if row.index in indexes else row for row in rows]
    kept = Kept([*left, entry])
    kept.erased = dict.fromkeys(indexes, entry.index)
    return [*left, entry], kept


def test_values_that_were_erased_may_be_missing() -> None:
    rows, kept = erasing(ROWS, [3, 4, 5, 60])

    assert verified(rows, kept=kept, start=Prefix(counted=70)) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"source": "edge"},
        {"action": "agent.updated"},
        {"details": {"erased": [[4, 4]], "fields": ["ipAddress", "userAgent", "userEmail"]}},
        {"details": {"erased": [[3, 3]], "fields": ["userEmail"]}},
        {"details": {"erased": [[3, 3]], "fields": ["other"]}},
        {"details": {"erased": [3], "fields": ["ipAddress", "userAgent", "userEmail"]}},
        {"details": {"erased": [[5, 5], [3, 3]], "fields": ["ipAddress", "userAgent", "userEmail"]}},
        {"details": {"erased": [[True, 3]], "fields": ["ipAddress", "userAgent", "userEmail"]}},
        {"details": {}},
    ],
)
def test_values_that_no_erasure_names_may_not_be_missing(changes: dict[str, Any]) -> None:
    rows, kept = erasing(ROWS, [3], **changes)

    assert verified(rows, kept=kept) == 3


def test_an_erasure_that_was_forged_excuses_nothing() -> None:
    rows, kept = erasing(ROWS, [3])
    forged = rows[-1]._replace(body=rows[-1].body.replace(b"[[3,3]]", b"[[3,4]]"))
    rows[4], rows[-1] = rows[4]._replace(personal="{}"), forged
    kept.stored[70], kept.erased[4] = forged, 70

    assert verified(rows, kept=kept) == 3


def test_an_erasure_that_is_another_when_it_is_met_excuses_nothing() -> None:
    rows, kept = erasing(ROWS, [3])
    other = rows[-1]._replace(body=rows[-1].body.replace(b"[[3,3]]", b"[[3,4]]"))
    rows[4] = rows[4]._replace(personal="{}")
    kept.stored[70], kept.erased[4] = other, 70

    assert verified(rows, kept=kept) == 3


def test_a_bad_entry_is_told_and_not_an_earlier_one_that_was_erased() -> None:
    rows, kept = erasing(ROWS, [3])
    rows[20] = rows[20]._replace(user_id="eve")

    assert verified(rows, kept=kept) == 20


def test_an_erasure_excuses_nothing_that_came_after_it() -> None:
    rows, kept = erasing(ROWS, [3])
    later = seal(draft(id="later"), rows[-1].head, bytes(48))._replace(personal="{}")
    kept.erased[71] = 70

    assert verified([*rows, later], kept=kept) == 71


def test_an_erased_value_that_is_back_is_found() -> None:
    rows, kept = erasing(ROWS, [3, 4])
    for back in (ROWS[4].personal, ROWS[4].personal[: ROWS[4].personal.index(',"userAgent"')] + "}"):
        rows[4] = kept.stored[4] = rows[4]._replace(personal=back)

        assert verified(rows, kept=kept, start=Prefix(counted=70)) == 4


def test_what_was_erased_while_the_walk_went_on_is_no_damage() -> None:
    rows, kept = erasing(ROWS, [3, 4])
    rows[3] = ROWS[3]

    assert verified(rows, kept=kept, start=Prefix(counted=69)) is None
