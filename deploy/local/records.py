"""Log lines in one form: whatever a process writes becomes a JSON object per line."""

import json
import re
from datetime import UTC, datetime
from typing import Any

_NATS_LINE = re.compile(r"\[\d+\] [\d/]+ [\d:.]+ \[(?P<level>[A-Z]{3})\] ?(?P<text>.*)")
_SAYS_SOMETHING = re.compile(r"[^\W_]")
_NATS_LEVELS = {"TRC": "debug", "DBG": "debug", "INF": "info", "WRN": "warning", "ERR": "error", "FTL": "critical"}


def is_record(line: bytes) -> bool:
    """Whether a service logged this line as JSON. Looks at both ends only: it is asked for every line."""
    return line.startswith(b'{"') and line.endswith(b"}")


def is_ornament(line: bytes) -> bool:
    """Whether nobody would miss the line: an empty one, or one of those that nats-server paints its banner with."""
    text = line.decode(errors="replace").rstrip()
    nats = _NATS_LINE.fullmatch(text)
    return not text or (nats is not None and not _SAYS_SOMETHING.search(nats["text"]))


def as_record(line: bytes, *, service: str, instance: str) -> bytes:
    """The line itself when it is JSON, else a record around it.

    Services log nothing but JSON, so another line of theirs (a traceback, a warning of the interpreter) was not
    planned: it is shown as a warning.
    """
    if is_record(line):
        return line
    text = line.decode(errors="replace").rstrip()
    nats = _NATS_LINE.fullmatch(text)
    if nats:
        return event(nats["text"], service=service, instance=instance, level=_NATS_LEVELS.get(nats["level"], "info"))
    return event(text, service=service, instance=instance, level="warning")


def event(name: str, *, service: str, instance: str, level: str = "info", **fields: object) -> bytes:
    """A record of our own, in the form the services use."""
    time = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    head = {"time": time, "level": level, "service": service, "instance": instance, "event": name}
    return json.dumps({**head, **fields}).encode()


def parse(record: bytes) -> dict[str, Any]:
    """The record's fields; a damaged one becomes an event that shows it as it is."""
    try:
        fields = json.loads(record)
    except ValueError:
        fields = None
    return fields if isinstance(fields, dict) else {"level": "warning", "event": record.decode(errors="replace")}
