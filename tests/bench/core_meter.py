"""How fast a core is at this moment: the CPU time of a fixed piece of work, measured all the time beside the load.

A virtual machine's core has been seen to work at one of two speeds, the slower some 55 % of the other, as it would when
it is one of two hardware threads and a neighbour computes on the other. Neither load nor stolen time tells of it.
"""

import os
import struct
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tests.bench.processes import child, first_line, python_module

_FILE = "PEANUT_BENCH_CORE_METER"
"""The environment variable that tells the load generators where the meter writes."""
_FORM = struct.Struct("Qdd")
_STEPS = 10_000  # some 0.7 ms: long beside what a cold cache costs, short beside a time slice
_PAUSE_S = 0.05  # the meter takes about 1 % of one core


@dataclass(frozen=True, slots=True)
class CoreWork:
    """What the meter's pieces of work took, since it began or between two moments."""

    pieces: int
    cpu_s: float
    fastest_us: float
    """CPU time of the fastest piece since the meter began."""

    @classmethod
    def read(cls) -> Self:
        """What stands there now.

        Raises:
            KeyError: no meter is running.
        """
        return cls(*_FORM.unpack(Path(os.environ[_FILE]).read_bytes()))

    def since(self, earlier: Self) -> "CoreWork":
        return CoreWork(self.pieces - earlier.pieces, self.cpu_s - earlier.cpu_s, self.fastest_us)

    @property
    def piece_us(self) -> float:
        """Mean CPU time of one piece, over all cores; of the fastest while there is none."""
        return self.cpu_s / self.pieces * 1e6 if self.pieces else self.fastest_us


@contextmanager
def cores_noted(piece_us: dict[str, float], name: str) -> Iterator[None]:
    """Notes below this name how fast the cores were meanwhile."""
    before = CoreWork.read()
    yield
    piece_us[name] = CoreWork.read().since(before).piece_us


@contextmanager
def core_meter(file: Path) -> Iterator[None]:
    """A meter that runs, beside whatever this process and its children do, until the context ends."""
    with child(python_module("tests.bench.core_meter", str(file))) as process:
        first_line(process)
        os.environ[_FILE] = str(file)
        try:
            yield
        finally:
            del os.environ[_FILE]


def _run(file: Path) -> None:
    """Work on one core after the other, for ever."""
    cores = sorted(os.sched_getaffinity(0))
    file.write_bytes(_FORM.pack(0, 0, float("inf")))
    with file.open("r+b", buffering=0) as opened:
        pieces, cpu_s, fastest_us = 0, 0.0, float("inf")
        while True:
            for core in cores:
                os.sched_setaffinity(0, {core})
                piece_s = _piece_s()
                pieces, cpu_s, fastest_us = pieces + 1, cpu_s + piece_s, min(fastest_us, piece_s * 1e6)
                os.pwrite(opened.fileno(), _FORM.pack(pieces, cpu_s, fastest_us), 0)
                if pieces == 1:
                    print("ready", flush=True)
                time.sleep(_PAUSE_S)


def _piece_s() -> float:
    began = time.thread_time()
    value = 0
    for step in range(_STEPS):
        value = (value + step * step) & 0xFFFF
    return time.thread_time() - began


if __name__ == "__main__":
    _run(Path(sys.argv[1]))
