#!/usr/bin/env python3
"""Checks an exported PeanutAgent audit log: `python3 peanut_verify.py export.jsonl --key note.pub`.

This file is all there is: copy it anywhere. It needs Python 3.11 and the package `cryptography`, and nothing of ours;
it was written after docs/audit-format.md alone. It reads top-down: the command, the walk over the file, its lines, and
at the bottom what RFC 8785 (canonical JSON), RFC 6962 (trees) and C2SP (signed notes) ask for.
"""

from __future__ import annotations

import sys

if sys.version_info < (3, 11):  # noqa: UP036 - it is copied to machines that we do not know
    sys.stderr.write("cannot be checked: this needs Python 3.11 or newer\n")
    sys.exit(2)

import argparse
import base64
import json
import os
import re
import signal
import stat
import struct
from array import array
from binascii import unhexlify
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, partial
from hashlib import sha256
from itertools import compress
from operator import ge
from typing import Any, BinaryIO, NamedTuple, NoReturn

try:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
except ImportError:
    sys.stderr.write("cannot be checked: the Python package `cryptography` is missing (pip install cryptography)\n")
    sys.exit(2)

SOUND, TAMPERED, UNCHECKED, CUT_OFF = range(4)
"""The exit statuses."""

MAX_LINE = 1 << 20
"""Bytes of the longest line there is; what is longer was not written by the log."""
MAX_INTEGER = 2**53 - 1
MAX_WAITING = 16_000_000
"""Entries without a value, and ranges that erasures name, that are kept in mind at once: some 256 MB."""


class Refused(Exception):
    """Something is not as the log writes it. The message says what, in words and without a byte of the file.

    `index` is the first bad entry where the place of the fault does not say it; NOWHERE if none can be named.
    """

    def __init__(self, reason: str, index: int | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.index = index


class Uncheckable(Exception):
    """It cannot be found out whether the log is what was written; the message says why."""


NOWHERE = -1


# ---- The command


def main(arguments: Sequence[str] | None = None) -> int:
    """Checks, says what was found, and returns the exit status."""
    options = _parser().parse_args(arguments)
    try:
        report = _checked(options)
    except Uncheckable as error:
        report = Report(UNCHECKED, str(error))
    except OSError as error:
        report = Report(UNCHECKED, f"{error.filename or 'the file'} cannot be read: {error.strerror or error}")
    except BrokenProcessPool:
        report = Report(UNCHECKED, "a process that read the file was stopped from outside")
    except (MemoryError, RecursionError) as error:
        report = Report(UNCHECKED, f"this machine has not enough room ({type(error).__name__})")
    except KeyboardInterrupt:
        report = Report(UNCHECKED, "interrupted")
    return report.status if _said(report.as_json() if options.json else report.as_text()) else UNCHECKED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="peanut-verify",
        description="Checks an exported audit log against the log's public key.",
        epilog="Exit status: 0 all right; 1 tampered with; 2 cannot be checked; 3 sound, but cut off before its end.",
    )
    parser.add_argument("export", help="the file of JSON Lines; - for standard input")
    parser.add_argument("--key", required=True, help="the log's public key (name+hash+base64), or a file that holds it")
    parser.add_argument("--origin", help="the log's name in its checkpoints (the name of the key)")
    parser.add_argument("--since", help="a file with an earlier checkpoint, which the log must extend")
    parser.add_argument(
        "--witness", action="append", default=[], help="a witness's public key, or its file, that must have cosigned"
    )
    parser.add_argument("--jobs", type=int, default=_cores(), help="processes that read a large file (%(default)s)")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of lines for people")
    return parser


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _checked(options: argparse.Namespace) -> Report:
    key = _key(options.key, LOG_KEY)
    trust = Trust(
        key=key,
        origin=key.name if options.origin is None else options.origin,
        since=None if options.since is None else _earlier(options.since),
        witnesses=tuple(_key(witness, WITNESS_KEY) for witness in options.witness),
    )
    if options.export == "-" and sys.stdin is None:
        raise Uncheckable("there is no standard input")
    if options.export == "-":
        return verify_stream(sys.stdin.buffer, trust)
    return verify_file(options.export, trust, jobs=options.jobs)


def _key(given: str, kind: int) -> Key:
    text = given if given.count("+") >= 2 and not os.path.exists(given) else _small_file(given).removesuffix("\n")
    try:
        return parse_key(text, kind)
    except Refused as error:
        raise Uncheckable(f"{given!a} is not a key that can be used here: {error.reason}") from None


def _earlier(file: str) -> Since:
    try:
        note = parse_note(_small_file(file))
        return Since(parse_checkpoint(note.text), note)
    except Refused as error:
        raise Uncheckable(f"{file!a} is not a checkpoint: {error.reason}") from None


def _small_file(name: str) -> str:
    try:
        with open(name, "rb") as file:
            return file.read(MAX_NOTE + 1).decode()
    except ValueError:  # not UTF-8, or a name with a NUL
        raise Uncheckable(f"{name!a} is not a text file") from None


def _said(text: str) -> bool:
    if sys.stdout is None:  # closed by who started this
        return False
    try:
        sys.stdout.write(text.encode("ascii", "backslashreplace").decode())  # no name can command a terminal
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the interpreter says it once more
        return False
    return True


@dataclass(frozen=True, slots=True)
class Report:
    """What was found."""

    status: int
    reason: str = ""
    first_bad: int | None = None
    line: int | None = None
    origin: str | None = None
    first: int | None = None
    entries: int = 0
    covered: int = 0
    """Entries from the log's beginning that the last sound checkpoint in the file covers."""
    erased: int = 0
    waiting: int = 0
    """Values that are missing, and whose erasure would have to come after the end of a cut-off file."""
    key: str | None = None
    key_changes: int = 0
    since: int | None = None
    cosigned: tuple[tuple[str, int], ...] = ()
    """Names of witnesses, and the Unix seconds of their cosignatures."""

    def as_json(self) -> str:
        """For machines: one object, one line."""
        found = {
            "status": ("valid", "tampered", "unchecked", "cut-off")[self.status],
            "exitStatus": self.status,
            "reason": self.reason,
            "firstBadIndex": self.first_bad,
            "line": self.line,
            "origin": self.origin,
            "firstIndex": self.first,
            "entries": self.entries,
            "coveredEntries": self.covered,
            "erasedFields": self.erased,
            "unexplainedFields": self.waiting,
            "key": self.key,
            "keyChanges": self.key_changes,
            "since": self.since,
            "cosignatures": [{"witness": name, "time": time} for name, time in self.cosigned],
        }
        return json.dumps(found) + "\n"

    def as_text(self) -> str:
        """For people: a few plain lines."""
        return "".join(f"{line}\n" for line in self._lines())

    def _lines(self) -> Iterator[str]:
        where = "" if self.line is None else f" (line {self.line})"
        if self.status == UNCHECKED:
            yield f"CANNOT BE CHECKED: {self.reason}"
            return
        if self.status == TAMPERED:
            bad = "no single entry can be named" if self.first_bad is None else f"first bad entry {self.first_bad}"
            yield f"TAMPERED: {bad}{where}: {self.reason}"
            yield f"{self.covered} entries are covered by a sound checkpoint before that."
            return
        if self.status == CUT_OFF:
            yield f"CUT OFF: sound as far as it goes, but {self.reason}"
            yield f"{self._counted()}; a checkpoint covers the log up to {self.covered} entries."
            if self.waiting:
                yield f"{self.waiting} personal fields are missing, and no erasure in this file names them."
        else:
            yield f"VALID: {self._counted()}, all covered by a checkpoint of {self.origin}."
        yield f"Key: {self.key}" + (f", after {self.key_changes} changes of key" if self.key_changes else "")
        if self.since is not None:
            yield f"It extends the earlier checkpoint of {self.since} entries."
        for name, time in self.cosigned:
            yield f"Cosigned by {name} at {_time(time)}."
        yield f"Personal fields erased: {self.erased}"

    def _counted(self) -> str:
        if not self.entries or self.first is None:
            return "no entries"
        return f"{self.entries} entries, {self.first} to {self.first + self.entries - 1}"


def _time(seconds: int) -> str:
    try:
        return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
    except (ValueError, OverflowError, OSError):
        return f"{seconds} s after 1970"


# ---- The walk over the file


@dataclass(frozen=True, slots=True)
class Since:
    """A checkpoint that was seen earlier, and the note that it stood in."""

    checkpoint: Checkpoint
    note: Note


@dataclass(frozen=True, slots=True)
class Trust:
    """What the verifier knows beforehand, and measures the file by."""

    key: Key
    origin: str
    since: Since | None = None
    witnesses: tuple[Key, ...] = ()

    @property
    def cut(self) -> int:
        """The size at which the root of the tree is wanted."""
        return NOWHERE if self.since is None else self.since.checkpoint.size


def verify_stream(stream: BinaryIO, trust: Trust) -> Report:
    """Checks what the stream gives, in this process."""
    return verdict(stream_parts(stream, trust.cut), trust)


def verify_file(name: str, trust: Trust, *, jobs: int = 1) -> Report:
    """Checks a file; a large one in several processes. Raises OSError when it cannot be read."""
    with open(name, "rb") as file:
        status = os.fstat(file.fileno())
        if jobs < 2 or not stat.S_ISREG(status.st_mode) or status.st_size < 4 * RANGE_BYTES:
            return verify_stream(file, trust)
    with ProcessPoolExecutor(jobs, initializer=_leave_interrupts_to_parent) as processes:
        parts = file_parts(name, status, trust.cut, in_order=partial(_in_order, processes, ahead=2 * jobs))
        try:
            return verdict(parts, trust)
        finally:
            processes.shutdown(wait=False, cancel_futures=True)


def _leave_interrupts_to_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _in_order(
    processes: ProcessPoolExecutor, work: Callable[[int], Part], places: Iterable[int], *, ahead: int
) -> Iterator[Part]:
    """Like `map`, with no more than `ahead` places under way: memory does not grow with the file."""
    under_way: deque[Future[Part]] = deque()
    for place in places:
        under_way.append(processes.submit(work, place))
        if len(under_way) > ahead:
            yield under_way.popleft().result()
    while under_way:
        yield under_way.popleft().result()


def verdict(parts: Iterable[Part], trust: Trust) -> Report:
    """What is to be said of a file with these parts."""
    walk = Walk(trust)
    try:
        for part in parts:
            walk.take(part)
        return walk.end()
    except Refused as fault:
        return walk.refused(fault)


class Walk:
    """Goes over the parts of an export in order, and joins at their borders what was checked within them."""

    def __init__(self, trust: Trust) -> None:
        self._trust = trust
        self._keys = FollowedKeys(trust.key)
        self._tree = Tree()
        self._first: int | None = None
        self._previous: bytes | None = None
        self._line = 0
        self._lines_before = 0
        self._last: Note | None = None
        self._covered = 0
        self._since: bool | None = None
        self._missing = Missing()
        self._remainder: str | None = "it is empty"
        """Why the file does not end here; None behind a checkpoint."""

    def take(self, part: Part) -> None:
        """Goes on over the next part. Raises Refused at the first fault, Uncheckable when it can hold no more."""
        for event in part.events:
            self._line = self._lines_before + event.line
            if isinstance(event, Run):
                self._run(event)
            elif isinstance(event, Header):
                self._header(event)
            elif isinstance(event, CheckpointLine):
                self._checkpoint(event)
            elif isinstance(event, KeyChange):
                self._keys.follow(event)
            elif isinstance(event, Erasure):
                self._missing.explain(event)
            elif isinstance(event, Torn):
                self._torn(event)
            else:
                raise Refused(event.reason, event.bad)
        self._lines_before += part.lines

    def end(self) -> Report:
        """The verdict on a file that ends here."""
        self._line = 0
        waiting, first_unexplained = self._missing.unexplained()
        if self._remainder is None and self._first is not None:
            if waiting:
                raise Refused("a personal value is missing, and no later entry says it was erased", first_unexplained)
            cosigned = tuple((witness.name, self._cosigned_by(witness)) for witness in self._trust.witnesses)
            self._extends_the_earlier()
            return self._report(SOUND, cosigned=cosigned, erased=self._missing.count)
        if self._since is False:
            self._extends_the_earlier()
        return self._report(
            CUT_OFF, self._remainder or "it is empty", erased=self._missing.count - waiting, waiting=waiting
        )

    def refused(self, fault: Refused) -> Report:
        """The verdict on a file with a fault at the place that the walk has come to."""
        index: int | None = self._tree.size if fault.index is None else fault.index
        if index == NOWHERE or (self._first is None and fault.index is None):
            index = None
        return self._report(TAMPERED, fault.reason, first_bad=index, line=self._line or None)

    def _report(self, status: int, reason: str = "", **found: Any) -> Report:
        first = self._first
        return Report(
            status,
            reason,
            origin=self._trust.origin,
            first=first,
            entries=0 if first is None else self._tree.size - first,
            covered=self._covered,
            key=self._keys.current.text,
            key_changes=self._keys.changes,
            since=self._trust.cut if self._since else None,
            **found,
        )

    def _header(self, header: Header) -> None:
        if header.origin != self._trust.origin:
            raise Refused("the export names another log as its origin", NOWHERE)
        if self._first is None:
            self._tree = Tree(header.start, header.frontier)
            self._first = header.start
            self._previous = GENESIS if header.start == 0 else None
            self._at_size()
        elif header.start != self._tree.size:
            raise Refused("the export is resumed at another place than where it ended")
        elif header.frontier != self._tree.hashes:
            raise Refused("the export is resumed on a tree that is not the one of the entries before", NOWHERE)
        self._remainder = "it ends before its checkpoint"

    def _run(self, run: Run) -> None:
        if self._first is None:
            raise Refused("an export begins with a line that names its format", NOWHERE)
        if self._remainder is None:
            raise Refused("an entry stands behind the checkpoint that ends an export")
        if run.first != self._tree.size:
            raise Refused(_ANOTHER_NUMBER.format(run.first))
        if self._previous not in (None, run.previous):
            raise Refused(_ANOTHER_BEFORE)
        self._previous = run.last
        self._tree.grow(run.subtrees, run.entries)
        self._missing.add(run.missing)
        self._at_size()

    def _at_size(self) -> None:
        since = self._trust.since
        if since is not None and since.checkpoint.size == self._tree.size:
            self._since = since.checkpoint.root == self._tree.root

    def _checkpoint(self, line: CheckpointLine) -> None:
        if self._first is None:
            raise Refused("an export begins with a line that names its format", NOWHERE)
        if self._remainder is None:
            raise Refused("two checkpoints end one export", NOWHERE)
        checkpoint = signed_checkpoint(line.note, self._keys.for_checkpoints(), self._trust.origin)
        size = self._tree.size
        if checkpoint.size > size:
            raise Refused(f"the entry is missing: the checkpoint covers {checkpoint.size} entries", size)
        if checkpoint.size < size:
            raise Refused("the entry is not covered by the checkpoint that ends the export", checkpoint.size)
        if checkpoint.root != self._tree.root:
            where = f"among entries {self._covered} to {size - 1} " if size > self._covered else ""
            raise Refused(f"{where}there are other entries than those that the checkpoint was signed for", NOWHERE)
        self._covered = size
        self._last = line.note
        self._remainder = None

    def _torn(self, torn: Torn) -> None:
        is_within = self._first is not None and self._remainder is not None
        begins = (b'{"body":{', b'{"checkpoint":"', b'{"format":"') if is_within else (b'{"format":"',)
        if not any(torn.text.startswith(begin[: len(torn.text)]) for begin in begins):
            raise Refused("the last line is not one of an export")
        self._remainder = "its last line is cut off"

    def _cosigned_by(self, witness: Key) -> int:
        if self._last is None:
            raise AssertionError("a sound file has a checkpoint")
        return cosignature_time(self._last, witness)

    def _extends_the_earlier(self) -> None:
        """Raises Refused unless the log begins with what the earlier checkpoint covers."""
        since = self._trust.since
        if since is None:
            return
        checkpoint = since.checkpoint
        if checkpoint.origin != self._trust.origin or not self._keys.have_signed(since.note):
            raise Uncheckable("the earlier checkpoint is not signed by this log")
        if self._since is None and self._first is not None and checkpoint.size < self._first:
            raise Uncheckable(f"the file begins behind the earlier checkpoint, of {checkpoint.size} entries")
        if self._since is None:
            raise Refused(f"the entry is missing: an earlier checkpoint covers {checkpoint.size} entries")
        if not self._since:
            reason = f"the first {checkpoint.size} entries are not those that the earlier checkpoint covers"
            raise Refused(reason, NOWHERE)


class Missing:
    """The personal values that are not there, and the erasures that say why."""

    def __init__(self) -> None:
        self._entries = array("Q")
        """8 times the index, and a bit for each of PERSONAL_FIELDS; in order."""
        self._erased = [Ranges() for _ in PERSONAL_FIELDS]

    def add(self, entries: array[int]) -> None:
        """Values that are missing in entries behind all that were added before."""
        self._entries += entries
        if len(self._entries) > MAX_WAITING:
            raise Uncheckable(f"more than {MAX_WAITING} entries lack personal values")

    def explain(self, erasure: Erasure) -> None:
        """Entries behind the erased ones say that they were erased."""
        for place in erasure.fields:
            self._erased[place].add(erasure.ranges)

    @property
    def count(self) -> int:
        """How many values are missing."""
        return sum((entry & 7).bit_count() for entry in self._entries)

    def unexplained(self) -> tuple[int, int | None]:
        """How many of them no erasure covers, and the first entry that has such a one."""
        count, first = 0, None
        for ranges in self._erased:
            ranges.join()
        for entry in self._entries:
            index, fields = entry >> 3, entry & 7
            lacking = [p for p, ranges in enumerate(self._erased) if fields >> p & 1 and not ranges.hold(index)]
            if lacking and first is None:
                first = index
            count += len(lacking)
        return count, first


class Ranges:
    """A set of whole numbers, as ranges of them."""

    def __init__(self) -> None:
        self._firsts = array("Q")
        self._lasts = array("Q")
        self._join_at = 1 << 20

    def add(self, ranges: array[int]) -> None:
        """Pairs of a first and a last number."""
        self._firsts += ranges[::2]
        self._lasts += ranges[1::2]
        if len(self._firsts) >= self._join_at:
            self.join()
            if len(self._firsts) > MAX_WAITING:
                raise Uncheckable(f"more than {MAX_WAITING} separate ranges have been erased")
            self._join_at = max(1 << 20, 2 * len(self._firsts))

    def join(self) -> None:
        """Puts them in order, those that touch into one."""
        firsts, lasts = array("Q"), array("Q")
        for first, last in sorted(zip(self._firsts, self._lasts, strict=True)):
            if lasts and first <= lasts[-1] + 1:
                lasts[-1] = max(lasts[-1], last)
            else:
                firsts.append(first)
                lasts.append(last)
        self._firsts, self._lasts = firsts, lasts

    def hold(self, number: int) -> bool:
        """Whether it is in one of them; they have been joined since the last was added."""
        place = bisect_left(self._lasts, number)
        return place < len(self._firsts) and self._firsts[place] <= number


class FollowedKeys:
    """The key that the verifier trusts, and those that it hands over to in the log."""

    def __init__(self, pinned: Key) -> None:
        self.current = pinned
        self.changes = 0
        self._trusted = [pinned]
        self._named: Key | None = None
        """The log's key by its own last word, which may still be one from before the pinned one."""

    def follow(self, change: KeyChange) -> None:
        """Takes over the change when the trusted key, or one before it, has signed it. Raises Refused."""
        try:
            old, new = key_change(change.note)
        except Refused as error:
            raise Refused(f"a change of key that is none: {error.reason}", change.entry) from None
        if self._named not in (None, old) or old.name != self.current.name:
            raise Refused("a change of a key that was not the log's", change.entry)
        self._named = new
        self.changes += 1
        if old == self.current:
            self.current = new
            self._trusted.append(new)

    def for_checkpoints(self) -> Key:
        """The key that a checkpoint in this place is signed with."""
        if self._named not in (None, self.current):
            raise Refused("the log has changed to a key that the given one did not sign", NOWHERE)
        return self.current

    def have_signed(self, note: Note) -> bool:
        """Whether one of them has signed a checkpoint that was seen earlier."""
        return any(_has_signed(key, note) for key in self._trusted)


# ---- The parts of a file


class Run(NamedTuple):
    """Entries that follow each other and are sound in themselves. Fingerprints as they stand there, in hex."""

    line: int
    first: int
    entries: int
    previous: bytes
    last: bytes
    subtrees: list[tuple[int, bytes]]
    missing: array[int]


class Header(NamedTuple):
    """The first line of an export."""

    line: int
    start: int
    frontier: list[bytes]
    origin: str


class CheckpointLine(NamedTuple):
    """The last line of an export."""

    line: int
    note: Note


class KeyChange(NamedTuple):
    """What the entry before says of the log's key."""

    line: int
    entry: int
    note: str


class Erasure(NamedTuple):
    """What the entry before says was erased: places in PERSONAL_FIELDS, and first and last indexes in pairs."""

    line: int
    fields: list[int]
    ranges: array[int]


class Torn(NamedTuple):
    """The beginning of what stands behind the last line's end."""

    line: int
    text: bytes


class Fault(NamedTuple):
    """A line that the log did not write so, as Refused says it."""

    line: int
    reason: str
    bad: int | None = None


Event = Run | Header | CheckpointLine | KeyChange | Erasure | Torn | Fault


class Part(NamedTuple):
    """What was found in some lines, up to the first fault, and how many lines that are."""

    events: list[Event]
    lines: int


RANGE_BYTES = 1 << 20
"""How much of a file a process takes at once."""
BLOCK_BYTES = 1 << 18
"""How much of it is looked at at once: what fits into a core's cache is read twice as fast."""


def stream_parts(stream: BinaryIO, cut: int = NOWHERE) -> Iterator[Part]:
    """The parts of what a stream gives."""
    rest = b""
    while chunk := stream.read(BLOCK_BYTES):
        rest += chunk
        if len(rest) > MAX_LINE + BLOCK_BYTES:
            break
        end = rest.rfind(b"\n") + 1
        if end:
            yield check_lines([rest[:end]], cut)
            rest = rest[end:]
    yield _tail(rest, 1)


def file_parts(
    name: str,
    status: os.stat_result,
    cut: int = NOWHERE,
    *,
    in_order: Callable[[Callable[[int], Part], Iterable[int]], Iterator[Part]] = map,
    range_bytes: int = RANGE_BYTES,
) -> Iterator[Part]:
    """The parts of a regular file, each worked out by itself; `in_order` is `map` or something faster."""
    identity = (status.st_dev, status.st_ino)
    return in_order(partial(_check_range, name, identity, range_bytes, cut), range(0, status.st_size, range_bytes))


def _check_range(name: str, identity: tuple[int, int], range_bytes: int, cut: int, start: int) -> Part:
    """The part made of the lines that begin within a range."""
    with open(name, "rb") as file:
        status = os.fstat(file.fileno())
        if (status.st_dev, status.st_ino) != identity:
            raise Uncheckable("the file was replaced while it was read")
        if start:
            file.seek(start - 1)
            if not _skip_line(file, start + range_bytes):
                return Part([], 0)
        tails: list[bytes] = []
        part = check_lines(_blocks(file, start + range_bytes, tails), cut)
    tail = _tail(b"".join(tails), part.lines + 1)  # none has been reached when a fault comes before
    return Part(part.events + tail.events, part.lines)


def _skip_line(file: BinaryIO, end: int) -> bool:
    """Goes to the beginning of the next line; returns False when there is none before `end`."""
    while (piece := file.readline(BLOCK_BYTES)) and file.tell() <= end:
        if piece.endswith(b"\n"):
            return file.tell() < end
    return False


def _blocks(file: BinaryIO, end: int, tails: list[bytes]) -> Iterator[bytes]:
    """Whole lines that begin before `end`; then adds what comes behind the last one, if that has no end, to `tails`."""
    rest = b""
    while (wanted := min(BLOCK_BYTES, end - file.tell())) > 0 and (chunk := file.read(wanted)):
        block = rest + chunk
        whole = block.rfind(b"\n") + 1
        if whole:
            yield block[:whole]
        rest = block[whole:]
    if rest:
        rest += file.readline(MAX_LINE + 1)
    if rest.endswith(b"\n"):
        yield rest
        rest = b""
    tails.append(rest)


def _tail(rest: bytes, line: int) -> Part:
    """What stands behind the last end of a line."""
    if len(rest) > MAX_LINE:
        return Part([Fault(line, _TOO_LONG)], 0)
    return Part([Torn(line, rest[:64])] if rest else [], 0)


def check_lines(blocks: Iterable[bytes], cut: int = NOWHERE) -> Part:
    """Checks blocks of whole lines, as far as it can be done without those before. A run ends before entry `cut`."""
    gathering = _Gathering(cut)
    reader = quick_reader()
    try:
        for block in blocks:
            for found in reader.read(block):
                if isinstance(found, Stretch):
                    gathering.extend(found)
                else:
                    gathering.take(read_line(found), reader)
    except Refused as fault:
        gathering.end_run()
        gathering.events.append(Fault(gathering.lines + 1, fault.reason, fault.index))
    gathering.end_run()
    return Part(gathering.events, gathering.lines)


class _Gathering:
    """The events of some lines, as they are gathered."""

    def __init__(self, cut: int) -> None:
        self.events: list[Event] = []
        self.lines = 0
        self._cut = cut
        self._first = 0
        self._previous = self._last = b""
        self._hashes: list[bytes] = []
        self._missing = array("Q")

    def take(self, found: Entry | Header | CheckpointLine, reader: QuickReader) -> None:
        """Adds a line that was read by itself."""
        if not isinstance(found, Entry):
            self.end_run()
            self.lines += 1
            self.events.append(found._replace(line=self.lines))
            return
        self.extend(found.stretch)
        reader.learn(found.details)
        if found.meaning is not None:
            self.end_run()
            self.events.append(found.meaning._replace(line=self.lines))

    def extend(self, stretch: Stretch) -> None:
        """Adds entries. Raises Refused when they do not follow those before."""
        if stretch.first < self._cut < stretch.first + len(stretch.hashes):
            before, stretch = stretch.parted(self._cut)
            self.extend(before)
        if stretch.first == self._cut:
            self.end_run()
        if not self._hashes:
            self._first, self._previous, self._last = stretch.first, stretch.previous, stretch.previous
        if stretch.first != self._first + len(self._hashes):
            raise Refused(_ANOTHER_NUMBER.format(stretch.first))
        if stretch.previous != self._last:
            raise Refused(_ANOTHER_BEFORE)
        self._hashes += stretch.hashes
        self._missing += stretch.missing
        self._last = stretch.last
        self.lines += len(stretch.hashes)

    def end_run(self) -> None:
        """What comes next is not an entry that follows, or is to be told apart."""
        if self._hashes:
            subtrees = complete_subtrees(self._first, [sha256(b"\0" + hash).digest() for hash in self._hashes])
            line = self.lines - len(self._hashes) + 1
            entries = len(self._hashes)
            run = Run(line, self._first, entries, self._previous, self._last, subtrees, self._missing)
            self.events.append(run)
            self._hashes = []
            self._missing = array("Q")


# ---- The lines


PERSONAL_FIELDS = ("ipAddress", "userAgent", "userEmail")
GENESIS = b"GENESIS"
FORMAT = "peanut-audit/v1"

_TOO_LONG = f"a line is longer than {MAX_LINE} bytes"
_ANOTHER_NUMBER = "the entry in this place says it is number {}"
_ANOTHER_BEFORE = "it does not name the fingerprint of the entry before"

_ENTRY = ("body", "fingerprint", "index", "personal", "previousFingerprint")
_HEADER = ("format", "from", "frontier", "origin")
_CHECKPOINT = ("checkpoint",)
_BODY = (
    *("action", "concludeBy", "details", "id", "index", "ipAddress", "outcome", "phase", "requestId", "resourceId"),
    *("resourceType", "source", "timestamp", "userAgent", "userEmail", "userId"),
)
_TEXTS = ("action", "id", "requestId", "resourceId", "resourceType", "source", "userId")
_OUTCOMES = (None, "success", "failure", "denied", "unknown")
_PHASES = ("intent", "outcome")

_LINK_DOMAIN = b"peanut-audit/v1\0"
_LINK = struct.Struct(">Q32sI")
_PERSONAL_DOMAIN = b"peanut-audit/personal/v1\0"
_INDEX = struct.Struct(">Q")
_LENGTH = struct.Struct(">I")
_FIELDS = tuple(_LENGTH.pack(len(name)) + name.encode() for name in PERSONAL_FIELDS)

_HASH = re.compile("[0-9a-f]{64}")
_SALT = re.compile("[0-9a-f]{32}")
_TIMESTAMP = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z")


class Stretch(NamedTuple):
    """Entries that follow each other and are sound in themselves. `hashes` are their fingerprints."""

    first: int
    previous: bytes
    """The fingerprint before them, as it stands there."""
    hashes: list[bytes]
    missing: array[int]
    """8 times the index, and a bit for each field with a commitment and no value, where there is such a one."""

    @property
    def last(self) -> bytes:
        """The last one's fingerprint, as it stands there."""
        return self.hashes[-1].hex().encode()

    def parted(self, index: int) -> tuple[Stretch, Stretch]:
        """Those before an entry, and it and those after it."""
        count = index - self.first
        border = bisect_left(self.missing, index << 3)
        before = Stretch(self.first, self.previous, self.hashes[:count], self.missing[:border])
        return before, Stretch(index, before.last, self.hashes[count:], self.missing[border:])


class Entry(NamedTuple):
    """An entry that is sound in itself, and what it tells the verifier."""

    stretch: Stretch
    details: dict[str, Any]
    meaning: KeyChange | Erasure | None = None


def read_line(line: bytes) -> Entry | Header | CheckpointLine:
    """Reads any line there can be. Raises Refused for what the log does not write.

    This is the plain way, which decides; QuickReader has a quicker one for what most lines are like.
    """
    value = parse_canonical(line)
    if not isinstance(value, dict):
        raise Refused("a line that is not an object")
    members = tuple(value)
    if members == _ENTRY:
        return _entry(value)
    if members == _HEADER:
        return _header(value)
    if members == _CHECKPOINT:
        return CheckpointLine(0, _note(value["checkpoint"]))
    raise Refused("a line with other members than an entry has")


def _note(value: object) -> Note:
    if not isinstance(value, str):
        raise Refused("a checkpoint that is not a note", NOWHERE)
    return parse_note(value)


def _header(value: dict[str, Any]) -> Header:
    start, frontier, origin = value["from"], value["frontier"], value["origin"]
    if value["format"] != FORMAT:
        raise Refused("an export of another format", NOWHERE)
    if not _is_index(start) or not isinstance(origin, str):
        raise Refused("the first line of an export is not as the log writes it", NOWHERE)
    if not isinstance(frontier, list) or len(frontier) != start.bit_count() or not all(map(_is_hash, frontier)):
        raise Refused("a tree has one complete subtree for each bit of its size", NOWHERE)
    return Header(0, start, [bytes.fromhex(hash) for hash in frontier], origin)


def _entry(value: dict[str, Any]) -> Entry:
    body, index, personal, previous = value["body"], value["index"], value["personal"], value["previousFingerprint"]
    if not _is_index(index):
        raise Refused("an index that is none")
    if not _is_hash(value["fingerprint"]) or not (previous == "GENESIS" if index == 0 else _is_hash(previous)):
        raise Refused("a fingerprint that is none")
    _check_body(body, index)
    raw = canonical(body)
    before = bytes(32) if index == 0 else bytes.fromhex(previous)
    fingerprint = sha256(_LINK_DOMAIN + _LINK.pack(index, before, len(raw)) + raw)
    if fingerprint.hexdigest() != value["fingerprint"]:
        raise Refused("its fingerprint is not that of its content")
    missing = _missing_fields(index, body, personal)
    lacking = array("Q", [index << 3 | missing] if missing else [])
    stretch = Stretch(index, previous.encode(), [fingerprint.digest()], lacking)
    return Entry(stretch, body["details"], _meaning(body))


def _check_body(body: object, index: int) -> None:
    if not isinstance(body, dict) or tuple(body) != _BODY:
        raise Refused("its body has other members than the format says")
    if body["index"] != index or not _is_index(body["index"]):
        raise Refused("its body says it is another entry")
    if not all(isinstance(body[name], str) for name in _TEXTS):
        raise Refused("its body has something else where the format says text")
    if body["outcome"] not in _OUTCOMES or body["phase"] not in _PHASES or not isinstance(body["details"], dict):
        raise Refused("its body has an outcome, a phase or details that the format does not know")
    if not isinstance(body["timestamp"], str) or not _TIMESTAMP.fullmatch(body["timestamp"]):
        raise Refused("its body has a time that is not as the format says")
    if body["concludeBy"] is not None and not _is_index(body["concludeBy"]):
        raise Refused("its body has a deadline that is not as the format says")
    if not all(body[name] == "" or _is_hash(body[name]) for name in PERSONAL_FIELDS):
        raise Refused("its body has a commitment that is none")


def _missing_fields(index: int, body: dict[str, Any], personal: object) -> int:
    """A bit for each field that has a commitment and no value. Raises Refused for a value that is not the one."""
    if not isinstance(personal, dict) or not set(personal) <= set(PERSONAL_FIELDS):
        raise Refused("beside its body stands something else than personal values")
    missing = 0
    for place, name in enumerate(PERSONAL_FIELDS):
        if name not in personal:
            missing |= (body[name] != "") << place
        elif _commitment(index, place, personal[name]) != body[name]:
            raise Refused("a personal value is not the one that its body is committed to")
    return missing


def _commitment(index: int, place: int, beside: object) -> str:
    if not isinstance(beside, dict) or tuple(beside) != ("salt", "value"):
        raise Refused("a personal value that is not as the format says")
    salt, value = beside["salt"], beside["value"]
    if not isinstance(salt, str) or not _SALT.fullmatch(salt) or not isinstance(value, str) or not value:
        raise Refused("a personal value that is not as the format says")
    text = value.encode()
    framed = (_PERSONAL_DOMAIN, _INDEX.pack(index), _FIELDS[place], bytes.fromhex(salt), _LENGTH.pack(len(text)), text)
    return sha256(b"".join(framed)).hexdigest()


def _meaning(body: dict[str, Any]) -> KeyChange | Erasure | None:
    if (body["source"], body["phase"]) != ("audit", "outcome"):
        return None
    if body["action"] == "audit.key_changed":
        return _key_change(body["index"], body["details"])
    if body["action"] == "audit.personal_erased":
        return _erasure(body["index"], body["details"])
    return None


def _key_change(index: int, details: dict[str, Any]) -> KeyChange:
    if tuple(details) != ("note",) or not isinstance(details["note"], str):
        raise Refused("a change of key without a note")
    return KeyChange(0, index, details["note"])


def _erasure(index: int, details: dict[str, Any]) -> Erasure:
    if tuple(details) != ("erased", "fields"):
        raise Refused("an erasure that does not say what was erased")
    fields, ranges = details["fields"], array("Q")
    if not isinstance(fields, list) or not isinstance(details["erased"], list):
        raise Refused("an erasure that does not say what was erased")
    if fields != [name for name in PERSONAL_FIELDS if name in fields]:
        raise Refused("an erasure of other fields than there are")
    for pair in details["erased"]:
        if not isinstance(pair, list) or len(pair) != 2 or not all(map(_is_index, pair)):
            raise Refused("an erasure that does not say what was erased")
        if not pair[0] <= pair[1] < index:
            raise Refused("an erasure of entries that do not come before it")
        ranges.extend(pair)
    return Erasure(0, [PERSONAL_FIELDS.index(name) for name in fields], ranges)


def _is_index(value: object) -> bool:
    return type(value) is int and value >= 0


def _is_hash(value: object) -> bool:
    return isinstance(value, str) and _HASH.fullmatch(value) is not None


# The quick way: most lines are of few forms, and an expression tells whether a line is a canonical one of a known form.
# It takes no escapes and no number of more than 15 digits, so that each text has one reading. What it does not take, or
# does not find sound, it leaves to `read_line`.

_CHARACTERS = rb'[^"\\\x00-\x1f\x7f]'
_TEXT = b'"%b*+"' % _CHARACTERS
_NUMBER = b"(?:0|[1-9][0-9]{0,14}+)"
_SCALAR = b"(?:%b|-?[1-9][0-9]{0,14}+(?![0-9])|0|null|true|false)" % _TEXT
_COMMITMENT = b'"(?:"|(.{64})")'
_VALUE = rb'(?:"%b":\{"salt":"(.{32})","value":"(%b++)"\}(?:,(?=")|(?=\})))?+'
_LINE = b"".join(
    (
        rb'(?:\{"body":(\{"action":"(?!audit\.)%b*+","concludeBy":(?:null|%b)' % (_CHARACTERS, _NUMBER),
        rb',"details":(?:%%b),"id":%b,"index":(%b)' % (_TEXT, _NUMBER),
        rb',"ipAddress":%b,"outcome":(?:null|"(?:success|failure|denied|unknown)")' % _COMMITMENT,
        rb',"phase":"(?:intent|outcome)","requestId":%b,"resourceId":%b' % (_TEXT, _TEXT),
        rb',"resourceType":%b,"source":%b,"timestamp":"%b"' % (_TEXT, _TEXT, _TIMESTAMP.pattern.encode()),
        rb',"userAgent":%b,"userEmail":%b,"userId":%b\})' % (_COMMITMENT, _COMMITMENT, _TEXT),
        rb',"fingerprint":"(.{64})","index":(%b)' % _NUMBER,
        rb',"personal":\{%b\}' % b"".join(_VALUE % (name.encode(), _CHARACTERS) for name in PERSONAL_FIELDS),
        rb',"previousFingerprint":"(.{64})"\}|([^\n]*+))\n',
    )
)
_KNOWN_TEXT = re.compile(_CHARACTERS.decode() + "*")
_MAX_FORMS = 64

Row = Sequence[bytes]
"""Of an entry: body, the index in it, three commitments, fingerprint, index, three salts and values, the fingerprint
before, nothing. Of another line: nothing, and last the line."""


class QuickReader:
    """Reads entries of the forms that it has met: two have one form when `details` differ only in the values."""

    def __init__(self) -> None:
        self._forms = {rb"\{\}"}
        self._expression: re.Pattern[bytes] | None = None

    def read(self, block: bytes) -> Iterator[Stretch | bytes]:
        """The entries that are sound and follow each other, and between them, without their end, the other lines."""
        if not _is_utf8(block):
            yield from block.split(b"\n")[:-1]
            return
        rows = self._rows(block)
        others = [number for number, row in enumerate(rows) if not row[0]]
        begin = 0
        for number in [*others, len(rows)]:
            if begin < number:
                stretch = quick_stretch(rows[begin:number])
                if stretch is None:  # one of them is not sound: it has to be found
                    yield from block.split(b"\n")[begin:number]
                else:
                    yield stretch
            if number < len(rows):
                yield rows[number][-1]
            begin = number + 1

    def learn(self, details: dict[str, Any]) -> None:
        """From now on takes entries with such details, if they are one or two deep and hold no arrays."""
        if len(self._forms) < _MAX_FORMS:
            form = _form(details)
            if form is not None and form not in self._forms:
                self._forms.add(form)
                self._expression = None

    def _rows(self, block: bytes) -> list[Row]:
        if self._expression is None:
            self._expression = re.compile(_LINE % b"|".join(sorted(self._forms)), re.DOTALL)
        return self._expression.findall(block)


@cache
def quick_reader() -> QuickReader:
    """The one of this process: what it has learned helps with the next part."""
    return QuickReader()


def _form(details: dict[str, Any], depth: int = 2) -> bytes | None:
    """The expression for objects with these members, in their order, whatever the values; None if there is none."""
    members: list[bytes] = []
    for name, value in details.items():
        if not _KNOWN_TEXT.fullmatch(name) or isinstance(value, list):
            return None
        inner = _form(value, depth - 1) if isinstance(value, dict) else _SCALAR
        if inner is None or depth == 0:
            return None
        members.append(b'"%b":%b' % (re.escape(name.encode()), inner))
    return rb"\{%b\}" % b",".join(members)


def quick_stretch(rows: Sequence[Row]) -> Stretch | None:
    """These entries when all are as `read_line` finds them to be sound, and follow each other; None otherwise."""
    bodies, inner, *commitments, fingerprints, places, s0, v0, s1, v1, s2, v2, previous, _ = zip(*rows, strict=True)
    first = int(places[0])
    indexes = range(first, first + len(rows))
    if first == 0 or inner != places or list(map(int, places)) != list(indexes) or previous[1:] != fingerprints[:-1]:
        return None
    try:
        before, *own = _pieces(previous[:1] + fingerprints, 32)
        if b"".join(_links(indexes, [before, *own], bodies)) != b"".join(own):
            return None
        missing: dict[int, int] = {}
        numbers = list(map(_INDEX.pack, indexes))
        for field, columns in enumerate(zip(commitments, (s0, s1, s2), (v0, v1, v2), strict=True)):
            _check_column(field, numbers, *columns)
            if not all(columns[2]):
                _note_missing(field, indexes, columns[0], columns[2], missing)
    except ValueError:
        return None
    lacking = array("Q", sorted(index << 3 | fields for index, fields in missing.items()))
    return Stretch(first, previous[0], own, lacking)


def _links(indexes: range, before: list[bytes], bodies: Row) -> list[bytes]:
    """The fingerprints of entries, by those before and their bodies."""
    frames = map(_LINK.pack, indexes, before, map(len, bodies))
    return [sha256(b"".join((_LINK_DOMAIN, frame, body))).digest() for frame, body in zip(frames, bodies, strict=True)]


def _check_column(field: int, numbers: list[bytes], commitments: Row, salts: Row, values: Row) -> None:
    """Raises ValueError unless the values of one field are those that were committed to."""
    if not all(values):
        _pieces([committed for committed, value in zip(commitments, values, strict=True) if not value], 32)
        numbers, commitments, salts, values = (list(compress(c, values)) for c in (numbers, commitments, salts, values))
    name, lengths = _FIELDS[field], map(_LENGTH.pack, map(len, values))
    digests = [
        sha256(b"".join((_PERSONAL_DOMAIN, number, name, salt, length, value))).digest()
        for number, salt, length, value in zip(numbers, _pieces(salts, 16), lengths, values, strict=True)
    ]
    if b"".join(digests).hex().encode() != b"".join(commitments):
        raise ValueError("another value")


def _note_missing(field: int, indexes: range, commitments: Row, values: Row, missing: dict[int, int]) -> None:
    for index, committed, value in zip(indexes, commitments, values, strict=True):
        if committed and not value:
            missing[index] = missing.get(index, 0) | 1 << field


def _pieces(hexes: Iterable[bytes], length: int) -> list[bytes]:
    """The bytes in these lower-case hexadecimal numbers of one length. Raises ValueError for others."""
    joined = b"".join(hexes)
    raw = unhexlify(joined)
    if raw.hex().encode() != joined:
        raise ValueError("not as the log writes it")
    return [raw[at : at + length] for at in range(0, len(raw), length)]


# ---- Canonical JSON (RFC 8785)


def canonical(value: Any) -> bytes:
    """The bytes of a value that `parse_canonical` has read."""
    return _text(value).encode()


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def parse_canonical(line: bytes) -> Any:
    """The value of a text in canonical form, whose numbers are integers up to 2^53 - 1. Raises Refused.

    Nothing that two readers could take differently gets through: members that stand there twice or in another order,
    white space, another form of a string or a number, half a surrogate pair.
    """
    if len(line) > MAX_LINE:
        raise Refused(_TOO_LONG)
    try:
        text = line.decode()
        value = _JSON.decode(text)
        is_canonical = _text(value) == text
    except UnicodeDecodeError:
        raise Refused("bytes that are not UTF-8") from None
    except RecursionError:
        raise Refused("JSON that is nested too deeply") from None
    except ValueError:
        raise Refused("a line that is not JSON") from None
    if not is_canonical:
        raise Refused("JSON that is not in its canonical form")
    return value


def _object(members: list[tuple[str, Any]]) -> dict[str, Any]:
    names: list[Any] = [name for name, _ in members]
    if not all(map(str.isascii, names)):  # RFC 8785, 3.2.3: by UTF-16 code units
        names = [name.encode("utf-16-be", "surrogatepass") for name in names]
    if any(map(ge, names, names[1:])):
        raise Refused("members that are out of order, or one that stands there twice")
    return dict(members)


def _integer(digits: str) -> int:
    if len(digits) > 17 or abs(number := int(digits)) > MAX_INTEGER:
        raise Refused("a number that not every reader keeps exactly")
    return number


def _no_number(_: str) -> NoReturn:
    raise Refused("a number that is not an integer")


_JSON = json.JSONDecoder(
    object_pairs_hook=_object, parse_int=_integer, parse_float=_no_number, parse_constant=_no_number
)


# ---- The tree (RFC 6962)


EMPTY_ROOT = sha256().digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of an inner node."""
    return sha256(b"\1" + left + right).digest()


def complete_subtrees(first: int, hashes: list[bytes]) -> list[tuple[int, bytes]]:
    """The largest complete subtrees that these leaves, from number `first` on, make: levels and roots, in order.

    `hashes` are those of the leaves, SHA-256(0x00 || data).
    """
    left: list[tuple[int, bytes]] = []
    right: list[tuple[int, bytes]] = []
    level = 0
    while hashes:
        if first & 1:
            left.append((level, hashes[0]))
            hashes = hashes[1:]
            first += 1
        if len(hashes) & 1:
            right.append((level, hashes[-1]))
        hashes = [sha256(b"\1" + one + other).digest() for one, other in zip(hashes[::2], hashes[1::2], strict=False)]
        first >>= 1
        level += 1
    return left + right[::-1]


class Tree:
    """A growing tree: its size, and the roots of its complete subtrees, the largest first."""

    def __init__(self, size: int = 0, hashes: Sequence[bytes] = ()) -> None:
        levels = [level for level in range(size.bit_length() - 1, -1, -1) if size >> level & 1]
        self.size = size
        self._subtrees = list(zip(levels, hashes, strict=True))

    def grow(self, subtrees: list[tuple[int, bytes]], count: int) -> None:
        """Adds the complete subtrees of the next `count` leaves."""
        for level, hash in subtrees:
            whole, height = hash, level
            while self._subtrees and self._subtrees[-1][0] == height:
                whole = node_hash(self._subtrees.pop()[1], whole)
                height += 1
            self._subtrees.append((height, whole))
        self.size += count

    @property
    def hashes(self) -> list[bytes]:
        """The roots of the complete subtrees."""
        return [hash for _, hash in self._subtrees]

    @property
    def root(self) -> bytes:
        """The root of the whole tree."""
        if not self._subtrees:
            return EMPTY_ROOT
        *larger, root = self.hashes
        for hash in reversed(larger):
            root = node_hash(hash, root)
        return root


# ---- Signed notes, checkpoints and cosignatures (C2SP)


LOG_KEY, WITNESS_KEY = 0x01, 0x04
"""Key types: Ed25519 signatures of notes, and timestamped cosignatures of checkpoints."""
MAX_NOTE = 131_072
_DASH = "\N{EM DASH} "
_KEY_CHANGE = "peanut-audit/key-change/v1"


@dataclass(frozen=True, slots=True)
class Key:
    """A public key and the name of who signs with it."""

    name: str
    public: bytes
    kind: int

    @property
    def id(self) -> bytes:
        """Four bytes that say, beside the name, which key has signed."""
        return sha256(b"%b\n%c%b" % (self.name.encode(), self.kind, self.public)).digest()[:4]

    @property
    def text(self) -> str:
        """The key as people pass it on, `name+hash+base64`."""
        return f"{self.name}+{self.id.hex()}+{base64.b64encode(bytes([self.kind]) + self.public).decode()}"

    def verify(self, signature: bytes, message: bytes) -> bool:
        """Whether this key made the signature."""
        try:
            Ed25519PublicKey.from_public_bytes(self.public).verify(signature, message)
        except InvalidSignature:
            return False
        return True


@dataclass(frozen=True, slots=True)
class Note:
    """A text and its signatures: name, key id, signature."""

    text: str
    signatures: tuple[tuple[str, bytes, bytes], ...]

    def signature_of(self, key: Key) -> bytes | None:
        """The one that says it is by this key."""
        return next((signature for name, id, signature in self.signatures if (name, id) == (key.name, key.id)), None)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The tree of a log when it had `size` entries."""

    origin: str
    size: int
    root: bytes


def parse_key(text: str, kind: int) -> Key:
    """Reads `name+hash+base64`. Raises Refused."""
    try:
        name, _, encoded = text.split("+", 2)
        raw = _base64(encoded)
        if not _is_name(name) or len(raw) != 33 or raw[0] != kind:
            raise ValueError("another kind")
    except ValueError:
        wanted = "a log's" if kind == LOG_KEY else "a witness's"
        raise Refused(f"it is not {wanted} key, written name+hash+base64") from None
    key = Key(name, raw[1:], kind)
    if key.text != text:
        raise Refused("its hash is not its own")
    return key


def parse_note(text: str) -> Note:
    """Reads a signed note without judging the signatures. Raises Refused."""
    if not _is_utf8(text) or len(text.encode()) > MAX_NOTE or any(c < " " and c != "\n" for c in text):
        raise Refused("a note that is too long, or not plain text", NOWHERE)
    body, separator, block = text.rpartition("\n\n")
    *lines, rest = block.split("\n")
    if not separator or not lines or rest or len(lines) > 100:
        raise Refused("a note that is not a text, an empty line and lines of signatures", NOWHERE)
    return Note(f"{body}\n", tuple(map(_signature, lines)))


def _signature(line: str) -> tuple[str, bytes, bytes]:
    try:
        name, encoded = line.removeprefix(_DASH).split(" ")
        raw = _base64(encoded)
    except ValueError:
        raise Refused("a line of signatures that is none", NOWHERE) from None
    if not line.startswith(_DASH) or not _is_name(name) or len(raw) < 5:
        raise Refused("a line of signatures that is none", NOWHERE)
    return name, raw[:4], raw[4:]


def _has_signed(key: Key, note: Note) -> bool:
    signature = note.signature_of(key)
    return signature is not None and key.verify(signature, note.text.encode())


def parse_checkpoint(text: str) -> Checkpoint:
    """Reads the text of a checkpoint. Raises Refused."""
    try:
        origin, size, root, end = text.split("\n")
        checkpoint = Checkpoint(origin, int(size), _base64(root))
    except ValueError:
        raise Refused("a checkpoint that is none", NOWHERE) from None
    if end or not _is_name(origin) or len(checkpoint.root) != 32 or not 0 <= checkpoint.size <= MAX_INTEGER:
        raise Refused("a checkpoint that is none", NOWHERE)
    if str(checkpoint.size) != size:
        raise Refused("a checkpoint that is none", NOWHERE)
    return checkpoint


def signed_checkpoint(note: Note, key: Key, origin: str) -> Checkpoint:
    """The checkpoint in a note, when it is this log's and the key has signed it. Raises Refused."""
    checkpoint = parse_checkpoint(note.text)
    if checkpoint.origin != origin:
        raise Refused("the checkpoint is that of another log", NOWHERE)
    if note.signature_of(key) is None:
        raise Refused("the checkpoint is not signed with the log's key", NOWHERE)
    if not _has_signed(key, note):
        raise Refused("the signature of the checkpoint is forged", NOWHERE)
    return checkpoint


def cosignature_time(note: Note, witness: Key) -> int:
    """When the witness cosigned the checkpoint in the note, in Unix seconds. Raises Refused if it did not."""
    signature = note.signature_of(witness)
    if signature is None or len(signature) != 72:
        raise Refused(f"the checkpoint is not cosigned by {witness.name}", NOWHERE)
    (time,) = _INDEX.unpack(signature[:8])
    if not witness.verify(signature[8:], f"cosignature/v1\ntime {time}\n{note.text}".encode()):
        raise Refused(f"the cosignature of {witness.name} is forged", NOWHERE)
    return int(time)


def key_change(text: str) -> tuple[Key, Key]:
    """The old and the new key in a note that the old one has signed. Raises Refused."""
    note = parse_note(text)
    try:
        header, *keys, end = note.text.split("\n")
        old, new = (parse_key(key, LOG_KEY) for key in keys)
    except ValueError:
        raise Refused("it does not name two keys") from None
    if header != _KEY_CHANGE or end or old.name != new.name:
        raise Refused("it does not name two keys of one log")
    if not _has_signed(old, note):
        raise Refused("the old key has not signed it")
    return old, new


def _is_name(text: str) -> bool:
    return text != "" and "+" not in text and _is_utf8(text) and not any(c < " " or c.isspace() for c in text)


def _is_utf8(text: str | bytes) -> bool:
    """False for half a surrogate pair, and for other bytes."""
    try:
        text.encode() if isinstance(text, str) else text.isascii() or text.decode()
    except ValueError:
        return False
    return True


def _base64(text: str) -> bytes:
    raw = base64.b64decode(text, validate=True)
    if base64.b64encode(raw).decode() != text:
        raise ValueError("another form of base64")
    return raw


if __name__ == "__main__":
    sys.exit(main())
