"""Figures that the kernel keeps under /proc: CPU time and memory of processes, CPU time of the machine."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


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


@dataclass(frozen=True, slots=True)
class CpuUse:
    """CPU time by role and of the machine, at one moment."""

    by_role_s: dict[str, float | None]
    machine: MachineTime

    @classmethod
    def read(cls, watched: Mapping[str, tuple[int, ...]]) -> Self:
        return cls({role: _role_cpu_s(pids) for role, pids in watched.items()}, MachineTime.read())

    def since(self, earlier: Self) -> "CpuUse":
        spent = {role: _difference(now, earlier.by_role_s[role]) for role, now in self.by_role_s.items()}
        return CpuUse(spent, self.machine.since(earlier.machine))


def _role_cpu_s(pids: tuple[int, ...]) -> float | None:
    try:
        return sum(process_cpu_s(pid) for pid in pids)
    except FileNotFoundError:
        return None


def _difference(now: float | None, earlier: float | None) -> float | None:
    return None if now is None or earlier is None else now - earlier
