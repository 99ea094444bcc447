"""Refusals: what it means, in words for people, that a server answered with a status other than 2xx."""

import re
from collections.abc import Collection

import orjson

from orchestrator.application.upstreams import UpstreamFailure, UpstreamRefusal
from orchestrator.infrastructure.dialects.parts import NOT_UNDERSTOOD

MAX_QUOTED = 300

_UNSUPPORTED = re.compile("deprecated|unsupported|not support|unrecognized|unknown|not permitted", re.IGNORECASE)
_CALLERS = (400, 404, 413, 422)
_QUOTED = (400, 413, 422)
_LIKELY_REASONS = {
    400: "so something about the conversation or the agent's model, maxTokens or temperature is wrong for it",
    401: "so it does not accept its API key or the lack of one",
    402: "so it wants to be paid first",
    403: "so it does not accept its API key or the lack of one",
    404: "so its endpoint's path is wrong or it does not know the model",
    413: "so the conversation is too large for it",
    422: "so something about the conversation or the agent's model, maxTokens or temperature is wrong for it",
    429: "so it had too many requests or its quota is used up",
    529: "so it is overloaded",
}


def refused_fields(status: int, body: bytes, dispensable: Collection[str]) -> frozenset[str]:
    """The dispensable fields of a request that its answer says are not supported."""
    if status != 400 or not dispensable:
        return frozenset()
    try:
        error = orjson.loads(body)["error"]
        words = f"{error.get('code')} {error['message']}"
    except NOT_UNDERSTOOD:
        return frozenset()
    if not _UNSUPPORTED.search(words):
        return frozenset()
    return frozenset(field for field in dispensable if error.get("param") == field or re.search(rf"\b{field}\b", words))


def failure_of(status: int, body: bytes, key: str | None) -> UpstreamFailure:
    """The failure that an answer is. Where the caller may be able to do something about it, it quotes the server, but
    never `key`, the agent's API key.
    """
    if 300 <= status < 400:
        return UpstreamFailure(f"HTTP {status}, and redirects are not followed", is_free=True)
    reason = _LIKELY_REASONS.get(status)
    words = f"HTTP {status}" if reason is None else f"HTTP {status}, {reason}"
    if not 400 <= status < 500:
        return UpstreamFailure(words, is_free=True)
    if status in _QUOTED and (said := _said(body, key)):
        words = f'{words}; it says "{said}"'
    return UpstreamRefusal(words, is_free=True, is_callers=status in _CALLERS)


def _said(body: bytes, key: str | None) -> str:
    """What a server says about a refusal: printable, on one line, and short."""
    try:
        error = orjson.loads(body)["error"]
        said = error if isinstance(error, str) else error["message"]
        if key:
            said = said.replace(key, "…")
        said = "".join([char if char.isprintable() else " " for char in said[: 4 * MAX_QUOTED]])
    except NOT_UNDERSTOOD:
        return ""
    said = " ".join(said.split())
    return said if len(said) <= MAX_QUOTED else said[: MAX_QUOTED - 1] + "…"
