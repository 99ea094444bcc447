"""Room: a warning before the disk is full, while there is still time to do something."""

import logging
from collections.abc import Callable

WARN_FROM = 0.8

_log = logging.getLogger(__name__)


class Room:
    """Looks when it is asked. `used` tells which part of the log's disk is taken, from 0 to 1; it may raise OSError."""

    def __init__(self, used: Callable[[], float]) -> None:
        self._used = used
        self._is_short = False

    def warning(self) -> str:
        """How full it is, in words for people; empty below WARN_FROM, and where it cannot be told."""
        try:
            used = self._used()
        except OSError:
            return ""  # the log says itself that it is out of reach
        was_short, self._is_short = self._is_short, used >= WARN_FROM
        if not self._is_short:
            return ""
        if not was_short:
            _log.warning("disk_is_filling", extra={"usedPercent": round(used * 100)})
        return f"The disk of the audit log is {used:.0%} full; when it is full, nothing can be changed any more."
