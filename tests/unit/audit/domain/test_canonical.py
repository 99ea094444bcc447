import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.domain.canonical import MAX_SAFE_INTEGER, canonical, plain

Json = st.recursive(
    st.none() | st.booleans() | st.integers(-MAX_SAFE_INTEGER, MAX_SAFE_INTEGER) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=5),
    max_leaves=20,
)

SHORT = {8: "\\b", 9: "\\t", 10: "\\n", 12: "\\f", 13: "\\r", 34: '\\"', 92: "\\\\"}


def rfc_8785(value: Any) -> str:
    """Written after the RFC alone: sections 3.2.2 (literals, strings, integers) and 3.2.3 (sorting)."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int):
        return str(value)
    if isinstance(value, str):
        text = [SHORT.get(ord(c)) or (f"\\u{ord(c):04x}" if ord(c) < 32 else c) for c in value]
        return '"' + "".join(text) + '"'
    if isinstance(value, list):
        return "[" + ",".join(map(rfc_8785, value)) + "]"
    names = sorted(value, key=lambda name: list(name.encode("utf-16-be")))
    return "{" + ",".join(rfc_8785(name) + ":" + rfc_8785(value[name]) for name in names) + "}"


@given(Json)
def test_an_independent_implementation_of_the_rfc_writes_the_same_bytes(value: Any) -> None:
    assert canonical(plain(value)) == rfc_8785(value).encode()


@pytest.mark.parametrize(
    ("given_value", "expected"),
    [
        ({"b": 1, "a": [True, None]}, b'{"a":[true,null],"b":1}'),
        (0.5, b'"0.5"'),
        (1e22, b'"1e+22"'),
        (-0.0, b'"-0.0"'),
        (math.inf, b'"inf"'),
        (2**53 - 1, b"9007199254740991"),
        (2**53, b'"9007199254740992"'),
        (-(10**40), b'"-' + str(10**40).encode() + b'"'),
        ({"\U0001f600": 1, "\ufb33": 2}, '{"\U0001f600":1,"\ufb33":2}'.encode()),
        ({"x": {"b": {"d": 1, "c": 2}, "a": 0.1}}, b'{"x":{"a":"0.1","b":{"c":2,"d":1}}}'),
    ],
)
def test_numbers_that_readers_could_take_differently_become_text(given_value: Any, expected: bytes) -> None:
    assert canonical(plain(given_value)) == expected


def test_what_json_cannot_say_is_an_error() -> None:
    with pytest.raises(ValueError, match="JSON has no bytes"):
        plain({"x": b"1"})
