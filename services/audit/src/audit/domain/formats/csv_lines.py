"""CSV (RFC 4180) that no spreadsheet takes for formulas."""

import re

from audit.domain.canonical import canonical
from audit.domain.formats.records import Record

COLUMNS = (
    "index",
    "timestamp",
    "phase",
    "action",
    "outcome",
    "source",
    "id",
    "requestId",
    "userId",
    "userEmail",
    "ipAddress",
    "userAgent",
    "resourceType",
    "resourceId",
    "details",
    "previousFingerprint",
    "fingerprint",
)
_NO_TEXT = "\0"
_SHOWN_INSTEAD = "\u2400"
"""The symbol for NUL: many readers of CSV end at the character itself, or refuse the file."""

# What a spreadsheet may take for a formula, its full-width forms included, also behind blanks and what nobody sees
# (format and control characters); and the control characters that some readers skip at the beginning.
_FORMULA = re.compile(
    r"[\s\x00-\x1f\x7f-\x9f\u00ad\u200b-\u200f\u2028-\u202f\u2060-\u206f\ufeff]*[=+\-@\uff1d\uff0b\uff0d\uff20]|[\t\r\n]"
)


def head_line() -> bytes:
    """The names of the columns."""
    return ",".join(COLUMNS).encode() + b"\r\n"


def entry_line(record: Record) -> bytes:
    """The line of an entry. All but the index is quoted, so that no other separator cuts a cell in two."""
    body, personal = record.body, record.personal
    texts = (
        body["timestamp"],
        body["phase"],
        body["action"],
        body["outcome"] or "",
        body["source"],
        body["id"],
        body["requestId"],
        body["userId"],
        personal["userEmail"],
        personal["ipAddress"],
        personal["userAgent"],
        body["resourceType"],
        body["resourceId"],
        canonical(body["details"]).decode(),
        record.previous,
        record.fingerprint,
    )
    return f"{record.index},{','.join(map(_cell, texts))}\r\n".encode()


def _cell(text: str) -> str:
    shown = text.replace(_NO_TEXT, _SHOWN_INSTEAD).replace('"', '""')
    apostrophe = "'" if _FORMULA.match(text) else ""
    return f'"{apostrophe}{shown}"'
