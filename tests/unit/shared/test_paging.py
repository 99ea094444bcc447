import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import InvalidFields
from shared.paging import Cursors

AGENTS = Cursors(b"k" * 32, "agents")


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_a_cursor_leads_back_to_its_position(position: str) -> None:
    cursor = AGENTS.after(position)

    assert AGENTS.position(cursor) == position
    assert cursor.isascii()


@given(st.text())
def test_a_made_up_cursor_is_refused(cursor: str) -> None:
    with pytest.raises(InvalidFields):
        AGENTS.position(cursor)


@pytest.mark.parametrize(
    "other", [Cursors(b"k" * 32, "keys"), Cursors(b"l" * 32, "agents")], ids=["another list", "another key"]
)
def test_a_foreign_cursor_is_refused(other: Cursors) -> None:
    with pytest.raises(InvalidFields):
        AGENTS.position(other.after("x"))


@given(st.integers(0, 255), st.integers(0, 100))
def test_a_changed_or_truncated_cursor_is_refused(flip: int, place: int) -> None:
    raw = bytearray(base64.urlsafe_b64decode(AGENTS.after("position-12345") + "=="))
    changed = bytearray(raw)
    changed[place % len(raw)] ^= flip or 1

    for forged in (changed, raw[: place % len(raw)]):
        with pytest.raises(InvalidFields) as caught:
            AGENTS.position(base64.urlsafe_b64encode(forged).decode())
        assert [error.path for error in caught.value.errors] == ["cursor"]
