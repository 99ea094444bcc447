import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.bus.headers import read_headers, write_headers

names = st.text("abcXYZ-", min_size=1)
values = st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]))


@given(st.dictionaries(names, values))
def test_headers_survive_their_block(headers: dict[str, str]) -> None:
    assert read_headers(write_headers(headers)) == headers


@pytest.mark.parametrize("value", ["a\r\nb: c", "a\nb: c", "a\r"])
def test_a_value_cannot_start_another_header(value: str) -> None:
    with pytest.raises(ValueError, match="one line"):
        write_headers({"a": value})


@pytest.mark.parametrize(
    ("block", "headers"),
    [
        (b"", {}),
        (b"NATS/1.0 503\r\n\r\n", {"Status": "503"}),
        (b"NATS/1.0\r\nno colon\r\nb: 2\r\n\r\n", {"b": "2"}),
        (b"NATS/1.0\r\na: 1\r\na: 2\r\n\r\n", {"a": "2"}),
        (b"NATS/1.0\r\na: \xff\r\n\r\n", {"a": "\ufffd"}),
    ],
)
def test_what_others_write_is_read_as_far_as_it_is_a_header(block: bytes, headers: dict[str, str]) -> None:
    assert read_headers(block) == headers
