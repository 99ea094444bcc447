"""The ways in which clients leave a connection."""

import asyncio
import socket
import struct
from collections.abc import Callable

Leave = Callable[[asyncio.StreamWriter], None]


def close(writer: asyncio.StreamWriter) -> None:
    """As nearly all do: what is said is that nothing more is sent (FIN)."""
    writer.close()


def half_close(writer: asyncio.StreamWriter) -> None:
    """The same is said, by one who would still read."""
    writer.write_eof()


def reset(writer: asyncio.StreamWriter) -> None:
    """As who is killed with unread bytes (RST)."""
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
