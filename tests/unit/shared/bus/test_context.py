import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.bus.context import (
    IDEMPOTENCY_KEY,
    NobodyAsks,
    accept_by,
    call_context,
    from_headers,
    new_traceparent,
    to_headers,
)
from shared.clock import unix_ms
from shared.errors import Malformed

VALID = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def test_a_context_survives_its_headers() -> None:
    context = call_context(seconds=5)

    headers = to_headers(context, unix_ms())

    assert from_headers(headers) == context
    assert unix_ms() + 900 < accept_by(headers) <= unix_ms() + 1000
    assert context.request_id == context.event_id


def test_an_idempotency_key_goes_with_its_call_and_there_is_no_header_without_one() -> None:
    context = replace(call_context(seconds=5), idempotency_key="a-key:~1")

    headers = to_headers(context, unix_ms())

    assert from_headers(headers) == context
    assert IDEMPOTENCY_KEY not in to_headers(call_context(seconds=5), unix_ms())


@pytest.mark.parametrize("key", ["", "a b", "ü", "k" * 256, "k\n"])
def test_what_is_no_idempotency_key_is_malformed(key: str) -> None:
    headers = {**to_headers(call_context(seconds=5), unix_ms()), IDEMPOTENCY_KEY: key}

    with pytest.raises(Malformed):
        from_headers(headers)


@given(st.dictionaries(st.sampled_from(list(to_headers(call_context(seconds=1), unix_ms()))), st.text()))
def test_strange_headers_are_malformed_or_understood(changed: dict[str, str]) -> None:
    headers = to_headers(call_context(seconds=1), unix_ms()) | changed
    try:
        from_headers(headers).remaining()
        accept_by(headers)
    except Malformed:
        pass


def test_nobody_is_no_principal() -> None:
    with pytest.raises(NobodyAsks):
        _ = call_context(seconds=1).principal


def test_a_deadline_is_only_ever_brought_forward() -> None:
    context = call_context(seconds=5)

    assert context.until(60) == context
    assert 0.9 < context.until(1).remaining() <= 1
    assert context.until(-1).remaining() < 0


def test_a_valid_trace_goes_on_with_a_span_of_its_own() -> None:
    renewed = new_traceparent(VALID)

    assert (renewed[:36], renewed[52:]) == (VALID[:36], "-01")
    assert renewed[36:52] != VALID[36:52]


@pytest.mark.parametrize(
    "given",
    [
        None,
        "",
        VALID.upper(),
        VALID + "\n",
        VALID[:-1],
        "01" + VALID[2:],
        f"00-{'0' * 32}-{'b' * 16}-01",
        f"00-{'a' * 32}-{'0' * 16}-01",
        "x" * 10_000,
    ],
)
def test_an_invalid_trace_is_replaced_by_a_new_one(given: str | None) -> None:
    first, second = new_traceparent(given), new_traceparent(given)

    assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-00", first)
    assert first[3:35] != second[3:35]
    assert given is None or first[3:35] not in given


def test_the_trace_id_is_the_traces() -> None:
    context = call_context(seconds=1)

    assert context.traceparent.split("-")[1] == context.trace_id
