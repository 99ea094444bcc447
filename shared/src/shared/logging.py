"""Logs: one JSON line per event on standard output, with the trace it belongs to."""

import logging
import sys
from contextvars import ContextVar

import orjson

from shared.clock import rfc3339, utc_now

trace_id_of_call: ContextVar[str] = ContextVar("trace_id_of_call", default="")

_ORDINARY = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "taskName", "asctime"}


class JsonLines(logging.Formatter):
    """Formats a record whose message is an event's name and whose `extra` are the event's fields."""

    def __init__(self, service: str, instance: str) -> None:
        super().__init__()
        self._who = {"service": service, "instance": instance}

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line of JSON."""
        line: dict[str, object] = {
            "time": rfc3339(utc_now()),
            "level": record.levelname.lower(),
            **self._who,
            "event": record.getMessage(),
        }
        if trace_id := trace_id_of_call.get():
            line["traceId"] = trace_id
        line.update((name, value) for name, value in vars(record).items() if name not in _ORDINARY)
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        try:
            return orjson.dumps(line, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
        except TypeError:  # an integer of more than 64 bits, half of a surrogate pair: no reason to lose the event
            return orjson.dumps({name: ascii(value) for name, value in line.items()} | self._who).decode()


def configure_logging(service: str, instance: str, level: str) -> None:
    """Sends every log of this process to standard output as JSON lines, at `level` and above."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonLines(service, instance))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.getLogger("nats").setLevel(logging.CRITICAL)  # says again what the bus's own callbacks say
    logging.getLogger("aiosqlite").setLevel(logging.INFO)  # below, it tells every statement with all it holds
    logging.getLogger("uvicorn").setLevel(logging.WARNING)  # its start and stop are our own events
