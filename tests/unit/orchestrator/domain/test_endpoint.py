"""Who can be reached at an address, whatever it is wrapped in."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.endpoint import Reach, reach_of

NEVER = [
    "0.0.0.0",
    "0.1.2.3",
    "169.254.169.254",
    "169.254.0.1",
    "100.100.100.200",
    "168.63.129.16",
    "192.0.0.192",
    "192.0.2.1",
    "198.51.100.1",
    "203.0.113.1",
    "192.88.99.1",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
]
PRIVATE = [
    "127.0.0.1",
    "127.255.255.254",
    "10.0.0.1",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "100.64.0.1",
    "198.18.0.1",
]
PUBLIC = ["1.1.1.1", "8.8.8.8", "172.32.0.1", "100.128.0.1", "11.0.0.1", "223.255.255.255"]
EXPECTED = {
    **dict.fromkeys(NEVER, Reach.NEVER),
    **dict.fromkeys(PRIVATE, Reach.PRIVATE),
    **dict.fromkeys(PUBLIC, Reach.PUBLIC),
}


def wrappings(address: ipaddress.IPv4Address) -> list[ipaddress.IPv6Address]:
    """The ways in which an IPv6 address can carry this IPv4 address."""
    number = int(address)
    return [
        ipaddress.IPv6Address(f"::ffff:{address}"),
        ipaddress.IPv6Address(int(ipaddress.IPv6Address("64:ff9b::")) | number),
        ipaddress.IPv6Address(int(ipaddress.IPv6Address("2002::")) | number << 80),
        ipaddress.IPv6Address(int(ipaddress.IPv6Address("2001:0:0808:0808::")) | (number ^ 0xFFFFFFFF)),
        ipaddress.IPv6Address(int(ipaddress.IPv6Address("2001::")) | number << 64 | (0x08080808 ^ 0xFFFFFFFF)),
    ]


@pytest.mark.parametrize(("text", "reach"), EXPECTED.items())
def test_an_address_is_judged_in_itself_and_in_each_wrapping(text: str, reach: Reach) -> None:
    address = ipaddress.IPv4Address(text)

    assert reach_of(address) is reach
    assert {reach_of(wrapped) for wrapped in wrappings(address)} == {reach}


@pytest.mark.parametrize(
    ("text", "reach"),
    [
        ("::", Reach.NEVER),
        ("::1", Reach.PRIVATE),
        ("::7f00:1", Reach.PRIVATE),
        ("::a9fe:a9fe", Reach.NEVER),
        ("fe80::1", Reach.NEVER),
        ("fec0::1", Reach.NEVER),
        ("ff02::1", Reach.NEVER),
        ("fd00:ec2::254", Reach.NEVER),
        ("fd20:ce::254", Reach.NEVER),
        ("fd12:3456::1", Reach.PRIVATE),
        ("fc00::1", Reach.PRIVATE),
        ("2001:db8::1", Reach.NEVER),
        ("2001:2::1", Reach.NEVER),
        ("3fff::1", Reach.NEVER),
        ("100::1", Reach.NEVER),
        ("5f00::1", Reach.NEVER),
        ("64:ff9b:1::1", Reach.NEVER),
        ("4000::1", Reach.NEVER),
        ("2606:4700:4700::1111", Reach.PUBLIC),
        ("2a00:1450:4001::1", Reach.PUBLIC),
    ],
)
def test_an_ipv6_address_is_judged(text: str, reach: Reach) -> None:
    assert reach_of(ipaddress.IPv6Address(text)) is reach


@given(st.ip_addresses(v=4))
def test_what_python_calls_not_global_is_never_public(address: ipaddress.IPv4Address) -> None:
    if not address.is_global:
        assert reach_of(address) is not Reach.PUBLIC


@given(st.ip_addresses(v=6))
def test_the_same_for_ipv6(address: ipaddress.IPv6Address) -> None:
    if not address.is_global and address.sixtofour is None and address.teredo is None:
        assert reach_of(address) is not Reach.PUBLIC
