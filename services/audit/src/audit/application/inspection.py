"""Inspection: verification and queries on a snapshot of the log, in a process of their own."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from audit.application.ports import Filters, LogDamaged, LogReader, Snapshot
from audit.domain.chain import EMPTY, Head
from audit.domain.entry import Row
from audit.domain.verification import Anchors, Verification

WHOLE_UP_TO = 10_000
"""Up to so many entries the whole log is verified for every query."""

CHUNK = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A page of the entries that match."""

    filters: Filters
    page: int
    limit: int


@dataclass(frozen=True, slots=True)
class Found:
    """What a question found. `previous` holds the stored fingerprints before the entries, by index."""

    rows: list[Row]
    previous: dict[int, bytes]
    total: int


@dataclass(slots=True)
class Findings:
    """What one look at the log showed.

    `sound` are verified entries that were not known as such, up to `head`. `whole`: the log's end was reached;
    `behind`: so many entries are new that they were left to the scrubber.
    """

    found: list[Found] = field(default_factory=list)
    sound: list[Head] = field(default_factory=list)
    head: Head = EMPTY
    first_bad: int | None = None
    whole: bool = False
    behind: bool = False


def look(reader: LogReader, questions: Sequence[Question], anchors: Anchors, seen: Head) -> Findings:
    """Answers the questions and verifies what stands behind the answers, all on one snapshot.

    A short log is verified from its first entry to its last. Of a long one, everything after `anchors` and the
    segments around each entry that is shown.
    """
    with reader.snapshot() as snapshot:
        last = snapshot.last_index()
        whole = last < WHOLE_UP_TO
        findings = Findings(whole=whole, behind=last - anchors.head.index > WHOLE_UP_TO, head=anchors.head)
        if not findings.behind:
            _verify(snapshot, Verification(EMPTY if whole else anchors.head, anchors, seen), last, findings)
        findings.found = [_find(snapshot, question) for question in questions]
        if not whole:
            _vouch(snapshot, findings, anchors, seen)
        findings.sound = [head for head in findings.sound if head.index > anchors.head.index]
    return findings


def look_at_stretch(reader: LogReader, start: Head, anchors: Anchors, seen: Head, entries: int) -> Findings:
    """Verifies at most so many entries after `start`; `whole` says that the log's end was reached."""
    with reader.snapshot() as snapshot:
        end = snapshot.last_index()
        last = min(end, start.index + entries)
        findings = Findings(whole=last == end)
        _verify(snapshot, Verification(start, anchors, seen), last, findings, ends=findings.whole)
        findings.sound = [head for head in findings.sound if head.index > anchors.head.index]
    return findings


def _verify(snapshot: Snapshot, check: Verification, last: int, findings: Findings, *, ends: bool = True) -> None:
    if check.head.index > last:
        findings.head, findings.first_bad = Head(last, b""), last + 1
        return
    while check.first_bad is None and check.head.index < last:
        before = check.head.index
        try:
            findings.sound += check.walk(snapshot.rows(before + 1, min(before + CHUNK, last)))
        except LogDamaged:
            check.stop()
        if check.first_bad is None and check.head.index == before:
            check.stop()  # a hole
    if ends:
        check.end()
    findings.head, findings.first_bad = check.head, check.first_bad


def _find(snapshot: Snapshot, question: Question) -> Found:
    rows = snapshot.newest(question.filters, question.limit, (question.page - 1) * question.limit)
    previous = snapshot.fingerprints([row.index - 1 for row in rows])
    return Found(rows, previous, snapshot.total(question.filters))


def _vouch(snapshot: Snapshot, findings: Findings, anchors: Anchors, seen: Head) -> None:
    """Verifies, from disk, the segments of the entries that are shown; those after `anchors` have been verified."""
    shown = {row.index for found in findings.found for row in found.rows} | {anchors.head.index}
    for start, end in sorted({anchors.around(index) for index in shown if 0 <= index <= anchors.head.index}):
        check = Verification(start, anchors, seen)
        stretch = Findings()
        _verify(snapshot, check, end.index, stretch, ends=False)
        if check.head != end:
            bad = check.head.index + 1
            findings.first_bad = bad if findings.first_bad is None else min(bad, findings.first_bad)
            return
