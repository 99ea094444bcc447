"""Endpoints: where an agent may be, so that nobody can send the platform to places that only it can reach."""

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from shared.errors import ErrorCode, FieldError, PlatformError

Address = IPv4Address | IPv6Address


class EndpointNotAllowed(PlatformError):
    """An endpoint that is refused; the detail says why, and which setting would change that."""

    code = ErrorCode.INVALID
    reason = "endpoint-not-allowed"

    def __init__(self, why: str) -> None:
        super().__init__(f"This endpoint is not allowed: {why}.", errors=(FieldError("endpoint", why),))
        self.why = why


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An agent's base address, parsed. `host` is canonical: lower case, punycode, addresses in their usual form."""

    scheme: str
    host: str
    port: int
    path: str
    """Without a slash at its end, so that more can follow."""
    url: str
    literal: Address | None
    """The host when it is an address and no name."""

    @property
    def entry(self) -> str:
        """`host:port`, as AGENT_ALLOWED_HOSTS spells it."""
        return f"{self.host}:{self.port}"

    @property
    def origin(self) -> str:
        """Whom a request to this endpoint reaches: scheme, host and port."""
        return f"{self.scheme}://{self.entry}"


class Reach(Enum):
    """Who can be reached at an address."""

    PUBLIC = "public"
    PRIVATE = "private"
    NEVER = "never"


# Names by which clouds hand out a machine's own credentials; their addresses are refused too.
_METADATA_NAMES = frozenset(
    {
        "instance-data",
        "instance-data.ec2.internal",
        "metadata",
        "metadata.azure.internal",
        "metadata.goog",
        "metadata.google.internal",
        "metadata.tencentyun.com",
    }
)

# Where NATS (clients, cluster, leaf nodes, monitoring) and the Docker Engine (plain, TLS, Swarm) listen. Whoever could
# have the platform speak to them by HTTP would be past its door.
_PLATFORM_PORTS = frozenset({4222, 6222, 7422, 8222, 2375, 2376, 2377})

# IANA's special-purpose registries for IPv4 and IPv6, and the clouds' metadata addresses.
_NEVER_V4 = tuple(
    IPv4Network(network)
    for network in (
        "0.0.0.0/8",
        "100.100.100.200/32",  # Alibaba's metadata
        "168.63.129.16/32",  # Azure's
        "169.254.0.0/16",
        "192.0.0.0/24",  # with Oracle's 192.0.0.192
        "192.0.2.0/24",
        "192.88.99.0/24",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
    )
)
_PRIVATE_V4 = tuple(
    IPv4Network(network)
    for network in ("10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "198.18.0.0/15")
)
_METADATA_V6 = (IPv6Address("fd00:ec2::254"), IPv6Address("fd20:ce::254"))
_PRIVATE_V6 = (IPv6Network("::1/128"), IPv6Network("fc00::/7"))
_GLOBAL_V6 = IPv6Network("2000::/3")
_NEVER_V6 = tuple(IPv6Network(network) for network in ("2001::/23", "2001:db8::/32", "3fff::/20"))
_NAT64 = IPv6Network("64:ff9b::/96")
_COMPATIBLE = IPv6Network("::/96")


@lru_cache(maxsize=4096)
def reach_of(address: Address) -> Reach:
    """Who can be reached there; of an address that carries others inside, the worst of them."""
    if isinstance(address, IPv4Address):
        return _reach_of_v4(address)
    carried = _carried_by(address)
    if carried:
        return max((_reach_of_v4(inner) for inner in carried), key=_HARM.__getitem__)
    return _reach_of_v6(address)


class EndpointPolicy:
    """Which endpoints may be used. `allowed` holds the `host:port` entries of private places that are wanted.

    No agent is at the ports of NATS and of the Docker Engine or at `own_ports`, whatever is allowed.
    """

    def __init__(self, allowed: Iterable[str], own_ports: Iterable[int] = ()) -> None:
        self._allowed = frozenset(allowed)
        self._own_ports = _PLATFORM_PORTS.union(own_ports)

    def check_name(self, endpoint: Endpoint) -> None:
        """Raises EndpointNotAllowed for what needs no look-up to be refused."""
        if endpoint.scheme not in ("http", "https"):
            raise EndpointNotAllowed("it must begin with http:// or https://")
        if endpoint.host in _METADATA_NAMES:
            raise EndpointNotAllowed("it names a cloud's metadata service")
        if endpoint.port in self._own_ports:
            raise EndpointNotAllowed(f"port {endpoint.port} is the platform's own, NATS's or the Docker Engine's")
        if endpoint.literal is not None:
            self.check_addresses(endpoint, (endpoint.literal,))

    def check_addresses(self, endpoint: Endpoint, addresses: Iterable[Address]) -> None:
        """Raises EndpointNotAllowed unless each of the addresses that the host has may be connected to."""
        for address in addresses:
            reach = reach_of(address)
            if reach is Reach.NEVER:
                raise EndpointNotAllowed("it leads to a link-local, metadata, multicast or reserved address")
            if reach is Reach.PRIVATE and endpoint.entry not in self._allowed:
                raise EndpointNotAllowed(
                    f"it leads to a private address; if that is wanted, add {endpoint.entry} to AGENT_ALLOWED_HOSTS"
                )


_HARM = {Reach.PUBLIC: 0, Reach.PRIVATE: 1, Reach.NEVER: 2}


def _reach_of_v4(address: IPv4Address) -> Reach:
    if any(address in network for network in _NEVER_V4):
        return Reach.NEVER
    if any(address in network for network in _PRIVATE_V4):
        return Reach.PRIVATE
    return Reach.PUBLIC


def _reach_of_v6(address: IPv6Address) -> Reach:
    if address in _METADATA_V6:
        return Reach.NEVER
    if any(address in network for network in _PRIVATE_V6):
        return Reach.PRIVATE
    if address in _GLOBAL_V6 and not any(address in network for network in _NEVER_V6):
        return Reach.PUBLIC
    return Reach.NEVER


def _carried_by(address: IPv6Address) -> tuple[IPv4Address, ...]:
    """The IPv4 addresses that packets to this IPv6 address may end at (RFC 4291, 6052, 3056, 4380)."""
    if address.ipv4_mapped is not None:
        return (address.ipv4_mapped,)
    if address.sixtofour is not None:
        return (address.sixtofour,)
    if address.teredo is not None:
        return address.teredo
    if address in _NAT64 or (address in _COMPATIBLE and int(address) > 1):
        return (ipaddress.IPv4Address(int(address) & 0xFFFFFFFF),)
    return ()
