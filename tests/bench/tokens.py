"""Tokens that are numbered and tell when they were sent, and how a request asks the fake provider for a stream of them.

The clock is CLOCK_MONOTONIC, which all processes of a machine share.
"""

import re
from dataclasses import dataclass
from typing import NamedTuple, Self

_WISH = re.compile(rb"Stream (\d+) tokens, one every (\d+) ms\.")
_TOKEN = re.compile(rb"#(\d+)@(\d+)([;.])")
_LAST = b"."

UNTIL_TOLD = 0
"""A number of tokens: as many as there come until the provider is told to finish."""


@dataclass(frozen=True, slots=True)
class Wish:
    """A stream as a message asks for it."""

    tokens: int
    """How many, or UNTIL_TOLD."""
    every_ms: int
    """The time from one to the next; zero is flat out."""

    @property
    def message(self) -> str:
        """What to say to the provider."""
        return f"Stream {self.tokens} tokens, one every {self.every_ms} ms."

    @classmethod
    def read(cls, request: bytes) -> Self | None:
        """The wish in a request, if there is one."""
        found = _WISH.search(request)
        return cls(int(found[1]), int(found[2])) if found else None


def token(number: int, sent_ns: int, *, is_last: bool = False) -> bytes:
    """The text of a token. JSON leaves each of its characters as it is."""
    return b"#%d@%d%b" % (number, sent_ns, _LAST if is_last else b";")


class Arrival(NamedTuple):
    """What a piece of a stream holds."""

    sent_ns: list[int]
    """When each token was sent, in the order in which they arrived."""
    is_right: bool
    """Whether they are the next ones, none is missing and none came twice."""


class Tokens:
    """The tokens of one stream, read as its lines arrive."""

    def __init__(self) -> None:
        self.count = 0
        self.ended = False
        """Whether the last one was among them."""

    def read(self, lines: bytes) -> Arrival:
        """Read whole lines."""
        found = _TOKEN.findall(lines)
        first, self.count = self.count, self.count + len(found)
        is_right = not found or (not self.ended and [int(each[0]) for each in found] == [*range(first, self.count)])
        self.ended = self.ended or (bool(found) and found[-1][2] == _LAST)
        return Arrival([int(each[1]) for each in found], is_right)
