"""JSON Lines as docs/audit-format.md has them: the bytes that were hashed, between what is needed to verify them."""

from collections.abc import Sequence

from audit.domain.canonical import canonical
from audit.domain.formats.records import LINE_END, Record


def head_line(first: int, frontier: Sequence[bytes], origin: str) -> bytes:
    """The first line: with which entry the export begins, and the tree of those before it."""
    hashes = [hash.hex() for hash in frontier]
    return canonical({"format": "peanut-audit/v1", "from": first, "frontier": hashes, "origin": origin}) + LINE_END


def entry_line(record: Record) -> bytes:
    """The line of an entry, canonical since its parts are."""
    return b'{"body":%b,"fingerprint":"%b","index":%d,"personal":%b,"previousFingerprint":"%b"}\n' % (
        record.stored_body,
        record.fingerprint.encode(),
        record.index,
        record.stored_personal.encode(),
        record.previous.encode(),
    )


def last_line(note: str) -> bytes:
    """The last line: the signed checkpoint of all entries up to here."""
    return canonical({"checkpoint": note}) + LINE_END
