import pytest

from edge.http import request as module
from edge.http.request import BodyTooSlow, UnsupportedMediaType
from shared.errors import Malformed, TooLarge
from tests.unit.edge.requests import request

MIB = 1024 * 1024


async def test_a_body_in_pieces_is_whole() -> None:
    assert await request("POST", body=[b'{"a"', b":", b"1}"]).body() == b'{"a":1}'


async def test_a_body_of_exactly_one_mib_is_taken() -> None:
    assert len(await request("POST", body=[b"x" * (MIB - 1), b"x"]).body()) == MIB


async def test_a_longer_one_is_too_large_whether_announced_or_not() -> None:
    with pytest.raises(TooLarge):
        await request("POST", headers=[("content-length", str(MIB + 1))]).body()
    with pytest.raises(TooLarge):
        await request("POST", body=[b"x" * MIB, b"x", b"y"]).body()
    with pytest.raises(TooLarge):
        await request("POST", body=[b"x" * (MIB + 1)]).body()


async def test_a_client_that_leaves_half_way_has_sent_nothing() -> None:
    broken = request("POST", body=[b"{", b""])
    await broken._receive()
    await broken._receive()

    with pytest.raises(Malformed):
        await broken.body()


async def test_a_body_that_drips_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BODY_WITHIN_S", 0.05)
    slow = request("POST", body=[b"{", b"}"])
    first = slow._receive

    async def never() -> dict[str, object]:

        slow._receive = _hang
        return dict(await first())

    async def _hang() -> dict[str, object]:
        import asyncio

        await asyncio.sleep(5)
        return {}

    slow._receive = never

    with pytest.raises(BodyTooSlow):
        await slow.body()


@pytest.mark.parametrize("kind", ["text/plain", "application/jsonx", "", "multipart/form-data; boundary=x"])
def test_a_body_that_is_not_said_to_be_json_is_refused(kind: str) -> None:
    with pytest.raises(UnsupportedMediaType):
        request("POST", headers=[("content-length", "2"), ("content-type", kind)]).require_json()


def test_json_with_a_charset_and_no_body_at_all_are_fine() -> None:
    request(
        "POST", headers=[("content-length", "2"), ("content-type", "Application/JSON; charset=utf-8")]
    ).require_json()
    request("POST", headers=[("content-length", "0")]).require_json()


@pytest.mark.parametrize("given", ["abc-123", "a" * 128])
def test_a_valid_request_id_is_kept(given: str) -> None:
    made = request(headers=[("x-request-id", given)])

    assert made.request_id == given
    assert made.event_id != given


@pytest.mark.parametrize("given", ["a" * 129, "a b", "\xe9", "", "a\tb"])
def test_an_invalid_request_id_is_replaced(given: str) -> None:
    made = request(headers=[("x-request-id", given)])

    assert made.request_id == made.event_id
