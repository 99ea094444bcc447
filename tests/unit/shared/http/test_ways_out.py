"""Requests to other machines leave by the guarded client alone: nothing else of the platform opens a connection."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[4]
CLIENTS = frozenset(
    {
        *("aiohttp", "ftplib", "grpc", "h2", "http.client", "httpcore", "httpx", "nats", "paramiko", "pycurl"),
        *("pyreqwest", "requests", "smtplib", "socket", "socketserver", "ssl", "telnetlib", "urllib.request"),
        *("urllib3", "websockets", "xmlrpc.client", "shared.http"),
    }
)
"""What can be imported to reach another machine; submodules included."""
CALLS = frozenset(
    {
        *("create_connection", "create_datagram_endpoint", "create_unix_connection", "getaddrinfo"),
        *("open_connection", "open_unix_connection", "sock_connect", "start_tls"),
    }
)
"""What a loop or asyncio can be asked for."""
WAYS_OUT = {
    "shared.http.pool": {"ssl", "create_connection"},
    "shared.http.client": {"ssl"},
    "shared.http.connection": {"ssl", "socket"},  # names of a socket's options
    "shared.bus.transport": {"nats", "create_connection"},
    "orchestrator.infrastructure.endpoint_guard": {"socket", "getaddrinfo"},  # looks names up
    "orchestrator.infrastructure.guarded_http": {"shared.http"},
    "edge.http.server": {"socket"},  # listens
    "edge.http.exchange": {"socket"},  # the name of an option, by which a connection is broken
}
"""The modules that may, and what they need. Whoever wants another one sends by `guarded_http` instead."""


def ways_out(source: str) -> Iterator[str]:
    """What of CLIENTS and CALLS a module uses."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)]
            yield from CALLS.intersection(alias.name for alias in node.names)
        elif isinstance(node, ast.Attribute) and node.attr in CALLS:
            yield node.attr
            continue
        else:
            continue
        for name in names:
            yield from (client for client in CLIENTS if name == client or name.startswith(f"{client}."))


def modules() -> dict[str, str]:
    """The sources of the services and of what they share, by module."""
    roots = [PROJECT / "shared" / "src", *sorted((PROJECT / "services").glob("*/src"))]
    files = {file: file.relative_to(root) for root in roots for file in root.rglob("*.py")}
    return {".".join(name.with_suffix("").parts): file.read_text(encoding="utf-8") for file, name in files.items()}


def test_nothing_but_the_guarded_client_and_the_bus_opens_connections() -> None:
    found = {module: set(ways_out(source)) for module, source in modules().items()}

    inside = {module for module in found if module.startswith(("shared.http", "shared.bus"))}
    strangers = {
        module: ways - WAYS_OUT.get(module, set()) - ({"shared.http", "nats"} if module in inside else set())
        for module, ways in found.items()
    }

    assert {module: ways for module, ways in strangers.items() if ways} == {}, "send by guarded_http instead"


def test_every_way_out_that_is_allowed_is_used() -> None:
    found = modules()

    assert {module: set(ways_out(found[module])) & ways for module, ways in WAYS_OUT.items()} == WAYS_OUT


@pytest.mark.parametrize(
    ("source", "way"),
    [
        ("import httpx", "httpx"),
        ("import urllib.request as anything", "urllib.request"),
        ("from urllib import request", "urllib.request"),
        ("from http.client import HTTPConnection", "http.client"),
        ("def late():\n    import requests", "requests"),
        ("from shared.http import open_client", "shared.http"),
        ("from shared import http", "shared.http"),
        ("from nats.aio.client import Client", "nats"),
        ("from asyncio import open_connection", "open_connection"),
        ("await asyncio.open_connection('a', 1)", "open_connection"),
        ("await loop.create_connection(x)", "create_connection"),
    ],
)
def test_a_way_out_is_noticed(source: str, way: str) -> None:
    assert way in set(ways_out(source))


@pytest.mark.parametrize(
    "source", ["from http import HTTPStatus", "from urllib.parse import quote", "import httptools"]
)
def test_what_leads_nowhere_is_not(source: str) -> None:
    assert set(ways_out(source)) == set()
