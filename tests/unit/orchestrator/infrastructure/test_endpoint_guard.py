"""The guard: spellings that hide where they lead, names that lead elsewhere, and what is allowed."""

import asyncio
import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.endpoint import Address, EndpointNotAllowed, EndpointPolicy
from orchestrator.infrastructure.endpoint_guard import EndpointGuard, HostNotFound, look_up, parse_endpoint

ALLOWED = ("localhost:11434", "127.0.0.1:11434", "ollama:11434", "[::1]:11434")


class Names:
    """A name server in memory that counts how often it is asked."""

    def __init__(self, **addresses: str) -> None:
        self.addresses = addresses
        self.asked = 0

    async def resolve(self, host: str, port: int) -> tuple[Address, ...]:
        self.asked += 1
        await asyncio.sleep(0)
        if host.replace(".", "_") not in self.addresses:
            raise OSError("unknown")
        return tuple(ipaddress.ip_address(text) for text in self.addresses[host.replace(".", "_")].split())


def guard(names: Names | None = None) -> EndpointGuard:
    return EndpointGuard(EndpointPolicy(ALLOWED), (names or Names()).resolve)


HOSTILE = [
    "http://169.254.169.254/latest/meta-data",
    "http://2852039166/",
    "http://0xa9fea9fe/",
    "http://0xa9.0xfe.0xa9.0xfe/",
    "http://0251.0376.0251.0376/",
    "http://169.254.43518/",
    "http://169.16689662/",
    "http://\uff11\uff16\uff19.254.169.254/",
    "http://169。254。169。254/",
    "http://169.254.169.254./",
    "http://169.254.169.25%34/",
    "http://[::ffff:169.254.169.254]/",
    "http://[::ffff:a9fe:a9fe]/",
    "http://[0:0:0:0:0:ffff:a9fe:a9fe]/",
    "http://[64:ff9b::a9fe:a9fe]/",
    "http://[64:ff9b::169.254.169.254]/",
    "http://[2002:a9fe:a9fe::]/",
    "http://[2001:0:a9fe:a9fe::]/",
    "http://[::169.254.169.254]/",
    "http://[::ffff:0:169.254.169.254]/",
    "http://[64:ff9b:1::a9fe:a9fe]/",
    "http://[64:ff9b::7f00:1]:11434/",
    "http://[2002:7f00:1::]:11434/",
    "http://[2001:0:808:808::80ff:fffe]:11434/",
    "http://[::127.0.0.1]:11434/",
    "http://[0000:0000:0000:0000:0000:0000:0000:0001]:80/",
    "http://[FD00:EC2::254]/",
    "http://[ff02::1]/",
    "http://\u2460\u2461\u2466.0.0.1/",
    "http://localhost:4222/",
    "http://localhost:2375/",
    "http://[fd00:ec2::254]/",
    "http://[fe80::1]/",
    "http://[fe80::1%25eth0]/",
    "http://[::]:11434/",
    "http://0.0.0.0:11434/",
    "http://0:11434/",
    "http://100.100.100.200/",
    "http://168.63.129.16/",
    "http://192.0.0.192/",
    "http://224.0.0.1/",
    "http://255.255.255.255/",
    "http://127.0.0.1/",
    "http://127.0.0.1:4222/",
    "http://127.0.0.2:11434/",
    "http://127.1:80/",
    "http://2130706433/",
    "http://0x7f000001/",
    "http://017700000001/",
    "http://[::1]:80/",
    "http://[::ffff:127.0.0.1]:11434/",
    "http://10.0.0.1/",
    "http://192.168.0.1/",
    "http://172.16.0.1/",
    "http://100.64.0.1/",
    "http://[fd12::1]/",
    "http://metadata.google.internal/",
    "http://METADATA.google.internal/",
    "http://metadata.google.internal./",
    "http://metadata/",
    "http://metadata.goog/",
    "http://instance-data/",
    "ftp://example.com/",
    "file:///etc/passwd",
    "gopher://example.com/",
    "javascript:alert(1)",
    "//example.com/",
    "example.com",
    "",
    "http://",
    "http:///",
    "http:example.com",
    "http:/example.com",
    "http://user@example.com/",
    "http://user:secret@example.com/",
    "http://@example.com/",
    "http://:@example.com/",
    "http://example.com@169.254.169.254/",
    "http://example.com/#fragment",
    "http://example.com/#",
    "http://example.com/?api_key=secret",
    "http://example.com/?",
    "http://exa mple.com/",
    " http://example.com/",
    "http://example.com/\r\nHost: evil",
    "http://example\t.com/",
    "http://example.com\\@127.0.0.1/",
    "http:\\\\127.0.0.1\\",
    "http://example.com:0/",
    "http://example.com:99999/",
    "http://example.com:port/",
    "http://example..com/",
    "http://256.256.256.256/",
    "http://1.2.3.4.5/",
    "http://[::1/",
    "http://[12345::1]/",
    "http://exa\x00mple.com/",
    "https://example.com/base%2fadmin",
    "https://example.com/base/..%2F..%2Fadmin",
    "https://example.com/%2e%2e%2fadmin",
    "https://example.com/base%5Cadmin",
    "https://example.com/base%00",
    "https://example.com/base%0d%0aHost:%20evil",
    "https://example.com/base%7f",
    "https://example.com//other.example/base",
    "https://example.com/base//admin",
    "https://example.com/a/..//other.example",
    "https://example.com/base?",
    "https://example.com/base?x=/../",
    "https://example.com/base/#",
]


@pytest.mark.parametrize("text", HOSTILE)
async def test_a_hostile_spelling_is_refused(text: str) -> None:
    with pytest.raises(EndpointNotAllowed):
        await guard(Names(example_com="93.184.216.34")).permit(text)


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("http://localhost:11434", "http://localhost:11434"),
        ("http://LOCALHOST:11434/", "http://localhost:11434"),
        ("http://127.0.0.1:11434", "http://127.0.0.1:11434"),
        ("http://2130706433:11434/", "http://127.0.0.1:11434"),
        ("http://[::1]:11434", "http://[::1]:11434"),
        ("http://ollama:11434", "http://ollama:11434"),
        ("https://api.openai.com/v1/", "https://api.openai.com/v1"),
        ("https://api.openai.com:443/v1", "https://api.openai.com/v1"),
        ("https://8.8.8.8/v1", "https://8.8.8.8/v1"),
        ("http://bücher.example/", "http://xn--bcher-kva.example"),
        ("https://8.8.8.8/some/base//", "https://8.8.8.8/some/base"),
        ("https://8.8.8.8/a/../b/./c/%2e%2e/d", "https://8.8.8.8/b/d"),
        ("https://8.8.8.8/../../etc", "https://8.8.8.8/etc"),
        ("https://8.8.8.8/Bücher%20hier", "https://8.8.8.8/B%C3%BCcher%20hier"),
        ("https://8.8.8.8/a%252fb", "https://8.8.8.8/a%252fb"),
    ],
)
async def test_what_is_allowed_is_kept_in_its_canonical_spelling(text: str, canonical: str) -> None:
    names = Names(localhost="127.0.0.1 ::1", ollama="172.18.0.5", api_openai_com="104.18.7.192 2606:4700::6812:7c0")

    assert await guard(names).permit(text) == canonical


async def test_a_name_that_leads_to_a_private_place_is_refused_with_the_entry_to_add() -> None:
    with pytest.raises(EndpointNotAllowed, match=r"add intranet\.example:8080 to AGENT_ALLOWED_HOSTS"):
        await guard(Names(intranet_example="93.184.216.34 10.0.0.7")).permit("http://intranet.example:8080/")


@pytest.mark.parametrize("addresses", ["169.254.169.254", "172.18.0.5 fe80::1", "::ffff:169.254.169.254", "0.0.0.0"])
async def test_an_allowed_name_may_not_lead_to_what_is_never_allowed(addresses: str) -> None:
    with pytest.raises(EndpointNotAllowed):
        await guard(Names(ollama=addresses)).permit("http://ollama:11434")


async def test_an_entry_is_for_one_port_only() -> None:
    with pytest.raises(EndpointNotAllowed, match="add ollama:80 "):
        await guard(Names(ollama="172.18.0.5")).permit("http://ollama/")


@pytest.mark.parametrize("port", [4222, 6222, 8222, 2375, 2376, 15222])
@pytest.mark.parametrize("host", ["127.0.0.1", "2130706433", "nats", "8.8.8.8", "public.example"])
async def test_no_entry_opens_a_port_of_the_platforms_own(host: str, port: int) -> None:
    names = Names(nats="172.18.0.3", public_example="93.184.216.34")
    policy = EndpointPolicy([f"{name}:{port}" for name in ("127.0.0.1", "nats")], own_ports=[15222])
    strict = EndpointGuard(policy, names.resolve)

    with pytest.raises(EndpointNotAllowed, match=f"port {port} is the platform's own"):
        await strict.permit(f"http://{host}:{port}/")
    with pytest.raises(EndpointNotAllowed):
        await strict.addresses(parse_endpoint(f"http://{host}:{port}/"))


async def test_an_unknown_name_is_let_through_at_first_and_goes_nowhere() -> None:
    strict = guard()

    assert await strict.permit("http://later.example:80/") == "http://later.example"
    with pytest.raises(HostNotFound):
        await strict.addresses(parse_endpoint("http://later.example"))


async def test_a_name_that_leads_elsewhere_later_is_refused_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.infrastructure.endpoint_guard.REMEMBER_S", 0)
    names = Names(moves_example="93.184.216.34")
    strict, endpoint = guard(names), parse_endpoint("http://moves.example")
    before = await strict.addresses(endpoint)

    names.addresses["moves_example"] = "127.0.0.1"

    assert before == (ipaddress.ip_address("93.184.216.34"),)
    with pytest.raises(EndpointNotAllowed):
        await strict.addresses(endpoint)


async def test_look_ups_are_shared_and_remembered_for_a_moment() -> None:
    names = Names(ollama="172.18.0.5")
    strict, endpoint = guard(names), parse_endpoint("http://ollama:11434")

    await asyncio.gather(*(strict.addresses(endpoint) for _ in range(10)))
    await strict.addresses(endpoint)

    assert names.asked == 1


async def test_a_name_server_that_hangs_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.infrastructure.endpoint_guard.LOOK_UP_WITHIN_S", 0.05)

    async def hang(host: str, port: int) -> tuple[Address, ...]:
        await asyncio.sleep(0.2)
        return ()

    strict = EndpointGuard(EndpointPolicy(()), hang)
    with pytest.raises(HostNotFound):
        await strict.addresses(parse_endpoint("http://slow.example"))
    await asyncio.sleep(0.25)


async def test_remembered_names_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.infrastructure.remembering.MAX_REMEMBERED", 2)
    names = Names(a_example="1.1.1.1", b_example="1.1.1.1", c_example="1.1.1.1")
    strict = guard(names)

    for host in ("a", "b", "c", "a"):
        await strict.addresses(parse_endpoint(f"http://{host}.example"))

    assert names.asked == 4


async def test_localhost_is_looked_up_with_ipv4_first() -> None:
    addresses = await look_up("localhost", 80)

    assert addresses[0] == ipaddress.ip_address("127.0.0.1")


@given(st.text(max_size=60) | st.text(max_size=40).map(lambda text: f"http://{text}"))
def test_any_text_is_an_endpoint_or_refused(text: str) -> None:
    try:
        endpoint = parse_endpoint(text)
    except EndpointNotAllowed:
        return
    assert parse_endpoint(endpoint.url) == endpoint
