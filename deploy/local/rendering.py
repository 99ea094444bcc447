"""How a log record looks to a person: time, who, level, event, fields; in colour where there is any."""

import json
from collections.abc import Callable
from datetime import datetime
from typing import Any

from deploy.local.records import parse

Paint = Callable[[str, str], str]

_HEAD = ("time", "level", "service", "instance", "event")
_SERVICE_STYLES = {"edge": "36", "auth": "35", "orchestrator": "34", "audit": "32", "witness": "96", "nats": "33"}
_LEVEL_STYLES = {"debug": "2", "warning": "33", "error": "31", "critical": "1;31"}
_SEVERITIES = {"debug": 0, "info": 1, "warning": 2, "error": 3, "critical": 4}


def painted(text: str, style: str) -> str:
    """The text in an ANSI style (SGR parameters, e.g. "1;31")."""
    return f"\x1b[{style}m{text}\x1b[0m" if style else text


def plain(text: str, style: str) -> str:
    """The text as it is: for files, pipes and NO_COLOR."""
    return text


def is_severe(record: bytes) -> bool:
    """Whether it says that something is wrong."""
    return _SEVERITIES.get(str(parse(record).get("level")), 1) >= _SEVERITIES["warning"]


def rendered(record: bytes, paint: Paint) -> str:
    """One record, ending with a newline. Texts of several lines (tracebacks) follow below, indented."""
    fields = parse(record)
    service, level = str(fields.get("service", "?")), str(fields.get("level", "info"))
    head = " ".join(
        (
            paint(_local_time(fields.get("time")), "2"),
            paint(f"{_safe(fields.get('instance', service)):<14}", _SERVICE_STYLES.get(service, "1")),
            paint(f"{_safe(level):<7}", _LEVEL_STYLES.get(level, "")),
            paint(_safe(fields.get("event", "")), _LEVEL_STYLES.get(level, "")),
        )
    )
    rest = {name: value for name, value in fields.items() if name not in _HEAD}
    short = [paint(f"{_safe(name)}=", "2") + _value(value) for name, value in rest.items() if not _is_block(value)]
    blocks = [_block(value) for value in rest.values() if _is_block(value)]
    return " ".join((head, *short)) + "\n" + "".join(blocks)


def _local_time(time: Any) -> str:
    try:
        return datetime.fromisoformat(time).astimezone().strftime("%H:%M:%S.%f")[:-3]
    except (TypeError, ValueError):
        return " " * 12


def _value(value: Any) -> str:
    """Bare where that is unambiguous, else as JSON."""
    if isinstance(value, str) and value and value.isprintable() and not set(value) & set(' "='):
        return value
    return json.dumps(value)


def _safe(text: Any) -> str:
    """Text from outside may hold control characters; they must not reach the terminal, which would obey them."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in str(text))


def _is_block(value: Any) -> bool:
    return isinstance(value, str) and "\n" in value.strip()


def _block(text: str) -> str:
    return "".join(f"    {_safe(line)}\n" for line in text.strip().splitlines())
