"""Personal fields: the body holds commitments to them, so that the values can be erased and the chain stays whole."""

import struct
from collections.abc import Mapping
from hashlib import sha256
from types import MappingProxyType

import orjson

PERSONAL_FIELDS = ("ipAddress", "userAgent", "userEmail")
SALT_BYTES = 16
NO_VALUES = "{}"
"""What stands beside a body that has no personal values, or none any more."""
NOTHING_GONE: Mapping[str, str] = MappingProxyType({})

_DOMAIN = b"peanut-audit/personal/v1\0"
_INDEX = struct.Struct(">Q")
_LENGTH = struct.Struct(">I")
_FIELD = {name: _LENGTH.pack(len(name)) + name.encode("ascii") for name in PERSONAL_FIELDS}


def commitment(index: int, field: str, salt: bytes, value: str) -> str:
    """64 hex digits that bind `value` to its place, and that tell nothing of it to who does not know the salt.

    SHA-256(domain || 0x00 || uint64 index || uint32 length || field || 16 bytes salt || uint32 length || value).
    """
    text = value.encode()
    framed = b"".join((_DOMAIN, _INDEX.pack(index), _FIELD[field], salt, _LENGTH.pack(len(text)), text))
    return sha256(framed).hexdigest()


def conceal(index: int, values: Mapping[str, str], salts: bytes) -> tuple[dict[str, str], str]:
    """The commitments for the body, and the values with their salts as they stand beside it.

    An empty value is nothing to hide: it is empty in the body and absent beside it. `salts` are 16 bytes per field.
    """
    commitments = dict.fromkeys(PERSONAL_FIELDS, "")
    beside: dict[str, dict[str, str]] = {}
    for place, field in enumerate(PERSONAL_FIELDS):
        value = values[field]
        if value:
            salt = salts[place * SALT_BYTES : (place + 1) * SALT_BYTES]
            commitments[field] = commitment(index, field, salt, value)
            beside[field] = {"salt": salt.hex(), "value": value}
    return commitments, orjson.dumps(beside).decode()


def commitments_to(index: int, beside: str, gone: Mapping[str, str] = NOTHING_GONE) -> tuple[str, ...]:
    """The commitments that a body must hold when these values stand beside it, in the order of PERSONAL_FIELDS.

    `gone` are the commitments to values that stood there once. Raises ValueError, TypeError or KeyError for anything
    but what `conceal` has made.
    """
    values = orjson.loads(beside)
    found: list[str] = []
    written: dict[str, dict[str, str]] = {}
    for field in PERSONAL_FIELDS:
        if field not in values:
            found.append(gone.get(field, ""))
            continue
        salt, value = bytes.fromhex(values[field]["salt"]), values[field]["value"]
        found.append(commitment(index, field, salt, value))
        written[field] = {"salt": salt.hex(), "value": value}
        if len(salt) != SALT_BYTES or not value:
            raise ValueError("not as it was written")
    if orjson.dumps(written).decode() != beside:
        raise ValueError("not as it was written")
    return tuple(found)
