"""The rows of streams: of whom, which stream, how many at the same time."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from tests.bench.rows import Target, chat_request, dispatch_request
from tests.bench.tokens import UNTIL_TOLD, Wish

OPENAI_END = b"data: [DONE]"
DISPATCH_END = b"event: done"

Request = Callable[[str], Sequence[bytes]]
"""Requests of different API keys that say this message and ask for a stream."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A stream that is measured of everyone who can."""

    name: str
    """What `--only` calls it."""
    title: str
    wish: Wish
    streams: tuple[int, ...]
    """How many at the same time."""

    def offered_per_second(self, streams: int) -> float | None:
        """What the provider offers of so many, where it is paced and does not stop."""
        if self.wish.tokens != UNTIL_TOLD or not self.wish.every_ms:
            return None
        return streams * 1000 / self.wish.every_ms


FIRST_TOKEN = Kind("first-token", "2 tokens, 10 ms apart", Wish(2, 10), (1,))
PACED = Kind("paced", "50 tokens/s each", Wish(UNTIL_TOLD, 20), (100,))
FLAT_OUT = Kind("flat-out", "flat out", Wish(UNTIL_TOLD, 0), (100,))
KINDS = (FIRST_TOKEN, PACED, FLAT_OUT)


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamRow:
    """One kind of stream of one target."""

    name: str
    """What the JSON file calls it: `<subject>-<kind>`."""
    title: str
    target: Target
    kind: Kind
    requests: tuple[bytes, ...]
    """Whole requests as they go over the wire, taken in turn by the connections."""
    end: bytes
    """What a stream that ended well has after its last token."""


def upstream_stream_rows(upstream: Target, kinds: Sequence[Kind] = KINDS) -> list[StreamRow]:
    """The upstream alone."""

    def chats(message: str) -> list[bytes]:
        return [chat_request(upstream, message=message, stream=True)]

    return stream_rows("upstream", "upstream alone", upstream, chats, kinds=kinds)


def system_stream_rows(system: Target, api_keys: Sequence[str]) -> list[StreamRow]:
    """PeanutAgent's: dispatches and chats. A key may have some 500 streams open, so there are several."""

    def dispatches(message: str) -> list[bytes]:
        return [dispatch_request(system, api_key, message=message, stream=True) for api_key in api_keys]

    return [
        *stream_rows("dispatch", "POST /openclaw/dispatch", system, dispatches, end=DISPATCH_END),
        *chat_stream_rows("chat", "POST /v1/chat/completions", system, api_keys),
    ]


def chat_stream_rows(
    subject: str,
    title: str,
    target: Target,
    api_keys: Sequence[str],
    *,
    kinds: Sequence[Kind] = KINDS,
    more_headers: Mapping[str, str] | None = None,
) -> list[StreamRow]:
    """Chats in OpenAI's words through a gateway."""

    def chats(message: str) -> list[bytes]:
        return [
            chat_request(target, api_key, message=message, stream=True, more_headers=more_headers)
            for api_key in api_keys
        ]

    return stream_rows(subject, title, target, chats, kinds=kinds)


def stream_rows(
    subject: str,
    title: str,
    target: Target,
    request: Request,
    *,
    kinds: Sequence[Kind] = KINDS,
    end: bytes = OPENAI_END,
) -> list[StreamRow]:
    """Each kind of stream of a target."""
    return [
        StreamRow(
            name=f"{subject}-{kind.name}",
            title=f"{title}, {kind.title}",
            target=target,
            kind=kind,
            requests=tuple(request(kind.wish.message)),
            end=end,
        )
        for kind in kinds
    ]
