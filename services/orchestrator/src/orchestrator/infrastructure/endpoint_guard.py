"""The guard: parses endpoints, looks their hosts up, and lets through what the policy allows."""

import asyncio
import ipaddress
import re
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import lru_cache
from math import inf

from ada_url import URL

from orchestrator.domain.endpoint import Address, Endpoint, EndpointNotAllowed, EndpointPolicy
from orchestrator.infrastructure.remembering import remember

LOOK_UP_WITHIN_S = 2.0

# A dispatch must not wait for DNS each time. What is remembered is only connected to as it was checked, so an answer
# that changes in between (rebinding) has no effect; five seconds bound how long a moved host is missed.
REMEMBER_S = 5.0

Resolve = Callable[[str, int], Awaitable[tuple[Address, ...]]]

# Not allowed in a URL as they are. WHATWG parsers drop or repair them, which only hides where a URL leads.
_ODD = re.compile(r"[\x00-\x20\x7f\\]")
# Left in a path when it is parsed. What a server or a proxy makes of them differs, and so where the path leads.
_ODD_PATH = re.compile(r"//|%(?:[01][0-9a-f]|2f|5c|7f)", re.IGNORECASE)
_DEFAULT_PORTS = {"http": 80, "https": 443}
_AUTHORITY = re.compile(r"https?://([^/?#]+)", re.IGNORECASE)


class HostNotFound(Exception):
    """A host's name cannot be looked up now."""


async def look_up(host: str, port: int) -> tuple[Address, ...]:
    """All addresses of a host, those of IPv4 first: what listens on localhost often does so there only."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = dict.fromkeys(ipaddress.ip_address(str(entry[4][0]).partition("%")[0]) for entry in found)
    return tuple(sorted(addresses, key=lambda address: address.version))


@lru_cache(maxsize=4096)
def parse_endpoint(text: str) -> Endpoint:
    """The endpoint that `text` spells; raises EndpointNotAllowed when it is none, or more than an address.

    What is parsed here, as browsers do (WHATWG URL), is what is checked and connected to: nobody parses it again.
    """
    if _ODD.search(text):
        raise EndpointNotAllowed("it contains spaces, control characters or backslashes")
    authority = _AUTHORITY.match(text)
    if authority is None:
        raise EndpointNotAllowed("it must begin with http:// or https:// and name a host")
    if "@" in authority[1]:
        raise EndpointNotAllowed("it contains a user name or a password; give a key as apiKey")
    try:
        url = URL(text)
    except ValueError:
        raise EndpointNotAllowed("it is not a URL") from None
    scheme, host = url.protocol.rstrip(":"), url.hostname
    port = int(url.port or _DEFAULT_PORTS[scheme])
    if not host or not port:
        raise EndpointNotAllowed("it names no host and port")
    if "?" in text or "#" in text:
        raise EndpointNotAllowed("it has a query or a fragment")
    if host.endswith(".") or ".." in host:
        raise EndpointNotAllowed("its host ends with a dot or has an empty part")
    path = url.pathname.rstrip("/")
    if _ODD_PATH.search(path):
        raise EndpointNotAllowed("its path has two slashes in a row, or encoded slashes or control characters")
    return Endpoint(scheme, host, port, path, url.href.rstrip("/"), _literal(host))


class EndpointGuard:
    """Says where an endpoint may be connected to."""

    def __init__(self, policy: EndpointPolicy, resolve: Resolve = look_up) -> None:
        self._policy = policy
        self._resolve = resolve
        self._remembered: dict[tuple[str, int], tuple[float, tuple[Address, ...]]] = {}
        self._permitted: dict[str, tuple[float, tuple[Address, ...]]] = {}
        self._looking: dict[tuple[str, int], asyncio.Task[tuple[Address, ...]]] = {}

    async def permit(self, endpoint: str) -> str:
        """The endpoint in its canonical spelling; raises EndpointNotAllowed.

        A name that cannot be looked up now is let through: it is checked again before each connection.
        """
        parsed = parse_endpoint(endpoint)
        with suppress(HostNotFound):
            await self.addresses(parsed)
        return parsed.url

    def origin(self, endpoint: str) -> str:
        """Whom a request to this endpoint reaches: scheme, host and port."""
        return parse_endpoint(endpoint).origin

    async def addresses(self, endpoint: Endpoint) -> tuple[Address, ...]:
        """Where the endpoint may be connected to; raises EndpointNotAllowed or HostNotFound."""
        until, addresses = self._permitted.get(endpoint.url, (0.0, ()))
        if asyncio.get_running_loop().time() < until:
            return addresses
        self._policy.check_name(endpoint)
        if endpoint.literal is not None:
            until, addresses = inf, (endpoint.literal,)
        else:
            addresses = await self._addresses_of(endpoint.host, endpoint.port)
            self._policy.check_addresses(endpoint, addresses)
            until, _ = self._remembered.get((endpoint.host, endpoint.port), (0.0, ()))
        remember(self._permitted, endpoint.url, (until, addresses))  # what was allowed, as long as the look-up counts
        return addresses

    async def _addresses_of(self, host: str, port: int) -> tuple[Address, ...]:
        key = (host, port)
        now = asyncio.get_running_loop().time()
        until, addresses = self._remembered.get(key, (0.0, ()))
        if now < until:
            return addresses
        if key not in self._looking:  # one look-up for all who want it: a dead name server holds few threads
            self._looking[key] = task = asyncio.create_task(self._look_up(host, port))
            task.add_done_callback(lambda done: self._looked_up(key, done))
        try:
            return await asyncio.wait_for(asyncio.shield(self._looking[key]), LOOK_UP_WITHIN_S)
        except TimeoutError:
            raise HostNotFound(host) from None

    async def _look_up(self, host: str, port: int) -> tuple[Address, ...]:
        try:
            addresses = await self._resolve(host, port)
        except (OSError, UnicodeError, ValueError) as error:
            raise HostNotFound(host) from error
        if not addresses:
            raise HostNotFound(host)
        return addresses

    def _looked_up(self, key: tuple[str, int], task: asyncio.Task[tuple[Address, ...]]) -> None:
        del self._looking[key]
        if task.cancelled() or task.exception() is not None:
            return
        remember(self._remembered, key, (asyncio.get_running_loop().time() + REMEMBER_S, task.result()))


def _literal(host: str) -> Address | None:
    try:
        return ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return None
