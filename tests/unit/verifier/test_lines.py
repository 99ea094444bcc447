"""Single lines: canonical JSON, and that the quick way to read an entry is exactly as strict as the plain one."""

import ast
import json
import random
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import peanut_verify
from audit.domain.chain import fingerprint
from peanut_verify import Entry, QuickReader, Refused, Stretch, canonical, parse_canonical, read_line
from tests.unit.audit.domain.test_canonical import Json, rfc_8785
from tests.unit.verifier.exports import export, sealed, varied, without

MUTATED_LINES = 12_000

ODD = (
    *(b"01", b"-0", b"1.0", b"1e3", b"999999999999999", b"1234567890123456", b"9007199254740992", b"nul", b"NaN"),
    *(
        b'"\\u0041"',
        b'"\\/"',
        b'"\\n"',
        b'"\x7f"',
        b'"\x1f"',
        b'"\xff"',
        b'"\xed\xa0\x80"',
        b'"\xc3\xa9"',
        b'"\\ud800"',
    ),
    *(b"[]", b"[1]", b"{}", b'{"b":1,"a":2}', b'{"a":1,"a":1}', b'{"a":{"b":{"c":1}}}', b'{"a":1,"b":"x"}', b"true"),
    *(b'""', b'" "', b" 1", b"null", b"-5", b'"\xf0\x9f\x98\x80"', b'"},\\"id"', b'"}"', b'","id":"', b"1,2", b""),
)
LETTER = re.compile(rb"(?<=[a-z])[a-z](?=[a-z])")
VALUE = re.compile(rb'":("[^"]*"|-?[0-9]+|null|true|false)')
TOKEN = re.compile(rb'"[^"]*"|-?[0-9]+|null|true|false|[{}\[\]:,]')


@given(Json)
def test_what_is_canonical_is_read_as_it_was_written(value: Any) -> None:
    text = rfc_8785(value).encode()

    read = parse_canonical(text)

    assert (read, canonical(read)) == (value, text)


@settings(max_examples=300)
@given(Json, st.data())
def test_whatever_else_is_read_would_be_written_so(value: Any, data: st.DataObject) -> None:
    text = rfc_8785(value)
    place = data.draw(st.integers(0, len(text)))
    edited = text[:place] + data.draw(st.text('{}[]:,"\\ 0123456789-.eunltrfasbäé\t', max_size=3)) + text[place + 1 :]

    try:
        read = parse_canonical(edited.encode())
    except Refused:
        return

    assert rfc_8785(read) == edited


def test_strings_are_escaped_as_in_the_example_of_rfc_8785() -> None:
    """3.2.2.2: the string of the RFC's example, `\\u20ac$\\u000F\\u000aA'\\u0042\\u0022\\u005c\\\\\\"\\/`."""
    written = '"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/"'.encode()

    assert parse_canonical(written) == '€$\x0f\nA\'B"\\\\"/'


def test_members_are_in_the_order_of_the_example_of_rfc_8785() -> None:
    """3.2.3: by UTF-16 code units, in which an emoji comes before the ligature U+FB33."""
    order = ["\r", "1", "\x80", "\xf6", "€", "😀", "\ufb33"]
    text = json.dumps(dict.fromkeys(order, 0), ensure_ascii=False, separators=(",", ":"))

    assert list(parse_canonical(text.encode())) == order
    for one in range(len(order) - 1):
        swapped = [*order[:one], order[one + 1], order[one], *order[one + 2 :]]
        with pytest.raises(Refused, match="out of order"):
            parse_canonical(json.dumps(dict.fromkeys(swapped, 0), ensure_ascii=False, separators=(",", ":")).encode())


@pytest.mark.parametrize(
    "text",
    [
        *(b"", b" 1", b"1 ", b"01", b"-0", b"+1", b"1.0", b"1e2", b"0.5", b"NaN", b"-Infinity", b"0x1", b"1_0"),
        *(b"9007199254740992", b"-9007199254740992", b"9" * 5000, b'"\\u0041"', b'"\\/"', b'"\\u000A"', b'"\\u001F"'),
        *(b'"\n"', b'"\x00"', b"\x00", b'"\xff"', b'"\xed\xa0\x80"', b'"\\ud800"', b'"\\ud83d\\ude00"', b'"\xc0\x80"'),
        *(
            b'{"a":1,"a":1}',
            b'{"b":1,"a":1}',
            b'{"a":1,}',
            b"[1,]",
            b'{"a" :1}',
            b"{'a':1}",
            b"nul",
            b"[1",
            b'"',
            b"1 2",
        ),
        *(b"\xef\xbb\xbf1", b"[" * 100_000, b"[" * 900 + b"]" * 900 + b"]", b'{"a":' * 100_000, b"\\u0031", b"//\n1"),
    ],
    ids=lambda text: repr(text[:20]),
)
def test_what_another_reader_could_take_differently_is_refused(text: bytes) -> None:
    with pytest.raises(Refused):
        parse_canonical(text)


def test_the_quick_way_is_exactly_as_strict_as_the_plain_one() -> None:
    """On lines whose bodies were changed, most of them with a fingerprint that is right for the changed bytes."""
    chance = random.Random(3)
    rows = sealed([varied(chance) for _ in range(60)], chance)
    rows = [without(row, "userAgent") if row.index % 7 == 0 else row for row in rows]
    lines = [line[:-1] for line in export(rows).lines[2:-1]]
    reader = QuickReader()
    for line in lines:
        found = read_line(line)
        assert isinstance(found, Entry)
        reader.learn(found.details)
    unequal: list[bytes] = []
    taken = {"both": 0, "plain": 0, "none": 0}

    for number in range(MUTATED_LINES):
        line = _mutated(lines[number % len(lines)], chance).replace(b"\n", b"")
        quick, plain = _quickly(reader, line), _plainly(line)
        if quick is not None and quick != plain:
            unequal.append(line)
        taken["both" if quick else "plain" if plain else "none"] += 1

    assert unequal == []
    assert min(taken.values()) > MUTATED_LINES / 30, "each kind of line has been tried often"


def test_untouched_lines_of_a_known_form_are_read_the_quick_way() -> None:
    chance = random.Random(4)
    [_, first, *lines, _] = export(sealed([varied(chance)._replace(details={"a": 1}) for _ in range(20)], chance)).lines
    reader = QuickReader()
    found = read_line(first[:-1])
    assert isinstance(found, Entry)
    reader.learn(found.details)

    read = [found for line in lines for found in reader.read(line)]

    plain = [line for line in lines if b"\\" in line]
    assert [each for each in read if isinstance(each, bytes)] == [line[:-1] for line in plain]


def test_forms_are_learned_up_to_a_limit() -> None:
    reader = QuickReader()
    for number in range(200):
        reader.learn({f"name-{number}": 1})

    [_, _, line, _] = export(sealed([varied(random.Random(5))] * 2, random.Random(5))).lines

    assert list(reader.read(line)) == [line[:-1]]


def test_the_verifier_needs_the_standard_library_and_cryptography_alone() -> None:
    tree = ast.parse(Path(peanut_verify.__file__).read_text())
    imported = {
        name.partition(".")[0]
        for node in ast.walk(tree)
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or "."]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }

    assert imported - sys.stdlib_module_names == {"cryptography"}


def _quickly(reader: QuickReader, line: bytes) -> Stretch | None:
    [found] = reader.read(line + b"\n")
    return found if isinstance(found, Stretch) else None


def _plainly(line: bytes) -> Stretch | None:
    try:
        found = read_line(line)
    except Refused:
        return None
    return found.stretch if isinstance(found, Entry) else None


def _mutated(line: bytes, chance: random.Random) -> bytes:
    """A line changed in one or two places, hashed anew in most cases."""
    begin, _, rest = line.partition(b',"fingerprint":"')
    body, rest = begin.removeprefix(b'{"body":'), rest[64:]
    kind = chance.randrange(10)
    if kind < 6:
        body = _edited(body, chance)
    elif kind < 9:
        rest = _edited(rest, chance)
    else:
        return _edited(line, chance)
    index, previous = int(re.findall(rb'"index":(\d+)', line)[-1]), bytes.fromhex(line[-66:-2].decode())
    return b'{"body":%b,"fingerprint":"%b%b' % (body, fingerprint(index, previous, body).hex().encode(), rest)


def _edited(text: bytes, chance: random.Random) -> bytes:
    return chance.choice((*WAYS, _with_another_value, *(4 * [_with_another_letter])))(text, chance)


def _with_another_value(text: bytes, chance: random.Random) -> bytes:
    """Another value of a member; what remains is JSON, and mostly an entry."""
    value = chance.choice(list(VALUE.finditer(text)))
    return text[: value.start(1)] + chance.choice((*ODD, b'"x"', b'""', b"1", b"null")) + text[value.end(1) :]


def _with_another_letter(text: bytes, chance: random.Random) -> bytes:
    """Within one of the first texts, which may hold anything in most cases."""
    letter = chance.choice(list(LETTER.finditer(text))[:60])
    return (
        text[: letter.start()]
        + chance.choice((b"0", b"a", b"A", b" ", b"{", b"}", b":", b",", b"\xc3\xa9"))
        + text[letter.end() :]
    )


def _with_another_byte(text: bytes, chance: random.Random) -> bytes:
    place = chance.randrange(len(text))
    return text[:place] + bytes([chance.randrange(256)]) + text[place + 1 :]


def _with_less(text: bytes, chance: random.Random) -> bytes:
    place = chance.randrange(len(text))
    return text[:place] + text[place + chance.randrange(1, 4) :]


def _with_more(text: bytes, chance: random.Random) -> bytes:
    place = chance.randrange(len(text))
    return text[:place] + chance.choice((b" ", b",", b'"', b"0", b"}", b"\\", b"\x00", b"x")) + text[place:]


def _with_capitals(text: bytes, chance: random.Random) -> bytes:
    place = chance.randrange(len(text))
    return text[:place] + text[place:].swapcase()


def _with_another_token(text: bytes, chance: random.Random) -> bytes:
    token, other = (chance.choice(list(TOKEN.finditer(text))) for _ in range(2))
    return text[: token.start()] + chance.choice((*ODD, *(3 * [other.group()]))) + text[token.end() :]


def _with_a_part_twice_or_not_at_all(text: bytes, chance: random.Random) -> bytes:
    start, end = sorted(chance.choice(list(TOKEN.finditer(text))).start() for _ in range(2))
    return text[:start] + text[start:end] * chance.choice((0, 2)) + text[end:]


WAYS = (
    *(_with_another_byte, _with_less, _with_more, _with_capitals),
    *(_with_another_token, _with_a_part_twice_or_not_at_all),
)
