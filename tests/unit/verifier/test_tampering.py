"""Ten thousand untouched logs and ten thousand tampered ones, from fixed seeds."""

import random
from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

import orjson

from audit.domain.entry import Row
from peanut_verify import CUT_OFF, SOUND, TAMPERED, Trust
from shared.tlog.notes import Signer
from tests.unit.verifier.exports import (
    ORIGIN,
    Export,
    checkpoint,
    checkpoint_line,
    erasure,
    export,
    header_line,
    resealed,
    sealed,
    trusting,
    varied,
    verified,
    without,
)

LOGS = 10_000
TAMPERINGS = 10_000
FIELDS = ("ipAddress", "userAgent", "userEmail")
STRANGER = Signer.generate(ORIGIN)


class Tampered(NamedTuple):
    """A forged file, the first bad index where it is defined, and what the verifier knows."""

    data: bytes
    first_bad: int | None = None
    trust: Trust | None = None
    may_be_cut_off: bool = False


class Original(NamedTuple):
    """A sound log of at least two entries, and its export."""

    rows: list[Row]
    file: Export


def test_untouched_logs_are_accepted() -> None:
    chance = random.Random(1)

    verdicts = Counter(verified(_untouched(chance)).status for _ in range(LOGS))

    assert verdicts == {SOUND: LOGS}


def test_every_tampering_is_caught_at_the_first_bad_index() -> None:
    chance = random.Random(2)
    tamperings = list(TAMPERING_WAYS)
    unseen: list[tuple[str, int | None, object]] = []

    for number in range(TAMPERINGS):
        if number % 100 == 0:
            original = _original(chance)
        tampering = tamperings[number % len(tamperings)]
        tampered = tampering(original, chance)
        report = verified(tampered.data, tampered.trust)
        is_caught = report.status == TAMPERED or (tampered.may_be_cut_off and report.status == CUT_OFF)
        if not is_caught or tampered.first_bad not in (None, report.first_bad):
            unseen.append((tampering.__name__, tampered.first_bad, report))

    assert unseen == []


def _untouched(chance: random.Random) -> bytes:
    """An export of up to five entries: whole, or resumed, or with erased values."""
    rows = sealed([varied(chance) for _ in range(chance.randrange(4))], chance)
    kind = chance.randrange(4)
    if kind == 0 and rows:
        return _with_erasure(rows, chance)[1].data
    if kind == 1:
        start = chance.randrange(len(rows) + 1)
        cut_off = export(rows).lines[: start + 1]
        return b"".join(cut_off) + export(rows, start=start).data
    if kind == 2:
        start = chance.randrange(len(rows) + 1)
        return export(rows[:start]).data + export(rows, start=start).data
    return export(rows, start=chance.randrange(len(rows) + 1)).data


def _original(chance: random.Random) -> Original:
    rows = sealed([varied(chance) for _ in range(chance.randrange(2, 6))], chance)
    return Original(rows, export(rows))


def _with_erasure(rows: Sequence[Row], chance: random.Random) -> tuple[list[Row], Export]:
    """The log with some values erased, and an entry that says so."""
    first = chance.randrange(len(rows))
    last = chance.randrange(first, len(rows))
    fields = chance.sample(FIELDS, chance.randrange(1, 4))
    named = [field for field in FIELDS if field in fields]
    longer = sealed([erasure([(first, last)], named), varied(chance)], chance, rows)
    kept = [without(row, *fields) if first <= row.index <= last else row for row in longer]
    return kept, export(kept)


def a_byte_is_another(original: Original, chance: random.Random) -> Tampered:
    number = chance.randrange(len(original.file.lines))
    line = bytearray(original.file.lines[number])
    place = chance.randrange(len(line))
    line[place] ^= chance.randrange(1, 256)
    data = original.file.replaced(number, bytes(line)).data
    is_entry = 0 < number <= len(original.rows)
    return Tampered(data, number - 1 if is_entry else None, may_be_cut_off=not data.endswith(b"\n"))


def a_bit_is_another(original: Original, chance: random.Random) -> Tampered:
    number = chance.randrange(1, len(original.rows) + 1)
    line = bytearray(original.file.lines[number])
    line[chance.randrange(len(line))] ^= 1 << chance.randrange(8)
    return Tampered(original.file.replaced(number, bytes(line)).data, number - 1)


def a_line_is_gone(original: Original, chance: random.Random) -> Tampered:
    index = chance.randrange(len(original.rows))
    return Tampered(original.file.edited(lambda lines: lines.pop(index + 1)).data, index)


def a_line_is_there_twice(original: Original, chance: random.Random) -> Tampered:
    index = chance.randrange(len(original.rows))
    data = original.file.edited(lambda lines: lines.insert(index + 1, lines[index + 1])).data
    return Tampered(data, index + 1)


def two_lines_are_swapped(original: Original, chance: random.Random) -> Tampered:
    one, other = sorted(chance.sample(range(len(original.rows)), 2))

    def swap(lines: list[bytes]) -> None:
        lines[one + 1], lines[other + 1] = lines[other + 1], lines[one + 1]

    return Tampered(original.file.edited(swap).data, one)


def lines_are_in_another_order(original: Original, chance: random.Random) -> Tampered:
    order = list(range(len(original.rows)))
    while order == sorted(order):
        chance.shuffle(order)
    header, *entries, last = original.file.lines
    data = b"".join((header, *(entries[index] for index in order), last))
    return Tampered(data, next(place for place, index in enumerate(order) if place != index))


def an_entry_is_inserted(original: Original, chance: random.Random) -> Tampered:
    index = chance.randrange(len(original.rows) + 1)
    [*_, forged] = export(sealed([varied(chance)], chance, original.rows[:index])).lines[:-1]
    data = original.file.edited(lambda lines: lines.insert(index + 1, forged)).data
    return Tampered(data, index + 1 if index < len(original.rows) else index)


def an_entry_is_replaced(original: Original, chance: random.Random) -> Tampered:
    """Its own hash is right; the next one names another."""
    index = chance.randrange(len(original.rows) - 1)
    forged = export(sealed([varied(chance)], chance, original.rows[:index])).lines[index + 1]
    return Tampered(original.file.replaced(index + 1, forged).data, index + 1)


def the_end_is_gone(original: Original, chance: random.Random) -> Tampered:
    size = chance.randrange(len(original.rows))
    data = original.file.edited(lambda lines: lines.__delitem__(slice(size + 1, -1))).data
    return Tampered(data, size)


def the_file_is_cut_off(original: Original, chance: random.Random) -> Tampered:
    return Tampered(original.file.data[: -chance.randrange(1, len(original.file.data))], may_be_cut_off=True)


def all_is_hashed_anew(original: Original, chance: random.Random) -> Tampered:
    rows = resealed(original.rows, chance.randrange(len(original.rows)), chance, action="agent.deleted")
    forged = export(rows).edited(lambda lines: lines.__setitem__(-1, original.file.lines[-1]))
    return Tampered(forged.data)


def all_is_hashed_anew_and_signed_by_a_stranger(original: Original, chance: random.Random) -> Tampered:
    rows = resealed(original.rows, chance.randrange(len(original.rows)), chance, user_id="nobody")
    return Tampered(export(rows, signer=STRANGER).data)


def the_log_itself_forges_what_was_seen(original: Original, chance: random.Random) -> Tampered:
    """The service's own code and key write another past; the auditor kept an older checkpoint."""
    index = chance.randrange(len(original.rows))
    seen = original.rows[: chance.randrange(index + 1, len(original.rows) + 1)]
    rows = resealed(original.rows, index, chance, outcome="denied", user_id="nobody")
    return Tampered(export(rows).data, trust=trusting(since=checkpoint(seen)))


def the_log_is_rolled_back(original: Original, chance: random.Random) -> Tampered:
    size = chance.randrange(len(original.rows))
    return Tampered(export(original.rows[:size]).data, size, trusting(since=checkpoint(original.rows)))


def the_checkpoint_is_of_other_entries(original: Original, chance: random.Random) -> Tampered:
    others = sealed([varied(chance) for _ in original.rows], chance)
    return Tampered(original.file.replaced(-1, checkpoint_line(others)).data)


def the_checkpoint_is_older(original: Original, chance: random.Random) -> Tampered:
    size = chance.randrange(len(original.rows))
    return Tampered(original.file.replaced(-1, checkpoint_line(original.rows[:size])).data, size)


def the_origin_is_another(original: Original, chance: random.Random) -> Tampered:
    other = Signer.generate("other.example/audit")
    if chance.random() < 0.5:
        return Tampered(export(original.rows, origin=other.name, signer=other).data)
    return Tampered(original.file.replaced(0, header_line((), other.name)).data)


def the_tree_before_is_another(original: Original, chance: random.Random) -> Tampered:
    start = chance.randrange(1, len(original.rows))
    others = sealed([varied(chance) for _ in range(start)], chance)
    forged = export(original.rows, start=start).replaced(0, header_line(others))
    return Tampered(forged.data)


def a_value_is_missing(original: Original, chance: random.Random) -> Tampered:
    row = chance.choice(_bearing(original.rows))
    field = chance.choice(list(orjson.loads(row.personal)))
    return Tampered(_with_row(original.rows, without(row, field)).data, row.index)


def a_value_is_missing_behind_its_erasure(original: Original, chance: random.Random) -> Tampered:
    """The erasure names another field, or other entries, than those that lack a value."""
    row = chance.choice(_bearing(original.rows))
    field, *_ = orjson.loads(row.personal)
    others = [name for name in FIELDS if name != field]
    elsewhere = [(index, index) for index in range(len(original.rows)) if index != row.index]
    named = erasure([(0, len(original.rows) - 1)], others) if chance.random() < 0.5 else erasure(elsewhere, FIELDS)
    rows = sealed([named], chance, original.rows)
    return Tampered(_with_row(rows, without(row, field)).data, row.index)


def an_erasure_comes_before_what_it_erases(original: Original, chance: random.Random) -> Tampered:
    rows = sealed([erasure([(0, len(original.rows))], FIELDS), varied(chance)], chance, original.rows)
    return Tampered(export(rows).data, len(original.rows))


def values_are_swapped(original: Original, chance: random.Random) -> Tampered:
    one, other = sorted(chance.sample(range(len(original.rows)), 2))
    rows = list(original.rows)
    if {rows[one].personal, rows[other].personal} == {"{}"}:
        return a_value_is_missing(original, chance)
    rows[one], rows[other] = (
        rows[one]._replace(personal=rows[other].personal),
        rows[other]._replace(personal=rows[one].personal),
    )
    # a value that was taken away is only missing: that is known at the end, and what was put elsewhere is seen first
    place = other if rows[one].personal == "{}" else one
    return Tampered(export(rows).data, place)


def a_value_is_another(original: Original, chance: random.Random) -> Tampered:
    row = chance.choice(_bearing(original.rows))
    beside = orjson.loads(row.personal)
    beside[chance.choice(list(beside))]["value"] += "x"
    return Tampered(_with_row(original.rows, row._replace(personal=orjson.dumps(beside).decode())).data, row.index)


def a_line_is_written_otherwise(original: Original, chance: random.Random) -> Tampered:
    """Every reader takes it for the same."""
    index = chance.randrange(len(original.rows))
    line = original.file.lines[index + 1]
    ways: tuple[Callable[[], bytes], ...] = (
        lambda: line.replace(b",", b", ", 1),
        lambda: line.replace(b"\n", b"\r\n"),
        lambda: line.replace(b'"index":', b'"index" :', 1),
        lambda: line.replace(b'"id":', b'"\\u0069d":', 1),
        lambda: line.replace(b'"index":%d' % index, b'"index":%d.0' % index, 1),
        lambda: line.replace(b'"index":%d' % index, b'"index":%de0' % index),
        lambda: line.replace(b'"index":%d' % index, b'"index":-0' if index == 0 else b'"index":0%d' % index),
        lambda: line.replace(b'"index":%d' % index, b'"index":%d,"index":%d' % (index, index)),
        lambda: line.replace(b'"action":"', b'"action":"x","action":"', 1),
        lambda: orjson.dumps(dict(reversed(orjson.loads(line).items()))) + b"\n",
        lambda: b"\xef\xbb\xbf" + line,
        lambda: (
            line.replace(b"orchestrator", b"orchestrat\\u006fr").replace(b"agent.", b"agent\\u002e", 1)[:-1] + b" \n"
        ),
    )
    return Tampered(original.file.replaced(index + 1, chance.choice(ways)()).data, index)


TAMPERING_WAYS: tuple[Callable[[Original, random.Random], Tampered], ...] = (
    a_byte_is_another,
    a_bit_is_another,
    a_line_is_gone,
    a_line_is_there_twice,
    two_lines_are_swapped,
    lines_are_in_another_order,
    an_entry_is_inserted,
    an_entry_is_replaced,
    the_end_is_gone,
    the_file_is_cut_off,
    all_is_hashed_anew,
    all_is_hashed_anew_and_signed_by_a_stranger,
    the_log_itself_forges_what_was_seen,
    the_log_is_rolled_back,
    the_checkpoint_is_of_other_entries,
    the_checkpoint_is_older,
    the_origin_is_another,
    the_tree_before_is_another,
    a_value_is_missing,
    a_value_is_missing_behind_its_erasure,
    an_erasure_comes_before_what_it_erases,
    values_are_swapped,
    a_value_is_another,
    a_line_is_written_otherwise,
)


def _bearing(rows: Sequence[Row]) -> list[Row]:
    return [row for row in rows if row.personal != "{}"]


def _with_row(rows: Sequence[Row], changed: Row) -> Export:
    return export([changed if row.index == changed.index else row for row in rows])
