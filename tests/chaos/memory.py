"""How much memory the processes of a platform hold."""

import os
from pathlib import Path

from tests.e2e.platform import Platform

PROCESSES = ("edge-1", "auth-1", "orchestrator-1", "audit-1", "nats")
_PAGE = os.sysconf("SC_PAGE_SIZE")


def resident_mib(platform: Platform) -> dict[str, float]:
    """The resident memory of each process, in MiB."""
    return {process: _resident_mib(platform.pid(process)) for process in PROCESSES}


def _resident_mib(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]) * _PAGE / 1024 / 1024
