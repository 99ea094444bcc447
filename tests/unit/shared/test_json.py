import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import Malformed
from shared.json import MAX_DEPTH, MAX_PARTS, require_sound_json

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]))
)
KEYS = st.text(st.characters(exclude_categories=["Cs"]))
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(KEYS, inner), max_leaves=30)


@given(VALUES, st.booleans(), st.sampled_from([None, 0, 2]))
def test_whatever_json_dumps_writes_is_sound(value: Any, ensure_ascii: bool, indent: int | None) -> None:
    require_sound_json(json.dumps(value, ensure_ascii=ensure_ascii, indent=indent).encode())


@given(st.lists(st.sampled_from(["[", "{"]), max_size=30), KEYS)
def test_a_key_twice_is_refused_at_any_depth(way: list[str], key: str) -> None:
    name = json.dumps(key)
    text = f"{{{name}: 1, {name}: 2}}"
    for bracket in way:
        text = f"[{text}]" if bracket == "[" else f'{{"k": {text}}}'

    with pytest.raises(Malformed, match="twice"):
        require_sound_json(text.encode())


def test_a_key_is_the_same_however_it_is_spelled() -> None:
    with pytest.raises(Malformed, match="twice"):
        require_sound_json(rb'{"a": 1, "\u0061": 2}')


@given(st.binary(max_size=200))
def test_bytes_of_any_kind_are_sound_or_malformed(body: bytes) -> None:
    try:
        require_sound_json(body)
    except Malformed:
        return
    json.loads(body)


@given(st.text(alphabet='[]{}",:\\u0d8e1. ', max_size=300))
def test_texts_that_look_like_json_are_sound_or_malformed(text: str) -> None:
    try:
        require_sound_json(text.encode())
    except Malformed:
        return
    json.loads(text)


@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")], ids=["lists", "objects"])
def test_the_depth_is_bounded_exactly(opening: str, closing: str) -> None:
    deepest = opening * MAX_DEPTH + "1" + closing * MAX_DEPTH
    require_sound_json(deepest.encode())

    with pytest.raises(Malformed, match="64"):
        require_sound_json(f"[{deepest}]".encode())


@pytest.mark.parametrize("text", ["[" * 1000, '"' * 99 + "{[" * 500, '\\"[' * 500, '\\\\"[{' * 500], ids=ascii)
def test_brackets_in_strings_do_not_count(text: str) -> None:
    require_sound_json(json.dumps({text: [text, text]}).encode())


@pytest.mark.parametrize(
    ("part", "parts_of_one"), [("[]", 1), ("{}", 1), ('{"a":[1,2]}', 3), ('{"a":1,"b":2,"c":3}', 4)]
)
def test_the_number_of_parts_is_bounded_whatever_they_are(part: str, parts_of_one: int) -> None:
    most = (MAX_PARTS - 1) // parts_of_one
    require_sound_json(f"[{','.join([part] * most)}]".encode())

    with pytest.raises(Malformed, match="50000"):
        require_sound_json(f"[{','.join([part] * (most + 1))}]".encode())


def test_one_object_of_too_many_names_is_refused() -> None:
    names = ",".join(f'"{number}":0' for number in range(MAX_PARTS))

    with pytest.raises(Malformed, match="50000"):
        require_sound_json(f"{{{names}}}".encode())


def test_parts_in_strings_and_plain_values_do_not_count() -> None:
    code = json.dumps("{[:" * MAX_PARTS)

    require_sound_json(f'{{"a": {code}, "b": [{",".join(["1"] * (MAX_PARTS + 1))}]}}'.encode())


def test_many_brackets_side_by_side_are_not_deep() -> None:
    require_sound_json(b"[" + b"[],{}," * 1000 + b"[]]")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"NaN",
        b"[Infinity]",
        b"[-Infinity]",
        b"1e999",
        b"-1e999",
        b"1" + b"0" * 400 + b".5",
        b"9" * 5000,
        b"-" + b"9" * 5000,
        b"18446744073709551616",
        b"-9223372036854775809",
        b"\xff",
        b'"\xc3"',
        b'"\xed\xa0\x80"',
        b"\xef\xbb\xbf{}",
        '{"a": 1}'.encode("utf-16"),
        rb'"\ud800"',
        rb'{"\udc00": 1}',
        rb'["\ude00\ud83d"]',
        b'{"a": 1} x',
        b"{} {}",
        b'{"a": 1,}',
        b"[1,]",
        b"{'a': 1}",
        b'{"a"',
        b'"\t"',
        b'"\x00"',
        b"01",
        b"+1",
        b"[}" * 100,
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'["\\' * 1000,
        b'["' + b'\\"' * 1000,
        b"[" * 70 + b'"' * 1001,
        b"[" * 65 + b"\\" * 999,
    ],
    ids=lambda body: repr(body[:20]),
)
def test_what_is_no_sound_json_is_malformed(body: bytes) -> None:
    with pytest.raises(Malformed):
        require_sound_json(body)


@pytest.mark.parametrize(
    "body", [b"18446744073709551615", b"-9223372036854775808", rb'"\ud83e\udd5c"', b"1e308", b"1e-999"]
)
def test_what_is_just_still_sound(body: bytes) -> None:
    require_sound_json(body)
