"""Header blocks as NATS writes them: a status line, `Name: value` lines, an empty line."""

import re
from collections.abc import Mapping

STATUS = "Status"
"""Under this name stands what the server itself says, such as 503 for nobody listening."""

NOBODY_LISTENS = "503"
"""The server's answer to a message that met no subscriber, where it had a reply subject."""

_STATUS = re.compile(r"NATS/1\.0 ([0-9]{3})")


def write_headers(headers: Mapping[str, str]) -> bytes:
    """The block; raises ValueError for a value that would end its line."""
    block = "".join(["NATS/1.0\r\n", *[f"{name}: {value}\r\n" for name, value in headers.items()], "\r\n"])
    if block.count("\n") != len(headers) + 2 or block.count("\r") != len(headers) + 2:
        raise ValueError("a header has one line")
    return block.encode()


def read_headers(block: bytes) -> dict[str, str]:
    """The names and values in `block`; what is no `Name: value` line is left out, and the last of a name counts."""
    text = block.decode("utf-8", "replace")
    headers = dict([line.split(": ", 1) for line in text.split("\r\n") if ": " in line])
    status = _STATUS.match(text)
    if status:
        headers[STATUS] = status[1]
    return headers
