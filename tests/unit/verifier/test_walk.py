"""Whole files: resumed, cut off, erased, signed with several keys, cosigned, compared with what was seen earlier."""

import io
import os
import random
from pathlib import Path

import pytest

from audit.domain.entry import Draft, Row
from peanut_verify import (
    CUT_OFF,
    LOG_KEY,
    MAX_LINE,
    SOUND,
    TAMPERED,
    WITNESS_KEY,
    Trust,
    Uncheckable,
    file_parts,
    parse_key,
    verdict,
    verify_file,
    verify_stream,
)
from shared.tlog.key_changes import key_change
from shared.tlog.merkle import leaf_hash, root_of
from shared.tlog.notes import Cosigner, Signer
from tests.unit.audit.logs import draft
from tests.unit.verifier.exports import (
    COSIGNED_AT,
    ORIGIN,
    SIGNER,
    checkpoint,
    erasure,
    export,
    header_line,
    key_changed,
    sealed,
    trusting,
    varied,
    verified,
    without,
)

NEXT = Signer.generate(ORIGIN)
LAST = Signer.generate(ORIGIN)
STRANGER = Signer.generate(ORIGIN)
WITNESS = Cosigner.generate("witness.example")
OTHER_WITNESS = Cosigner.generate("other.example")


def log(size: int, *more: Draft, seed: int = 1) -> list[Row]:
    chance = random.Random(seed)
    return sealed([*(varied(chance) for _ in range(size)), *more], chance)


@pytest.fixture(scope="module")
def large() -> list[Row]:
    """More than a few blocks, mostly of one form."""
    return sealed([draft(id=f"{number}") for number in range(400)], random.Random(2))


def witnessed_by(*witnesses: Cosigner) -> Trust:
    return trusting(witnesses=tuple(parse_key(witness.verifier.text, WITNESS_KEY) for witness in witnesses))


def test_an_export_without_entries_is_sound() -> None:
    report = verified(export([]))

    assert (report.status, report.entries, report.covered) == (SOUND, 0, 0)


def test_every_beginning_of_a_file_is_sound_as_far_as_it_goes() -> None:
    data = export(log(3)).data

    reports = [verified(data[:length]) for length in range(len(data))]

    assert {report.status for report in reports} == {CUT_OFF}
    assert reports[-1].entries == 3


def test_a_file_that_was_cut_off_is_told_how_far_it_is_covered() -> None:
    rows = log(6)
    covered = export(rows[:4]).data
    more = export(rows, start=4).lines[:2]

    report = verified(covered + b"".join(more))

    assert (report.status, report.entries, report.covered) == (CUT_OFF, 5, 4)


def test_a_file_may_begin_anywhere_in_the_log() -> None:
    rows = log(9)

    for start in range(10):
        report = verified(export(rows, start=start))

        assert (report.status, report.first, report.entries) == (SOUND, start, 9 - start)


@pytest.mark.parametrize("resumed_at", [2, 4])
def test_a_file_is_resumed_where_it_ends(resumed_at: int) -> None:
    rows = log(6)
    cut_off = b"".join(export(rows).lines[:4])

    report = verified(cut_off + export(rows, start=resumed_at).data)

    assert (report.status, report.first_bad) == (TAMPERED, 3)


def test_a_file_is_not_resumed_on_another_log() -> None:
    rows, others = log(6), log(3, seed=5)
    cut_off = b"".join(export(rows).lines[:4])
    forged = export(rows, start=3).replaced(0, header_line(others))

    report = verified(cut_off + forged.data)

    assert (report.status, report.reason) == (
        TAMPERED,
        "the export is resumed on a tree that is not the one of the entries before",
    )


def test_nothing_but_a_resumed_export_stands_behind_a_checkpoint() -> None:
    rows = log(3)
    file = export(rows)

    for more in (file.lines[1], file.lines[-1], export(log(4)).lines[-2], b'{"form', b'{"body":{'):
        assert verified(file.data + more).status in {TAMPERED, CUT_OFF}
    assert verified(file.data + export(log(4)).lines[-2]).first_bad == 3


def test_a_file_begins_with_its_format() -> None:
    file = export(log(3))

    reports = [verified(b"".join(file.lines[number:])) for number in (1, 4)]

    assert [(report.status, report.first_bad, report.line) for report in reports] == [(TAMPERED, None, 1)] * 2


def test_erased_values_are_counted() -> None:
    rows = log(0, draft(), draft(), draft(), erasure([(0, 0), (2, 2)], ["ipAddress", "userEmail"]), draft())
    erased = [without(row, "ipAddress", "userEmail") if row.index in {0, 2} else row for row in rows]

    report = verified(export(erased))

    assert (report.status, report.erased, report.waiting) == (SOUND, 4, 0)


def test_a_file_that_was_read_before_the_erasure_and_resumed_after_it_is_sound() -> None:
    rows = log(0, draft(), draft(), erasure([(0, 1)], ["ipAddress"]), draft())
    erased = [without(row, "ipAddress") if row.index == 1 else row for row in rows]

    assert verified(export(erased)).status == SOUND


def test_values_whose_erasure_would_come_after_a_cut_are_told() -> None:
    rows = log(0, draft(), draft(), erasure([(0, 1)], ["ipAddress"]))
    erased = [without(row, "ipAddress") if row.index < 2 else row for row in rows]

    report = verified(b"".join(export(erased).lines[:3]))

    assert (report.status, report.erased, report.waiting) == (CUT_OFF, 0, 2)


def test_an_erasure_that_another_service_reports_erases_nothing() -> None:
    rows = log(0, draft(), erasure([(0, 0)], ["ipAddress"])._replace(source="edge"))

    report = verified(export([without(rows[0], "ipAddress"), rows[1]]))

    assert (report.status, report.first_bad) == (TAMPERED, 0)


@pytest.mark.parametrize(
    "details",
    [
        {},
        {"erased": [[0, 0]]},
        {"erased": [[0]], "fields": ["ipAddress"]},
        {"erased": [[0, 1]], "fields": ["ipAddress"]},
        {"erased": [[1, 0]], "fields": ["ipAddress"]},
        {"erased": [[-1, 0]], "fields": ["ipAddress"]},
        {"erased": [[False, False]], "fields": ["ipAddress"]},
        {"erased": 1, "fields": ["ipAddress"]},
        {"erased": [[0, 0]], "fields": ["userId"]},
        {"erased": [[0, 0]], "fields": ["ipAddress", "ipAddress"]},
        {"erased": [[0, 0]], "fields": [["ipAddress"]]},
        {"erased": [[0, 0]], "fields": "ipAddress"},
    ],
)
def test_an_erasure_says_of_what(details: dict[str, object]) -> None:
    rows = log(1, erasure([], [])._replace(details=details))

    report = verified(export(rows))

    assert (report.status, report.first_bad) == (TAMPERED, 1)


def test_the_key_is_followed_through_its_changes() -> None:
    to_next, to_last = key_change(SIGNER, NEXT.verifier), key_change(NEXT, LAST.verifier)
    rows = log(2, key_changed(to_next), draft(), key_changed(to_last), draft())
    file = export(rows, signer=LAST)

    reports = [verified(file, trusting(signer)) for signer in (SIGNER, NEXT, LAST, STRANGER)]

    assert [report.status for report in reports] == [SOUND, SOUND, SOUND, TAMPERED]
    assert {report.key for report in reports[:3]} == {LAST.verifier.text}
    assert verified(export(rows), trusting()).status == TAMPERED, "the first key signs no more"


def test_a_checkpoint_before_a_change_of_key_is_signed_with_the_old_one() -> None:
    rows = log(2, key_changed(key_change(SIGNER, NEXT.verifier)), draft())
    resumed = export(rows, start=2, signer=NEXT).data

    reports = [verified(export(rows[:2], signer=signer).data + resumed) for signer in (SIGNER, NEXT)]

    assert [report.status for report in reports] == [SOUND, TAMPERED]


@pytest.mark.parametrize(
    "note",
    [
        key_change(STRANGER, NEXT.verifier),
        key_change(SIGNER, NEXT.verifier).replace("— ", "- "),
        key_change(SIGNER, NEXT.verifier).replace("v1", "v2"),
        key_change(SIGNER, NEXT.verifier).replace(NEXT.verifier.text, STRANGER.verifier.text),
        "",
        "nothing",
    ],
)
def test_a_key_that_the_old_one_did_not_sign_is_not_taken(note: str) -> None:
    rows = log(1, key_changed(note), draft())

    assert verified(export(rows, signer=NEXT)).status == TAMPERED
    assert verified(export(rows, signer=STRANGER)).status == TAMPERED


def test_changes_of_the_key_follow_each_other() -> None:
    away, other = key_change(SIGNER, NEXT.verifier), key_change(SIGNER, LAST.verifier)
    rows = log(1, key_changed(away), key_changed(other))

    report = verified(export(rows, signer=LAST))

    assert (report.status, report.first_bad) == (TAMPERED, 2)


def test_a_change_of_key_that_another_service_reports_changes_nothing() -> None:
    forged = key_changed(key_change(SIGNER, NEXT.verifier))._replace(source="edge")
    rows = log(1, forged)

    assert verified(export(rows)).status == SOUND
    assert verified(export(rows, signer=NEXT)).status == TAMPERED


def test_witnesses_that_are_named_must_have_cosigned() -> None:
    rows = log(2)
    file = export(rows, witnesses=[WITNESS])

    report = verified(file, witnessed_by(WITNESS))

    assert (report.status, report.cosigned) == (SOUND, ((WITNESS.name, COSIGNED_AT),))
    assert verified(file, witnessed_by(WITNESS, OTHER_WITNESS)).status == TAMPERED
    assert verified(export(rows), witnessed_by(WITNESS)).status == TAMPERED


def test_a_cosignature_of_another_checkpoint_is_forged() -> None:
    rows, others = log(2), log(2, seed=9)
    text, _, signatures = checkpoint(rows).partition("\n\n")
    borrowed = checkpoint(others, witnesses=[WITNESS]).splitlines(keepends=True)[-1]
    forged = b'{"checkpoint":"%b"}\n' % f"{text}\n\n{signatures}{borrowed}".replace("\n", "\\n").encode()

    report = verified(export(rows).replaced(-1, forged), witnessed_by(WITNESS))

    assert (report.status, report.reason) == (TAMPERED, "the cosignature of witness.example is forged")


def test_a_log_extends_every_checkpoint_of_its_past(large: list[Row]) -> None:
    file = export(large)

    for size in (0, 1, 63, 64, 127, 255, 399, 400):
        report = verified(file, trusting(since=checkpoint(large[:size])))

        assert (report.status, report.since) == (SOUND, size)


def test_a_past_that_was_other_is_noticed(large: list[Row]) -> None:
    others = log(200, seed=7)

    report = verified(export(large), trusting(since=checkpoint(others)))

    assert (report.status, report.first_bad) == (TAMPERED, None)


def test_an_earlier_checkpoint_counts_when_the_log_has_signed_it() -> None:
    rows = log(2, key_changed(key_change(SIGNER, NEXT.verifier)), draft())
    file = export(rows, signer=NEXT)

    assert verified(file, trusting(since=checkpoint(rows[:1]))).status == SOUND
    for forged in (checkpoint(rows[:1], signer=STRANGER), checkpoint(rows[:1], "other.example")):
        with pytest.raises(Uncheckable, match="not signed by this log"):
            verified(file, trusting(since=forged))


def test_a_file_that_begins_behind_an_earlier_checkpoint_says_nothing_of_it() -> None:
    rows = log(5)

    with pytest.raises(Uncheckable, match="begins behind"):
        verified(export(rows, start=3), trusting(since=checkpoint(rows[:2])))
    assert verified(export(rows, start=3), trusting(since=checkpoint(rows[:3]))).status == SOUND


@pytest.mark.parametrize(
    "data",
    [
        b"\n",
        b"\n" * 10_000,
        b"\x00" * 100,
        b"\xff\xfe{\x00",
        b"{}\n",
        b"null\n",
        b'"peanut-audit/v1"\n',
        b"x" * (2 * MAX_LINE),
        b"x" * (2 * MAX_LINE) + b"\n",
        b"[" * 500_000 + b"\n",
        b'{"a":' * 100_000 + b"\n",
        b"9" * 500_000 + b"\n",
        b'{"format":"peanut-audit/v1","from":9007199254740992,"frontier":[],"origin":"x"}\n',
        b'{"format":"peanut-audit/v1","from":-1,"frontier":[],"origin":"peanut.local/audit"}\n',
        b'{"format":"peanut-audit/v1","from":1,"frontier":["00"],"origin":"peanut.local/audit"}\n',
        b'{"format":"peanut-audit/v1","from":true,"frontier":[],"origin":"peanut.local/audit"}\n',
        b'{"format":"peanut-audit/v1","from":0,"frontier":{},"origin":"peanut.local/audit"}\n',
        b'{"format":"peanut-audit/v2","from":0,"frontier":[],"origin":"peanut.local/audit"}\n',
        b'{"checkpoint":1}\n',
        b'{"checkpoint":""}\n',
    ],
    ids=lambda data: repr(data[:40]),
)
def test_what_no_log_has_written_is_never_sound(data: bytes) -> None:
    whole = export(log(2))

    reports = [
        verified(data),
        verified(whole.lines[0] + data),
        verified(b"".join(whole.lines[:2]) + data + b"".join(whole.lines[2:])),
        verified(whole.data + data),
    ]

    assert [report.status for report in reports] == [TAMPERED] * 4


@pytest.mark.parametrize(
    "edit",
    [
        ("\n2\n", "\n02\n"),
        ("\n2\n", "\n+2\n"),
        ("\n2\n", "\n٢\n"),
        ("\n2\n", "\n" + "9" * 5000 + "\n"),
        ("\n\n", "\nextension\n\n"),
        ("=\n", "=\r\n"),
        ("— ", "-- "),
        ("\n\n", "\n"),
        ("=", "%"),
    ],
    ids=str,
)
def test_a_checkpoint_is_written_in_one_way(edit: tuple[str, str]) -> None:
    file = export(log(2))
    note = checkpoint(log(2)).replace(*edit, 1)
    forged = b'{"checkpoint":"%b"}\n' % note.replace("\r", "\\r").replace("\n", "\\n").encode()

    assert verified(file.replaced(-1, forged)).status == TAMPERED


def test_a_line_without_end_is_not_read_to_its_end() -> None:
    class Endless(io.RawIOBase):
        given = 0

        def read(self, size: int = -1) -> bytes:
            self.given += size
            assert self.given < 2 * MAX_LINE
            return b"x" * size

    assert verify_stream(Endless(), trusting()).status == TAMPERED  # type: ignore[arg-type]  # all it needs is read


def test_a_file_is_the_same_in_parts_as_in_one(tmp_path: Path, large: list[Row]) -> None:
    chance = random.Random(8)
    trust = trusting(since=checkpoint(large[:100]))
    data = export(large).data
    file = tmp_path / "export.jsonl"
    for _ in range(60):
        forged = bytearray(data)
        if chance.random() < 0.8:
            forged[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        if chance.random() < 0.2:
            del forged[chance.randrange(len(data)) :]
        file.write_bytes(forged)
        parts = file_parts(str(file), os.stat(file), 100, range_bytes=chance.choice((100, 1500, 4096, 65536, 100_001)))

        assert verdict(parts, trust) == verify_stream(io.BytesIO(forged), trust)


def test_long_lines_at_the_borders_of_parts_are_found(tmp_path: Path) -> None:
    whole = export(log(3))
    file = tmp_path / "export.jsonl"
    for length in (MAX_LINE - 1, MAX_LINE, MAX_LINE + 1, 2 * MAX_LINE + 5):
        for end in (b"\n", b""):
            file.write_bytes(b"".join(whole.lines[:2]) + b"x" * length + end)
            for range_bytes in (1 << 18, 1 << 19):
                parts = file_parts(str(file), os.stat(file), range_bytes=range_bytes)

                assert verdict(parts, trusting()) == verify_stream(io.BytesIO(file.read_bytes()), trusting())


def test_a_file_that_is_replaced_while_it_is_read_cannot_be_checked(tmp_path: Path) -> None:
    file, other = tmp_path / "export.jsonl", tmp_path / "other.jsonl"
    for each in (file, other):
        each.write_bytes(export(log(3)).data)
    parts = file_parts(str(file), os.stat(other))

    with pytest.raises(Uncheckable, match="replaced"):
        verdict(parts, trusting())


def test_processes_find_what_one_finds(tmp_path: Path) -> None:
    rows = sealed([draft(id=f"{number}") for number in range(4500)], random.Random(2))
    data = bytearray(export(rows).data)
    file = tmp_path / "export.jsonl"
    file.write_bytes(data)

    sound = verify_file(str(file), trusting(), jobs=2)
    place = data.index(b'"index":3000,')
    data[place - 30] ^= 1
    data[-len(data) // 8] ^= 1
    file.write_bytes(data)
    forged = verify_file(str(file), trusting(), jobs=2)

    assert (sound.status, sound.entries) == (SOUND, 4500)
    assert (forged.status, forged.first_bad, forged.line) == (TAMPERED, 3000, 3002)


def test_the_roots_are_those_of_the_services_own_code() -> None:
    leaves = [bytes([number]) * 32 for number in range(70)]

    from peanut_verify import Tree, complete_subtrees

    for size in range(71):
        tree = Tree()
        for first in range(0, size, 13):
            part = leaves[first : min(first + 13, size)]
            tree.grow(complete_subtrees(first, [leaf_hash(leaf) for leaf in part]), len(part))

        assert (tree.size, tree.root) == (size, root_of(leaf_hash(leaf) for leaf in leaves[:size]))


def test_a_key_is_written_in_one_way() -> None:
    key = parse_key(SIGNER.verifier.text, LOG_KEY)

    assert key.text == SIGNER.verifier.text
