"""Checkpoints (C2SP tlog-checkpoint): what a log signs to say how many entries it has, and which."""

import base64
from dataclasses import dataclass

from shared.tlog.merkle import EMPTY_ROOT, HASH_BYTES
from shared.tlog.notes import NoteRefused, Verifier, is_key_name, open_note, strict_base64

MAX_SIZE = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The tree of a log when it had `size` entries. `origin` is the log's name, and that of its key."""

    origin: str
    size: int
    root: bytes

    def __post_init__(self) -> None:
        if not is_key_name(self.origin):
            raise ValueError("an origin has no spaces and no plus signs")
        if not 0 <= self.size <= MAX_SIZE or len(self.root) != HASH_BYTES:
            raise ValueError("a tree has a size from 0 to 2^63 - 1 and a root of 32 bytes")
        if self.size == 0 and self.root != EMPTY_ROOT:
            raise ValueError("a tree without leaves has one root only")

    @property
    def text(self) -> str:
        """What is signed."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"


def parse_checkpoint(text: str) -> Checkpoint:
    """Reads a checkpoint from the text of a note; raises NoteRefused. There are no extension lines in ours."""
    try:
        origin, size, root, end = text.split("\n")
        if end or not size.isascii() or not size.isdigit() or len(size) > len(str(MAX_SIZE)):
            raise ValueError("not the lines of a checkpoint")
        checkpoint = Checkpoint(origin, int(size), strict_base64(root))
    except ValueError as error:
        raise NoteRefused("this note is not a checkpoint") from error
    if checkpoint.text != text:
        raise NoteRefused("a checkpoint that is not written as they are")
    return checkpoint


def open_checkpoint(note: str, log: Verifier) -> Checkpoint:
    """The checkpoint in a note, when it is this log's and this log has signed it; raises NoteRefused."""
    checkpoint = parse_checkpoint(open_note(note, [log]))
    if checkpoint.origin != log.name:
        raise NoteRefused("a checkpoint of another log")
    return checkpoint
