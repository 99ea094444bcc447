"""Ports and readiness: is an address free, does somebody listen, does the edge say that all is ready."""

import asyncio
import errno
import os
import socket
from urllib.parse import urlsplit

from deploy.local.problem import Problem
from deploy.local.settings import Settings

_POLL = 0.03  # seconds


def check_free(host: str, port: int, *, setting: str) -> None:
    """Raises `Problem` when nobody could listen there; `setting` is the variable that chooses another port."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except socket.gaierror:
        raise Problem(f"HOST is {host!r}: it has to be an address of this machine, like 127.0.0.1 or 0.0.0.0") from None
    with socket.socket(family, kind, protocol) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # past connections in TIME_WAIT do not count
        try:
            probe.bind(address)
        except OSError as error:
            raise Problem(_refusal(error, host, port, setting)) from error


def _refusal(error: OSError, host: str, port: int, setting: str) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {port} is in use: stop the program that listens there, or choose another port with {setting}"
    if error.errno == errno.EACCES:
        return f"port {port} is reserved for root: choose one above 1023 with {setting}"
    return f"cannot listen on {host} port {port}: {os.strerror(error.errno or 0)}; see HOST and {setting}"


async def listening(host: str, port: int) -> None:
    """Returns as soon as somebody accepts connections there."""
    while not await _accepts(host, port):  # noqa: ASYNC110 - another process tells us nothing
        await asyncio.sleep(_POLL)


async def _accepts(host: str, port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection(host, port)
    except OSError:
        return False
    writer.close()
    return True


async def is_ready(settings: Settings) -> bool:
    """Asks the edge once, under the name that it is known by: it refuses others."""
    name = urlsplit(settings.public_url).netloc
    request = f"GET /ready HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n"
    try:
        async with asyncio.timeout(5):
            return await _status(settings, request.encode()) == 200
    except (OSError, TimeoutError, ValueError):
        return False


async def _status(settings: Settings, request: bytes) -> int:
    reader, writer = await asyncio.open_connection(_reachable(settings.host), settings.port)
    try:
        writer.write(request)
        return int((await reader.readline()).split()[1])
    finally:
        writer.close()


def _reachable(host: str) -> str:
    """An address that listens everywhere is reached at the loopback."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared, not bound
