"""The file by itself, as an auditor has it: copied into an empty folder, with nothing of ours in reach."""

import json
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest

import peanut_verify
from audit.domain.entry import Row
from shared.tlog.notes import Cosigner, Signer
from tests.unit.audit.logs import draft
from tests.unit.verifier.exports import ORIGIN, SIGNER, checkpoint, export, sealed

Finished = subprocess.CompletedProcess[str]
Run = Callable[..., Finished]

WITNESS = Cosigner.generate("witness.example")
KEY = SIGNER.verifier.text


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The verifier, a public key and nothing else."""
    shutil.copy(peanut_verify.__file__, tmp_path)
    (tmp_path / "note.pub").write_text(f"{KEY}\n")
    return tmp_path


@pytest.fixture
def run(folder: Path) -> Run:
    def verify(*arguments: str, given: bytes = b"") -> Finished:
        command = [sys.executable, "-I", "peanut_verify.py", *arguments]
        finished = subprocess.run(command, cwd=folder, input=given, capture_output=True, timeout=60, check=False)
        return Finished(command, finished.returncode, finished.stdout.decode(), finished.stderr.decode())

    return verify


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return sealed([draft(id=f"{number}") for number in range(5)], random.Random(1))


def test_a_sound_export_is_valid(run: Run, folder: Path, rows: list[Row]) -> None:
    (folder / "export.jsonl").write_bytes(export(rows, witnesses=[WITNESS]).data)
    (folder / "earlier").write_text(checkpoint(rows[:2]))
    known = ("--key", "note.pub", "--origin", ORIGIN, "--since", "earlier", "--witness", WITNESS.verifier.text)

    finished = run("export.jsonl", *known)

    assert (finished.returncode, finished.stderr) == (0, "")
    assert finished.stdout.splitlines() == [
        "VALID: 5 entries, 0 to 4, all covered by a checkpoint of peanut.local/audit.",
        f"Key: {KEY}",
        "It extends the earlier checkpoint of 2 entries.",
        "Cosigned by witness.example at 2026-11-18T11:06:40Z.",
        "Personal fields erased: 0",
    ]


def test_a_forged_one_is_told_with_its_first_bad_entry(run: Run, rows: list[Row]) -> None:
    forged = export(rows).data.replace(b'"resourceId":"agent-1"', b'"resourceId":"agent-2"', 3)

    finished = run("-", "--key", KEY, given=forged)

    assert finished.returncode == 1
    assert finished.stdout.splitlines() == [
        "TAMPERED: first bad entry 0 (line 2): its fingerprint is not that of its content",
        "0 entries are covered by a sound checkpoint before that.",
    ]


def test_one_that_was_cut_off_is_sound_as_far_as_it_goes(run: Run, rows: list[Row]) -> None:
    finished = run("-", "--key", KEY, given=b"".join(export(rows).lines[:3]))

    assert finished.returncode == 3
    assert finished.stdout.splitlines() == [
        "CUT OFF: sound as far as it goes, but it ends before its checkpoint",
        "2 entries, 0 to 1; a checkpoint covers the log up to 0 entries.",
        f"Key: {KEY}",
        "Personal fields erased: 0",
    ]


def test_machines_get_one_object(run: Run, rows: list[Row]) -> None:
    lines = export(rows).lines
    files = [b"".join(lines), b"".join((*lines[:2], *lines[3:])), b"".join(lines[:-1])]

    reports = [json.loads(run("-", "--key", KEY, "--json", given=data).stdout) for data in files]

    assert [(report["status"], report["exitStatus"], report["firstBadIndex"]) for report in reports] == [
        ("valid", 0, None),
        ("tampered", 1, 1),
        ("cut-off", 3, None),
    ]
    assert reports[0] | {"key": KEY, "entries": 5, "coveredEntries": 5, "erasedFields": 0} == reports[0]


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("-",),
        ("missing.jsonl", "--key", KEY),
        (".", "--key", KEY),
        ("-", "--key", "missing.pub"),
        ("-", "--key", "peanut_verify.py"),
        ("-", "--key", KEY[:-2]),
        ("-", "--key", WITNESS.verifier.text),
        ("-", "--key", KEY, "--witness", KEY),
        ("-", "--key", KEY, "--since", "note.pub"),
        ("-", "--key", KEY, "--since", "missing"),
        ("-", "--key", KEY, "--jobs", "many"),
    ],
    ids=count(),
)
def test_what_cannot_be_checked_says_so(run: Run, rows: list[Row], arguments: tuple[str, ...]) -> None:
    finished = run(*arguments, given=export(rows).data)

    assert finished.returncode == 2
    assert "Traceback" not in finished.stderr
    assert finished.stdout.startswith("CANNOT BE CHECKED: ") or finished.stderr.startswith("usage: ")


def test_another_origin_or_an_earlier_checkpoint_of_a_stranger_is_not_passed_over(
    run: Run, folder: Path, rows: list[Row]
) -> None:
    (folder / "earlier").write_text(checkpoint(rows[:2], signer=Signer.generate(ORIGIN)))
    data = export(rows).data

    statuses = [
        run("-", "--key", KEY, "--origin", "other.example/audit", given=data).returncode,
        run("-", "--key", KEY, "--since", "earlier", given=data).returncode,
    ]

    assert statuses == [1, 2]


def test_a_large_file_is_read_by_several_processes(run: Run, folder: Path) -> None:
    rows = sealed([draft(id=f"{number}") for number in range(4500)], random.Random(2))
    (folder / "export.jsonl").write_bytes(export(rows).data)

    finished = run("export.jsonl", "--key", "note.pub", "--jobs", "2", "--json")

    assert (finished.returncode, json.loads(finished.stdout)["entries"]) == (0, 4500)


def test_an_answer_that_nobody_can_read_is_no_answer(folder: Path, rows: list[Row]) -> None:
    command = f"{sys.executable} -I peanut_verify.py - --key note.pub >/dev/full"

    finished = subprocess.run(
        command, shell=True, cwd=folder, input=export(rows).data, capture_output=True, timeout=60, check=False
    )

    assert (finished.returncode, finished.stderr) == (2, b"")
