"""What both ends of a stream agree on: an ordinary call that hands over pieces before its answer.

The caller names the stream with 128 random bits in a header of the call. Chunks go to a subject of the caller's
process, each with a subject of the producer's process as its reply subject: there the reader says how far it is, and
the server says 503 when the caller is gone. The answer to the call is the end, and says how many chunks there were.
"""

import re
import secrets
from typing import Protocol

from shared.errors import ErrorCode, Malformed, PlatformError, Unavailable

STREAM = "Peanut-Stream"
"""The header of a call that names its stream."""

CHUNKS = "Peanut-Chunks"
"""The header of the answer that says how many chunks came before it."""

NUMBER_BYTES = 4
"""Each chunk begins with its number, from 0, big-endian."""

POSITION_BYTES = 8
"""A reader says how many bytes it has taken since the beginning, each chunk with its cost, big-endian."""

CHUNK_COST = 256
"""What a chunk takes beside its pieces, in bytes: its subjects on the wire and its objects in memory."""

WINDOW = 32 * 1024
"""How many bytes may be on their way to a reader. Those of 2,048 streams are all that nats-server keeps for a process
that stands still before it cuts it off (`max_pending`); and 115 small chunks are more than are sent in a round trip.
"""

_ID = re.compile(r"[0-9a-f]{32}")
_REPLY = re.compile(r"_INBOX_([a-z-]+)\.[a-z-]+\.([a-z0-9-]+)\.[0-9a-f]+")


class Outlet(Protocol):
    """Where a handler writes what it hands over before its answer."""

    async def write(self, piece: bytes) -> None:
        """Sends one piece, whole; returns at once unless the reader is a window behind.

        Pieces written in one turn of the loop leave together. What was noted (`shared.bus.notes`) before the first one
        travels with it. Raises ReaderGone when nobody reads any more, and TooLarge.
        """


class Inlet(Protocol):
    """Where a caller reads what is handed over before the answer."""

    @property
    def answer(self) -> bytes:
        """The body of the answer, after the end."""

    async def piece(self) -> bytes | None:
        """What has arrived and was not yet taken, joined; waits until there is something. None at the end.

        Raises the failure of the call after all that came before it was taken, and StreamBroken when something between
        was lost.
        """


class ReaderGone(PlatformError):
    """Nobody reads this stream any more."""

    reason = "reader-gone"


class ReaderStalled(PlatformError):
    """The reader of a stream took nothing for so long that its producer was stopped."""

    code = ErrorCode.TIMEOUT
    reason = "reader-stalled"


class StreamBroken(Unavailable):
    """A part of a stream was lost on its way."""

    reason = "stream-broken"


def new_stream_id() -> str:
    """A name that nobody can guess."""
    return secrets.token_hex(16)


def streams_of(reader: str) -> str:
    """What the subjects of all chunks begin with that a user of the bus reads, or one of its processes."""
    return f"peanut.stream.{reader}."


def chunk_subject(reply: str, id: str) -> str:
    """Where the chunks of a stream go, by the reply subject of its call; raises Malformed for what is none."""
    reader = _REPLY.fullmatch(reply)
    if reader is None or not _ID.fullmatch(id):
        raise Malformed("The call names no stream that could be sent.")
    user, process = reader.groups()
    return f"{streams_of(f'{user}.{process}')}{id}"


def flow_of(service: str) -> str:
    """What the subjects begin with on which this service hears of its readers."""
    return f"peanut.flow.{service}."
