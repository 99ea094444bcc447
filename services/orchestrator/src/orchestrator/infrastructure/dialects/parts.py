"""Parts of requests and answers that are read alike in all dialects."""

import re
from typing import Any

from orchestrator.application.upstreams import UpstreamRefusal
from shared.contracts.openai import MAX_CHOICES

MAX_TOKEN_COUNT = 2**52 - 1
"""The sum of two is a number that every reader of JSON knows (RFC 8259 section 6)."""

NOT_UNDERSTOOD = (ValueError, LookupError, TypeError, AttributeError)
"""What is raised when something is looked for in JSON that has not got it."""

_BASE64_IMAGE = re.compile(r"data:(image/[a-z0-9.+-]+);base64,([A-Za-z0-9+/=]+)")


def text(value: object) -> str:
    """A string; raises TypeError for anything else."""
    if not isinstance(value, str):
        raise TypeError("not a string")
    return value


def joined_texts(parts: object) -> str:
    """The texts among an answer's parts; what a model thinks, and calls of tools, are none."""
    if not isinstance(parts, list):
        raise TypeError("not a list")
    return "".join([text(part["text"]) for part in parts if part["type"] == "text"])


def require_few(choices: Any) -> None:
    """Raises ValueError for more choices than any chat asks for: a megabyte has room for 300,000, each of them work."""
    if len(choices) > MAX_CHOICES:
        raise ValueError("too many choices")


def count(value: object) -> int:
    """A number of tokens. One that makes no sense counts as none: the answer itself is still good."""
    return value if type(value) is int and 0 <= value <= MAX_TOKEN_COUNT else 0


def require_said(said: str, *, was_cut_off: bool) -> str:
    """Raises UpstreamRefusal when the tokens were used up before the model said anything."""
    if was_cut_off and not said.strip():
        raise UpstreamRefusal("its maxTokens were used up, by thinking as a rule, before it said anything; raise them")
    return said


def image_url(part: Any) -> str:
    """Where OpenAI's part of type `image_url` says that an image is."""
    return text(part["image_url"]["url"])


def base64_image(url: str) -> tuple[str, str] | None:
    """The media type and the data of a `data:` URL (RFC 2397) that holds an image in base64."""
    match = _BASE64_IMAGE.fullmatch(url)
    return None if match is None else (match[1], match[2])
