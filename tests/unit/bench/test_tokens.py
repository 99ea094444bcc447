"""What the benchmark takes for a stream in which a token is missing."""

import pytest

from tests.bench.tokens import Tokens, Wish, token


def test_a_wish_is_read_from_the_request_that_it_is_in() -> None:
    wish = Wish(100, 20)

    assert Wish.read(b'{"content": "' + wish.message.encode() + b'"}') == wish
    assert Wish.read(b'{"content": "How quiet is it?"}') is None


def test_tokens_in_order_are_right_in_whatever_pieces() -> None:
    tokens = Tokens()

    pieces = [
        tokens.read(token(0, 5) + b"\n" + token(1, 6)),
        tokens.read(b"nothing"),
        tokens.read(token(2, 7, is_last=True)),
    ]

    assert [piece.sent_ns for piece in pieces] == [[5, 6], [], [7]]
    assert all(piece.is_right for piece in pieces)
    assert (tokens.count, tokens.ended) == (3, True)


@pytest.mark.parametrize("numbers", [(0, 2), (0, 1, 1), (1,), (1, 0)])
def test_a_token_missing_doubled_or_out_of_order_is_wrong(numbers: tuple[int, ...]) -> None:
    assert not Tokens().read(b"".join(token(number, 5) for number in numbers)).is_right


def test_a_token_after_the_last_is_wrong() -> None:
    tokens = Tokens()
    tokens.read(token(0, 5, is_last=True))

    assert not tokens.read(token(1, 6)).is_right
