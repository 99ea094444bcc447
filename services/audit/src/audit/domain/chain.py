"""The chain: each fingerprint covers an entry's bytes, its place, and by the one before it all that came earlier."""

import struct
from hashlib import sha256
from typing import NamedTuple

GENESIS = "GENESIS"
"""How the fingerprint before the first entry is shown."""

_DOMAIN = b"peanut-audit/v1\0"
_FRAME = struct.Struct(">Q32sI")


class Head(NamedTuple):
    """The last entry of a log, or of the part that is meant."""

    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody needs here
    fingerprint: bytes


EMPTY = Head(-1, bytes(32))


def fingerprint(index: int, previous: bytes, body: bytes) -> bytes:
    """SHA-256(domain || 0x00 || uint64 index || previous (32 bytes; zeros first) || uint32 length || body)."""
    return sha256(b"".join((_DOMAIN, _FRAME.pack(index, previous, len(body)), body))).digest()


def shown(index: int, value: bytes) -> str:
    """A fingerprint as people see it: hex, or GENESIS for the one before the first entry (`index` -1)."""
    return GENESIS if index < 0 else value.hex()
