"""What the person at the terminal sees: progress, results, and the log while it runs in the foreground."""

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

    A terminal that is paused (Ctrl-S) blocks whoever writes to it, and the supervisor must never block: lines wait here, and
    the oldest are dropped when there are too many.
    """

    def __init__(self, stream: TextIO, paint: Paint) -> None:
        self.paint = paint
        self._stream = stream
        self._waiting: deque[str] = deque(maxlen=_MOST_WAITING)
        self._news = threading.Condition()
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

    def close(self) -> None:
        """Returns when everything is written, or after a second: a paused terminal does not keep us."""
        with self._news:
            self._is_closed = True
            self._news.notify()
        self._writer.join(1)

    def _put(self, text: str) -> None:
        with self._news:
            self._waiting.append(text)
            self._news.notify()

    def _write_all(self) -> None:
        while texts := self._next():
            try:
                self._stream.write(texts)
                self._stream.flush()
            except (OSError, ValueError):
                pass  # the terminal is gone, or the reader of a pipe; the services go on

    def _next(self) -> str:
        """Everything that waits, in one piece; empty when there will be no more."""
        with self._news:
            self._news.wait_for(lambda: self._waiting or self._is_closed)
            texts = "".join(self._waiting)
            self._waiting.clear()
            return texts


def paint_for(stream: TextIO, environment: Mapping[str, str] = os.environ) -> Paint:
    """Colours for a terminal, unless its user wants none (no-color.org)."""
    wanted = stream.isatty() and not environment.get("NO_COLOR") and environment.get("TERM") != "dumb"
    return painted if wanted else plain


def standard_terminal() -> Terminal:
    """Standard output; a character it has no code for is shown as another, not an error."""
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")
    return Terminal(sys.stdout, paint_for(sys.stdout))
