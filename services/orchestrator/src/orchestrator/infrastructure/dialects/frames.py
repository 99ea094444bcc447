"""Frames: what a streamed answer consists of, put together again wherever it was cut: events, or lines of JSON."""

import re
from typing import Protocol

from orchestrator.application.upstreams import UpstreamFailure

MAX_FRAME_BYTES = 1024 * 1024
LONG = 16 * 1024
"""From here on it is looked for an event's end in what is new only: the whole would be gone through for each line."""

_BOM = b"\xef\xbb\xbf"
# Atomic: CR LF is one end of a line, not two.
_BLANK_LINE = re.compile(rb"(?>\r\n|\n|\r)(?>\r\n|\n|\r)")


Frame = tuple[bytes, bytes | None]
"""A whole event or line: as it came, its end included, and what it says; None for one that says nothing, such as a
comment, which only shows that somebody is there."""


class Frames(Protocol):
    """Takes a stream apart. Raises UpstreamFailure beyond MAX_FRAME_BYTES in a frame, and ValueError for nonsense."""

    def feed(self, piece: bytes) -> list[Frame]:
        """The frames that are whole now."""
        ...

    def rest(self) -> list[Frame]:
        """What is left at the end of the stream, as if its end were there."""
        ...


class EventStream:
    """An event stream (text/event-stream, WHATWG HTML section 9.2). The names of events are not looked at."""

    def __init__(self) -> None:
        self._pending = _Pending()

    def feed(self, piece: bytes) -> list[Frame]:
        """The events that are whole now."""
        if (b"\n" not in piece and b"\r" not in piece) or self._pending.goes_on(piece):
            self._pending.add(piece)
            return []
        stream = self._pending.joined(piece)
        if b"\r" not in stream:
            *blocks, rest = stream.split(b"\n\n")
            frames = [(block + b"\n\n", _data(block)) for block in blocks]
        else:
            frames, begin = [], 0
            for end in _BLANK_LINE.finditer(stream):
                frames.append((stream[begin : end.end()], _data(stream[begin : end.start()])))
                begin = end.end()
            rest = stream[begin:]
        self._pending.keep(rest)
        return frames

    def rest(self) -> list[Frame]:
        """The event whose blank line is missing, if any."""
        rest = self._pending.joined(b"")
        return [(rest + b"\n\n", _data(rest))] if rest.strip() else []


class JsonLines:
    """Lines of JSON (application/x-ndjson); blank ones say nothing."""

    def __init__(self) -> None:
        self._pending = _Pending()

    def feed(self, piece: bytes) -> list[Frame]:
        """The lines that are whole now."""
        if b"\n" not in piece:
            self._pending.add(piece)
            return []
        *lines, rest = self._pending.joined(piece).split(b"\n")
        self._pending.keep(rest)
        return [(line + b"\n", line.strip() or None) for line in lines]

    def rest(self) -> list[Frame]:
        """The last line, if its end is missing."""
        rest = self._pending.joined(b"")
        return [(rest, rest.strip())] if rest.strip() else []


class _Pending:
    """What is not whole yet; joined only when that may have changed, so that single bytes cost no more than others."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._size = 0
        self._is_beginning = True

    def add(self, piece: bytes) -> None:
        self._pieces.append(piece)
        self._size += len(piece)
        _require_bounded(self._size)

    def goes_on(self, piece: bytes) -> bool:
        """Whether it is long, and this brings no blank line to it, which takes three more bytes before it at most."""
        if self._size < LONG:
            return False
        return _BLANK_LINE.search(b"".join([*(each[-3:] for each in self._pieces[-3:]), piece])) is None

    def joined(self, piece: bytes) -> bytes:
        """All of it, without the byte order mark that the stream may begin with."""
        if not self._pieces and not self._is_beginning and len(piece) <= MAX_FRAME_BYTES:
            return piece
        stream = b"".join([*self._pieces, piece])
        if len(stream) > MAX_FRAME_BYTES:
            _require_bounded(max(map(len, stream.splitlines())))
        if self._is_beginning and len(stream) >= len(_BOM):
            self._is_beginning = False
            return stream.removeprefix(_BOM)
        return stream

    def keep(self, rest: bytes) -> None:
        """From now on only `rest` is pending."""
        if self._pieces:
            self._pieces.clear()
            self._size = 0
        if rest:
            self.add(rest)


def _require_bounded(size: int) -> None:
    if size > MAX_FRAME_BYTES:
        raise UpstreamFailure(f"a part of its answer is larger than {MAX_FRAME_BYTES // 1024 // 1024} MiB")


def _data(block: bytes) -> bytes | None:
    if block.startswith(b"data: ") and b"\n" not in block and b"\r" not in block:
        return block[6:]
    block.decode()  # raises for what is no UTF-8; in the usual case above, the data's reader sees that
    lines = (line.partition(b":") for line in block.splitlines())
    data = b"\n".join([value.removeprefix(b" ") for name, _, value in lines if name == b"data"])
    return data or None
