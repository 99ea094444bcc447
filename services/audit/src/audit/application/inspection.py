"""Inspection: verification and queries on a snapshot of the log, in a process of their own."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from audit.application.evidence import Readable
from audit.application.growing import stored_tree
from audit.application.ports import Filters, LogDamaged, LogReader, Snapshot
from audit.application.signing import Known, NotSigned, Signed, newest_signed
from audit.domain.chain import EMPTY, Head
from audit.domain.entry import Row, follows, lacking
from audit.domain.erasure import erasure_in
from audit.domain.proving import NotProved, Proofs
from audit.domain.tree import cut
from audit.domain.verification import NOTHING, Marks, Prefix, Verification
from shared.tlog.merkle import Frontier, ProofRefused, leaf_hash
from shared.tlog.tiles import TILE_WIDTH

WHOLE_UP_TO = 10_000
"""Up to so many entries the whole log is verified for every query."""

CHUNK = 500
FEW_NEW = 64
"""More new entries than these are verified by the next pass; each look at the end would read them once more."""


@dataclass(frozen=True, slots=True)
class Counted:
    """How many entries match, of those up to the one at `last`."""

    last: int = -1
    total: int = 0


_NOT_COUNTED = Counted()


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A page of the entries that match. Those that were counted before are not counted again."""

    filters: Filters
    page: int
    limit: int
    counted: Counted = _NOT_COUNTED


@dataclass(frozen=True, slots=True)
class Found:
    """What a question found. `previous` holds the stored fingerprints before the entries, by index."""

    rows: list[Row]
    previous: dict[int, bytes]
    counted: Counted

    @property
    def total(self) -> int:
        """How many entries match."""
        return self.counted.total


@dataclass(slots=True)
class Findings:
    """What one look at the log showed.

    `prefix` is how far it was verified, `proved` the part of it that the checkpoint `newest` is of. `whole`: from its
    first entry to its last; `behind`: so much is not proved yet that it was left to the scrubber. `digest` is that of a
    stretch of full tiles.
    """

    found: list[Found] = field(default_factory=list)
    prefix: Prefix = NOTHING
    proved: Prefix = NOTHING
    newest: Signed | None = None
    digest: bytes | None = None
    first_bad: int | None = None
    whole: bool = False
    behind: bool = False

    @property
    def signed_size(self) -> int:
        """How many entries the newest checkpoint is of."""
        return self.newest.checkpoint.size if self.newest else 0

    def found_bad(self, index: int | None) -> None:
        """The entry at `index` is bad; None is none."""
        if index is not None:
            self.first_bad = index if self.first_bad is None else min(index, self.first_bad)


def look(reader: LogReader, questions: Sequence[Question], known: Known) -> Findings:
    """Answers the questions and verifies what stands behind the answers, all on one snapshot.

    A short log is verified from its first entry to its last. Of a long one, everything after the newest checkpoint that
    was met before, and by its way to the root of that checkpoint each entry that is shown.
    """
    with reader.snapshot() as snapshot:
        last = snapshot.last_index()
        if last < WHOLE_UP_TO:
            findings = _verify(snapshot, Prefix(counted=last), known, last)
            findings.whole = True
        else:
            findings = _verify_end(snapshot, known, last, at_most=WHOLE_UP_TO)
        findings.found = [_find(snapshot, question) for question in questions]
        if not findings.whole:
            _vouch(snapshot, findings)
    return findings


def look_at_end(reader: LogReader, known: Known) -> Findings:
    """Verifies what was appended since the newest checkpoint that was met before, or relied on for its tiles.

    Where more than FEW_NEW entries were, the tiles take the place of those up to the newest checkpoint.
    """
    with reader.snapshot() as snapshot:
        return _verify_end(snapshot, known, snapshot.last_index(), at_most=FEW_NEW)


def look_at_stretch(reader: LogReader, start: Prefix, known: Known, entries: int) -> Findings:
    """Verifies at most so many entries after `start`; `whole` says that the log's end was reached.

    The digest is that of `digest_of`, if all of these entries are there, sound and in full tiles.
    """
    with reader.snapshot() as snapshot:
        end = snapshot.last_index()
        if start == NOTHING:
            start = Prefix(counted=end)
        last = min(end, start.head.index + entries)
        findings = _verify(snapshot, start, known, last, ends=last == end)
        findings.whole = last == end
        if findings.first_bad is None and start.size + entries <= min(last + 1, findings.signed_size):
            findings.digest = snapshot.digest(start.size, last)
    return findings


def digest_of(reader: LogReader, first: int, entries: int) -> bytes | None:
    """A hash over all that is stored of so many entries and of their tiles; None when that is damaged."""
    with reader.snapshot() as snapshot:
        try:
            return snapshot.digest(first, first + entries - 1)
        except LogDamaged:
            return None


def are_tiles_sound(reader: LogReader, known: Known) -> bool:
    """Whether the tiles above those of leaves are those of the checkpoint that was met last."""
    with reader.snapshot() as snapshot:
        try:
            Proofs(known.base, Readable(snapshot)).prove_upper()
        except NotProved:
            return False
    return True


def _verify_end(snapshot: Snapshot, known: Known, last: int, *, at_most: int) -> Findings:
    base = known.base
    if last - base.head.index > at_most or not base.size:
        base = _as_the_tiles_say(snapshot, known)
    if last - base.head.index > at_most:
        return _behind(snapshot, base, known, last)
    return _verify(snapshot, base, known, last)


def _behind(snapshot: Snapshot, base: Prefix, known: Known, last: int) -> Findings:
    """What can be said without reading the entries: whether the log is as long as it was, and its checkpoint signed."""
    findings = Findings(prefix=base, proved=base, behind=True)
    if last < known.seen.index:
        findings.found_bad(last + 1)
    try:
        findings.newest = newest_signed(snapshot, known)
    except NotSigned as error:
        findings.found_bad(error.after)
    return findings


def _verify(snapshot: Snapshot, start: Prefix, known: Known, last: int, *, ends: bool = True) -> Findings:
    findings = Findings()
    try:
        findings.newest = newest_signed(snapshot, known)
    except NotSigned as error:
        findings.found_bad(error.after)
    checkpoints = (known.newest, findings.newest.checkpoint if findings.newest else None)
    roots = {met.size: met.root for met in checkpoints if met is not None and met.size > start.size}
    check = Verification(start, Marks(known.seen, roots), Readable(snapshot), tiled=findings.signed_size)
    while check.first_bad is None and check.head.index < last:
        _walk(snapshot, check, last)
    if check.head.index > last:
        check.stop_at(last + 1)
    elif ends:
        check.end()
    findings.found_bad(check.first_bad)
    findings.prefix = check.prefix
    findings.proved = check.met or (start if start.proved == start.size else NOTHING)
    return findings


def _walk(snapshot: Snapshot, check: Verification, last: int) -> None:
    before = check.head.index
    try:
        check.walk(snapshot.rows(before + 1, min(before + CHUNK, last)))
    except LogDamaged:
        check.stop()
    if check.first_bad is None and check.head.index == before:
        check.stop()  # a hole


def _as_the_tiles_say(snapshot: Snapshot, known: Known) -> Prefix:
    """The part of the log that its newest checkpoint is of, for who has met nothing of it, or not much.

    What is known already where the tiles do not lead to that checkpoint: the walk over the whole log will tell why.
    """
    try:
        signed = newest_signed(snapshot, known)
        if signed is None:
            return known.base
        prefix = _from_tiles(snapshot, signed.checkpoint.size)
        extends = not known.base.size or _from_tiles(snapshot, known.base.size).tree == known.base.tree
    except (NotSigned, ProofRefused, LogDamaged, ValueError, TypeError, KeyError):
        return known.base
    return prefix if extends and prefix.tree.root == signed.checkpoint.root else known.base


def _from_tiles(snapshot: Snapshot, size: int) -> Prefix:
    """Raises what `stored_tree` does."""
    stored = stored_tree(snapshot, size)
    tiles, edge = size // TILE_WIDTH, stored.edge
    upper = Frontier(tiles, edge.frontier.hashes[: tiles.bit_count()])
    return Prefix(stored.head, upper, tuple(cut(edge.tiles[0])), proved=size)


def _find(snapshot: Snapshot, question: Question) -> Found:
    rows = snapshot.newest(question.filters, question.limit, (question.page - 1) * question.limit)
    previous = snapshot.fingerprints([row.index - 1 for row in rows])
    return Found(rows, previous, _count(snapshot, question))


def _count(snapshot: Snapshot, question: Question) -> Counted:
    last, counted = snapshot.last_index(), question.counted
    if last < counted.last:
        counted = _NOT_COUNTED
    return Counted(last, counted.total + snapshot.total(question.filters, counted.last))


def _vouch(snapshot: Snapshot, findings: Findings) -> None:
    """Proves the entries that are shown; those after the checkpoint have been verified."""
    voucher = _Voucher(snapshot, findings)
    for found in findings.found:
        for row in found.rows:
            if not voucher.vouches_for(row, found.previous.get(row.index - 1, EMPTY.fingerprint)):
                findings.found_bad(row.index)


class _Voucher:
    def __init__(self, snapshot: Snapshot, findings: Findings) -> None:
        self._evidence = Readable(snapshot)
        self._verified = findings.prefix.size
        self._proved = findings.proved.size
        self._proofs = Proofs(findings.proved, self._evidence)

    def vouches_for(self, row: Row, previous: bytes) -> bool:
        """Whether the entry is what was written, or nothing can be said of it yet."""
        if row.index >= self._proved:
            return True
        before = Head(row.index - 1, previous)
        return self._is_in_tree(row) and (follows(row, before) or self._was_erased(row, before))

    def _is_in_tree(self, row: Row) -> bool:
        try:
            return self._proofs.leaf(row.index) == leaf_hash(row.fingerprint)
        except (NotProved, TypeError):
            return False

    def _was_erased(self, row: Row, before: Head) -> bool:
        gone = lacking(row, before)
        place = self._evidence.erasure_of(row.index) if gone else None
        if not gone or place is None or place >= self._verified:
            return False
        entry = next(self._evidence.rows(place, place), None)
        erasure = None if entry is None else erasure_in(entry)
        if entry is None or erasure is None or not erasure.has_erased(row, gone):
            return False
        return self.vouches_for(entry, self._evidence.fingerprints([place - 1]).get(place - 1, EMPTY.fingerprint))
