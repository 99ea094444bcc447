"""The rows of the table: which request, of whom, at which concurrencies."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from tests.bench.upstream import ANSWER
from tests.bench.upstream_streams import MODEL

NAMES = (
    "upstream",
    "bare",
    "health",
    "me",
    "agents",
    "login",
    "me-beside-logins",
    "dispatch",
    "chat",
    "scaled",
    "first-token",
    "paced",
    "flat-out",
    "growth",
    "login-timing",
    "leaving",
    "audit-log",
)
_LOGINS_OF_ONE = 10  # more tries of one account at once count as guessing
_MESSAGE = "How quiet is it on the bench today?"


class Target(Protocol):
    """Something that answers HTTP on a port of the loopback address."""

    @property
    def port(self) -> int: ...

    def pids(self) -> Mapping[str, tuple[int, ...]]:
        """Its processes by role, as they are now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One request, to be made again and again."""

    name: str
    """What `--only` and the JSON file call it."""
    title: str
    target: Target
    request: bytes
    """The whole request as it goes over the wire."""
    expected: bytes
    """Bytes that a right answer contains."""
    concurrencies: tuple[int, ...] = (1, 16, 64)
    goes_last: bool = False
    """Whether it is measured after the others, beside the like rows of other targets."""
    beside: "tuple[Row, ...]" = ()
    """What goes on at the same time, unmeasured, each at its last concurrency."""


def upstream_row(upstream: Target) -> Row:
    """The upstream alone, asked directly."""
    return Row(
        name="upstream",
        title="upstream alone",
        target=upstream,
        request=chat_request(upstream),
        expected=ANSWER.encode(),
        goes_last=True,
    )


def bare_row(proxy: Target, api_key: str) -> Row:
    """The dispatch through the least Python that records it."""
    return dispatch_row("bare", "bare proxy: dispatch", proxy, api_key)


def chat_row(
    name: str, title: str, target: Target, api_key: str, *, more_headers: Mapping[str, str] | None = None
) -> Row:
    """A chat in OpenAI's words through a gateway."""
    return Row(
        name=name,
        title=title,
        target=target,
        request=chat_request(target, api_key, more_headers=more_headers),
        expected=ANSWER.encode(),
        goes_last=True,
    )


def dispatch_row(name: str, title: str, target: Target, api_key: str) -> Row:
    """A dispatch through a gateway."""
    return Row(
        name=name,
        title=title,
        target=target,
        request=dispatch_request(target, api_key),
        expected=ANSWER.encode(),
        goes_last=True,
    )


def system_rows(system: Target, api_key: str, *, last_agent: str, logins: Sequence[Mapping[str, str]]) -> list[Row]:
    """PeanutAgent's own rows. `last_agent` is a name that the whole list of agents must hold; `logins` log in."""
    with_32 = (1, 16, 32, 64)
    me = request(system, "GET", "/api/v1/auth/me", api_key=api_key)
    log_ins = tuple(
        Row(
            name="login",
            title="POST /auth/login",
            target=system,
            request=request(system, "POST", "/api/v1/auth/login", body=login),
            expected=b'"requireTotp":false',
            concurrencies=(1, _LOGINS_OF_ONE),
        )
        for login in logins
    )
    return [
        Row(
            name="health",
            title="GET /health",
            target=system,
            request=request(system, "GET", "/health"),
            expected=b'"healthy"',
        ),
        Row(
            name="me",
            title="GET /auth/me",
            target=system,
            request=me,
            expected=b'"role"',
            concurrencies=with_32,
        ),
        Row(
            name="agents",
            title="GET /agents",
            target=system,
            request=request(system, "GET", "/api/v1/agents", api_key=api_key),
            expected=f'"{last_agent}"'.encode(),
            concurrencies=with_32,
        ),
        log_ins[0],
        Row(
            name="me-beside-logins",
            title=f"GET /auth/me while {len(logins) * _LOGINS_OF_ONE} log in",
            target=system,
            request=me,
            expected=b'"role"',
            concurrencies=(1,),
            beside=log_ins,
        ),
        chat_row("chat", "POST /v1/chat/completions", system, api_key),
        dispatch_row("dispatch", "POST /openclaw/dispatch", system, api_key),
    ]


def dispatch_request(target: Target, api_key: str, *, message: str = _MESSAGE, stream: bool = False) -> bytes:
    """A dispatch as it goes over the wire."""
    body = {"message": message} | ({"stream": True} if stream else {})
    return request(target, "POST", "/api/v1/openclaw/dispatch", api_key=api_key, body=body)


def chat_request(
    target: Target,
    api_key: str | None = None,
    *,
    message: str = _MESSAGE,
    stream: bool = False,
    more_headers: Mapping[str, str] | None = None,
) -> bytes:
    """A chat as OpenAI's clients send it."""
    body = {"model": MODEL, "messages": [{"role": "user", "content": message}]} | ({"stream": True} if stream else {})
    return request(target, "POST", "/v1/chat/completions", api_key=api_key, body=body, more_headers=more_headers)


def request(
    target: Target,
    method: str,
    path: str,
    *,
    api_key: str | None = None,
    body: object = None,
    more_headers: Mapping[str, str] | None = None,
) -> bytes:
    """A request as it goes over the wire."""
    headers = {
        "host": f"localhost:{target.port}",
        "accept": "application/json",
        "user-agent": "peanut-bench",
        **(more_headers or {}),
    }
    if api_key is not None:
        headers["authorization"] = f"Bearer {api_key}"
    content = b""
    if body is not None:
        content = json.dumps(body).encode()
        headers |= {"content-type": "application/json", "content-length": str(len(content))}
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
    return "\r\n".join(lines).encode() + content
