"""HTTP that goes only where the guard has looked."""

import ipaddress
from collections.abc import AsyncIterator

import pytest

from orchestrator.application.upstreams import UpstreamFailure, UpstreamTimeout
from orchestrator.domain.endpoint import Address, EndpointPolicy
from orchestrator.infrastructure.endpoint_guard import EndpointGuard
from orchestrator.infrastructure.guarded_http import GuardedHttp, open_http
from tests.integration.orchestrator import upstreams
from tests.integration.orchestrator.upstreams import Upstream

ADDRESSES = {"here.test": "127.0.0.1", "two.test": "127.0.0.2 127.0.0.1", "nowhere.test": "127.0.0.2 127.0.0.3"}


@pytest.fixture
async def http(server: Upstream) -> AsyncIterator[GuardedHttp]:
    """Knows names that no name server knows."""

    async def resolve(host: str, port: int) -> tuple[Address, ...]:
        return tuple(ipaddress.ip_address(text) for text in ADDRESSES.get(host, "127.0.0.2 127.0.0.1").split())

    entries = [f"{host}:{server.port}" for host in (*ADDRESSES, *(f"h{number}.test" for number in range(5)))]
    async with open_http(EndpointGuard(EndpointPolicy(entries), resolve)) as http:
        yield http


async def get(http: GuardedHttp, server: Upstream, host: str, *, within_s: float = 5) -> int:
    base = f"http://{host}:{server.port}/v1"
    return (await http.send("GET", base, "/models", within_s=within_s)).status


async def test_a_name_is_connected_to_at_the_address_that_was_looked_up(http: GuardedHttp, server: Upstream) -> None:
    assert await get(http, server, "here.test") == 200
    assert server.requests[0].headers["host"] == f"here.test:{server.port}"


async def test_the_next_address_is_tried_when_nobody_listens_at_the_first(http: GuardedHttp, server: Upstream) -> None:
    assert [await get(http, server, "two.test") for _ in range(3)] == [200, 200, 200]
    assert server.connections == 1


async def test_nobody_at_any_address_is_a_failure(http: GuardedHttp, server: Upstream) -> None:
    with pytest.raises(UpstreamFailure, match="cannot be connected to"):
        await get(http, server, "nowhere.test")


async def test_a_request_that_was_sent_is_never_sent_to_another_address(http: GuardedHttp, server: Upstream) -> None:
    assert await get(http, server, "two.test") == 200
    server.probe = upstreams.closes_at_once

    with pytest.raises(UpstreamFailure, match="connection broke"):
        await get(http, server, "two.test")

    assert len(server.requests) == 2


async def test_time_is_shared_by_all_addresses(http: GuardedHttp, server: Upstream) -> None:
    server.probe = upstreams.hangs

    with pytest.raises(UpstreamTimeout):
        await get(http, server, "two.test", within_s=0.2)
    with pytest.raises(UpstreamTimeout):
        await get(http, server, "nowhere.test", within_s=0)


async def test_remembered_addresses_are_bounded(
    http: GuardedHttp, server: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.infrastructure.remembering.MAX_REMEMBERED", 2)

    statuses = [await get(http, server, f"h{number}.test") for number in (0, 1, 2, 0, 3, 4)]

    assert statuses == [200] * 6
    assert list(http._last_good) == ["h3.test", "h4.test"]


async def test_connections_to_one_address_are_not_shared_by_names(http: GuardedHttp, server: Upstream) -> None:
    for _ in range(2):
        assert [await get(http, server, host) for host in ("here.test", "h0.test")] == [200, 200]

    assert server.connections == 2
