"""The bounds of conversations."""

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.conversation import MAX_EXCHANGES, MAX_TEXT_BYTES, Exchange, fitting, title_of

NOW = datetime(2026, 11, 22, tzinfo=UTC)
HALF = MAX_TEXT_BYTES // 2
TEXTS = st.builds(
    lambda character, size: character * size, st.characters(exclude_categories=["Cs"]), st.integers(0, MAX_TEXT_BYTES)
)


def exchange(question: str, answer: str) -> Exchange:
    return Exchange(question, answer, NOW, NOW)


@given(st.lists(st.integers(0, MAX_TEXT_BYTES), max_size=2 * MAX_EXCHANGES))
def test_as_many_of_the_newest_are_kept_as_fit(sizes: list[int]) -> None:
    count = fitting(sizes)

    assert count <= MAX_EXCHANGES
    assert sum(sizes[:count]) <= MAX_TEXT_BYTES
    assert count in (len(sizes), MAX_EXCHANGES) or sum(sizes[: count + 1]) > MAX_TEXT_BYTES


@given(TEXTS, TEXTS)
def test_an_exchange_that_is_too_large_alone_is_cut_and_each_text_keeps_half(question: str, answer: str) -> None:
    whole = exchange(question, answer)

    kept = whole.fitted()

    assert kept.size <= MAX_TEXT_BYTES
    for text, cut in ((question, kept.question), (answer, kept.answer)):
        assert text.startswith(cut)
        assert cut == text or len(cut.encode()) > HALF - 4
    assert kept == whole or kept.size > MAX_TEXT_BYTES - 8


def test_a_cut_leaves_whole_characters() -> None:
    kept = exchange("ペ" * MAX_TEXT_BYTES, "").fitted()

    assert kept.question == "ペ" * (MAX_TEXT_BYTES // 3)


def test_a_title_is_the_beginning_of_the_first_message() -> None:
    assert title_of("ü" * 81) == "ü" * 80
