"""What the person at the terminal sees: progress, results, and the log while it runs in the foreground."""

import contextlib
import os
import sys
import threading
from collections import deque
from collections.abc import Mapping
from typing import TextIO

from deploy.local.rendering import Paint, painted, plain, rendered

_MOST_WAITING = 10_000


class Terminal:
    """Writes from a thread of its own.

    A terminal that is paused (Ctrl-S) blocks whoever writes to it, and the supervisor must never block: lines wait
    here, and the oldest are dropped when there are too many.
    """

    def __init__(self, stream: TextIO, paint: Paint) -> None:
        self.paint = paint
        self._stream = stream
        self._waiting: deque[str] = deque(maxlen=_MOST_WAITING)
        self._changed = threading.Condition()
        self._is_writing = False
        self._is_closed = False
        self._writer = threading.Thread(target=self._write_all, daemon=True)
        self._writer.start()

    def say(self, text: str = "") -> None:
        """A line, as it is."""
        self._put(text + "\n")

    def step(self, what: str, seconds: float) -> None:
        """A step of the start that is done."""
        self.say(f"  {what:<32}{self.paint(f'{seconds:5.2f} s', '2')}")

    def show(self, record: bytes) -> None:
        """A log record."""
        self._put(rendered(record, self.paint))

    def flush(self) -> None:
        """Returns when everything is written, or after a second: a paused terminal does not keep us."""
        with self._changed:
            self._changed.wait_for(lambda: not self._waiting and not self._is_writing, timeout=1)

    def close(self) -> None:
        """Writes what waits, like `flush`, and ends."""
        self.flush()
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    def _put(self, text: str) -> None:
        with self._changed:
            self._waiting.append(text)
            self._changed.notify_all()

    def _write_all(self) -> None:
        while text := self._next():
            # The terminal may be gone, or the reader of a pipe: the services go on.
            with contextlib.suppress(OSError, ValueError):
                self._stream.write(text)
                self._stream.flush()

    def _next(self) -> str:
        """Everything that waits, in one piece; empty when there will be no more."""
        with self._changed:
            self._is_writing = False
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._waiting or self._is_closed)
            text = "".join(self._waiting)
            self._waiting.clear()
            self._is_writing = True
            return text


def paint_for(stream: TextIO, environment: Mapping[str, str] = os.environ) -> Paint:
    """Colours for a terminal, unless its user wants none (no-color.org)."""
    wanted = stream.isatty() and not environment.get("NO_COLOR") and environment.get("TERM") != "dumb"
    return painted if wanted else plain


def standard_terminal() -> Terminal:
    """Standard output; a character it has no code for is shown as another, not an error."""
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")
    return Terminal(sys.stdout, paint_for(sys.stdout))
