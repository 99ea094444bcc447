"""The runner's log on disk: JSON lines in `run/peanut.log`, bounded, and followed from there by `make logs`."""

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

NAME = "peanut.log"
_LIMIT = 16 * 1024 * 1024  # bytes; together with the one before it at most twice that


class LogFile:
    """Appends records. A full disk costs log lines, never a running service."""

    def __init__(self, path: Path, *, limit: int = _LIMIT) -> None:
        self._path = path
        self._limit = limit
        self._file = _opened(path)

    def write(self, record: bytes) -> None:
        """Adds a record; may begin a new file."""
        with contextlib.suppress(OSError):
            self._file.write(record + b"\n")
            if self._file.tell() > self._limit:
                self._rotate()

    def _rotate(self) -> None:
        self._file.close()
        self._path.replace(self._path.with_suffix(".log.1"))
        self._file = _opened(self._path)

    def close(self) -> None:
        """Nothing can be written after it."""
        self._file.close()


def _opened(path: Path) -> IO[bytes]:
    # Unbuffered: one write per record, so that whoever follows sees whole lines and a kill loses none.
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    return open(descriptor, "ab", buffering=0)


def follow(path: Path, *, last: int, goes_on: Callable[[], bool], pause: float = 0.1) -> Iterator[bytes]:
    """The last records, then each new one, across rotations. Ends when there is no more and `goes_on` says no."""
    with contextlib.ExitStack() as files:
        file = files.enter_context(path.open("rb"))
        for line in file.readlines()[-last:]:
            yield line.rstrip()
        while True:
            if line := file.readline():
                yield line.rstrip()
            elif _was_rotated(file, path):
                file = files.enter_context(path.open("rb"))
            elif goes_on():
                time.sleep(pause)
            else:
                return


def _was_rotated(file: IO[bytes], path: Path) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return os.fstat(file.fileno()).st_ino != path.stat().st_ino
    return False
