"""JSON as the platform accepts it: no duplicate keys, bounded depth, numbers and text that every reader agrees on."""

import json
from typing import Any

from shared.errors import Malformed

MAX_DEPTH = 64


def require_sound_json(body: bytes) -> None:
    """Raises Malformed for what RFC 8259 forbids or leaves open: bad UTF-8, keys twice, NaN, depth.

    pydantic keeps the last of two equal keys in silence, so two readers of one document could see different values.
    """
    _require_bounded_depth(body)
    try:
        json.loads(body.decode(), object_pairs_hook=_unique, parse_constant=_refuse_constant)
    except Malformed:
        raise
    except (ValueError, RecursionError) as error:
        raise Malformed("The body is not valid JSON.") from error
    if b"\\u" in body and _has_lone_surrogate(body):
        raise Malformed("The body contains half of a surrogate pair.")


def _require_bounded_depth(body: bytes) -> None:
    if body.count(b"[") + body.count(b"{") <= MAX_DEPTH:
        return  # cannot be deeper than it has brackets; the common case costs two scans
    depth, in_string, escaped = 0, False, False
    for byte in body:
        if in_string:
            if escaped:
                escaped = False
            elif byte == 0x5C:
                escaped = True
            elif byte == 0x22:
                in_string = False
        elif byte == 0x22:
            in_string = True
        elif byte in b"[{":
            depth += 1
            if depth > MAX_DEPTH:
                raise Malformed(f"The body is nested deeper than {MAX_DEPTH} levels.")
        elif byte in b"]}":
            depth -= 1


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise Malformed("The body names a key twice.")
    return fields


def _refuse_constant(name: str) -> None:
    raise Malformed(f"{name} is not JSON.")


def _has_lone_surrogate(body: bytes) -> bool:
    try:
        json.dumps(json.loads(body), ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return True
    return False
