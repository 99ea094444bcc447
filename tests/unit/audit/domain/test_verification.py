from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.domain.chain import EMPTY, Head, fingerprint
from audit.domain.entry import Row, seal
from audit.domain.verification import SEGMENT, Anchors, Verification
from tests.unit.audit.logs import draft


def chain(length: int, start: Head = EMPTY) -> list[Row]:
    rows: list[Row] = []
    for number in range(length):
        rows.append(seal(draft(id=f"e{number}"), rows[-1].head if rows else start, bytes(48)))
    return rows


ROWS = chain(70)
HEADS = [row.head for row in ROWS]


def verified(rows: Sequence[Row], *, anchors: Anchors | None = None, seen: Head = EMPTY) -> int | None:
    check = Verification(EMPTY, anchors or Anchors(), seen)
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
    assert verified(ROWS, seen=HEADS[-1], anchors=Anchors().extended(HEADS)) is None


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
    assert verified(ROWS[:length], anchors=Anchors().extended(HEADS)) == length


@given(st.integers(0, 69))
def test_a_log_rewritten_from_some_entry_on_is_found_by_what_is_remembered(place: int) -> None:
    forged = list(ROWS)
    forged[place] = seal(draft(id="forged"), HEADS[place - 1] if place else EMPTY, bytes(48))
    forged = rehashed(forged)

    assert verified(forged) is None, "the chain alone cannot tell"
    assert verified(forged, seen=HEADS[-1]) == 69
    assert verified(forged, anchors=Anchors().extended(HEADS)) == min(place // SEGMENT * SEGMENT + SEGMENT - 1, 69)


@given(st.integers(0, 69), st.integers(0, 70))
def test_the_anchors_around_an_entry_enclose_it(index: int, known: int) -> None:
    anchors = Anchors().extended(HEADS[:known])
    if index >= known:
        with pytest.raises(ValueError, match="nothing is remembered"):
            anchors.around(index)
        return

    start, end = anchors.around(index)

    assert start.index < index <= end.index
    assert end.index - start.index <= SEGMENT
    assert start == (HEADS[start.index] if start.index >= 0 else EMPTY)
    assert end == HEADS[end.index]


@given(st.integers(0, 69), st.integers(0, 69), st.integers(0, 69))
def test_a_part_of_the_anchors_contradicts_there_what_all_of_them_do(first: int, more: int, at: int) -> None:
    anchors = Anchors().extended(HEADS)
    last = min(first + more, 69)
    part = anchors.part(first, last)

    assert not part.contradict(HEADS[at])
    if first <= at <= last:
        assert part.contradict(Head(at, b"other")) == anchors.contradict(Head(at, b"other"))


def test_anchors_are_laid_without_a_gap_and_older_ones_stay_as_they_were() -> None:
    first = Anchors().extended(HEADS[:20])
    second = first.extended(HEADS[20:])

    assert (first.head, second.head) == (HEADS[19], HEADS[69])
    assert first.around(17) == (HEADS[15], HEADS[19])
    assert not first.contradict(Head(31, b"anything"))
    assert second.contradict(Head(31, b"anything"))
    assert second.extended([]) is second
    with pytest.raises(ValueError, match="in order"):
        first.extended(HEADS[21:])
