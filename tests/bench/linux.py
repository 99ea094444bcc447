"""Figures that the kernel keeps under /proc: CPU time and memory of processes, CPU time of the machine.

With them goes how fast the cores are, which the kernel does not know (core_meter).
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tests.bench.core_meter import CoreWork

_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
QUIET_PERCENT = 85
"""Of the cores' fastest, which is seen for moments only: what is as good as all of it."""


def process_cpu_s(pid: int) -> float:
    """User and system time of a process with all its threads in seconds, to 10 ms (proc(5), stat fields 14 and 15).

    Raises:
        FileNotFoundError: there is no such process.
    """
    stat = Path(f"/proc/{pid}/stat").read_text()
    fields = stat[stat.rindex(")") + 2 :].split()  # the command's name may itself hold spaces and parentheses
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_SECOND


def resident_mb(pid: int) -> float:
    """Resident set size of a process in MB (10^6 bytes), shared pages included.

    Raises:
        FileNotFoundError: there is no such process.
    """
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


@dataclass(frozen=True, slots=True)
class MachineTime:
    """CPU time of the whole machine since its start, in seconds."""

    processes: float
    """User, nice and system time; interrupts are nobody's."""
    stolen: float
    total: float

    @classmethod
    def read(cls) -> Self:
        line = Path("/proc/stat").read_text().split("\n", 1)[0]
        user, nice, system, idle, waiting, hard, soft, stolen = (
            int(field) / _TICKS_PER_SECOND for field in line.split()[1:9]
        )
        busy = user + nice + system
        return cls(processes=busy, stolen=stolen, total=busy + idle + waiting + hard + soft + stolen)

    def since(self, earlier: Self) -> "MachineTime":
        return MachineTime(
            processes=self.processes - earlier.processes,
            stolen=self.stolen - earlier.stolen,
            total=self.total - earlier.total,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What there was of the machine for a load."""

    stolen_percent: float
    """Share of the machine's CPU time that the hypervisor gave to others."""
    others_percent: float
    """Share of the machine's CPU time that processes outside this benchmark took."""
    piece_us: float
    """CPU time of a fixed piece of work (core_meter): nearly twice as long beside a busy neighbour."""

    @property
    def slowness_us(self) -> float:
        """How long that piece of work takes with what the hypervisor withholds: the less, the quieter."""
        return self.piece_us / (1 - self.stolen_percent / 100)

    def is_quiet(self, fastest_us: float) -> bool:
        """Whether it was almost the whole machine, beside the fastest piece of work that was seen."""
        return self.slowness_us <= fastest_us * 100 / QUIET_PERCENT


@dataclass(frozen=True, slots=True)
class CpuUse:
    """CPU time by role and of the machine, and how fast its cores work, at one moment or between two."""

    by_role_s: dict[str, float | None]
    machine: MachineTime
    cores: CoreWork

    @classmethod
    def read(cls, watched: Mapping[str, tuple[int, ...]]) -> Self:
        return cls({role: _role_cpu_s(pids) for role, pids in watched.items()}, MachineTime.read(), CoreWork.read())

    def since(self, earlier: Self) -> "CpuUse":
        spent = {role: _difference(now, earlier.by_role_s[role]) for role, now in self.by_role_s.items()}
        return CpuUse(spent, self.machine.since(earlier.machine), self.cores.since(earlier.cores))

    @property
    def surroundings(self) -> Surroundings:
        """Of the time between two moments."""
        ours_s = sum(cpu_s for cpu_s in self.by_role_s.values() if cpu_s is not None)
        return Surroundings(
            stolen_percent=100 * self.machine.stolen / self.machine.total,
            others_percent=100 * max(0.0, self.machine.processes - ours_s) / self.machine.total,
            piece_us=self.cores.piece_us,
        )


def _role_cpu_s(pids: tuple[int, ...]) -> float | None:
    try:
        return sum(process_cpu_s(pid) for pid in pids)
    except FileNotFoundError:
        return None


def _difference(now: float | None, earlier: float | None) -> float | None:
    return None if now is None or earlier is None else now - earlier
