"""Canonical JSON (RFC 8785): the same value is always the same bytes."""

from typing import Any

import orjson

MAX_SAFE_INTEGER = 2**53 - 1
"""The largest integer that every JSON reader keeps exactly (RFC 7493, 2.2)."""


def canonical(value: Any) -> bytes:
    """The RFC 8785 form of a value that `plain` has made.

    orjson writes strings, integers and separators as the RFC wants them; `plain` has put the members in order.
    """
    return orjson.dumps(value)


def plain(value: Any) -> Any:
    """The value as it enters an entry: objects in canonical order, no number that two readers could read differently.

    A number that is not an integer within ±(2^53 - 1) becomes a string: its shortest decimal form, as Python writes it.
    Raises ValueError for what JSON cannot say.
    """
    kind = type(value)
    if kind is str or kind is bool or value is None:
        return value
    if kind is int:
        return value if -MAX_SAFE_INTEGER <= value <= MAX_SAFE_INTEGER else str(value)
    if kind is float:
        return repr(value)
    if kind is dict:
        return {name: plain(value[name]) for name in _in_order(value)}
    if kind is list:
        return [plain(item) for item in value]
    raise ValueError(f"JSON has no {kind.__name__}")


def _in_order(members: dict[str, Any]) -> list[str]:
    if all(map(str.isascii, members)):
        return sorted(members)
    return sorted(members, key=lambda name: name.encode("utf-16-be"))  # RFC 8785, 3.2.3: by UTF-16 code units
