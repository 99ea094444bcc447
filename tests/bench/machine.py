"""On what the figures were measured: they mean little without it."""

import os
import platform
import subprocess
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

from tests.bench.processes import PROJECT, nats_server

_PACKAGES = ("uvicorn", "httptools", "uvloop", "nats-py", "pyreqwest", "fastapi", "pydantic", "sqlalchemy", "orjson")


@dataclass(frozen=True, slots=True)
class Machine:
    """Hardware, system and versions."""

    cpu: str
    cores: int
    """Those that this process may use."""
    memory_mb: float
    system: str
    python: str
    nats_server: str
    packages: dict[str, str]
    commit: str
    load_average: float
    """Of the minute before the run: other work makes every figure worse."""

    def to_json(self) -> dict[str, object]:
        return asdict(self)


def this_machine() -> Machine:
    """What is known of this machine and checkout."""
    return Machine(
        cpu=_cpu_model(),
        cores=len(os.sched_getaffinity(0)),
        memory_mb=os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e6,
        system=f"{platform.system()} {platform.release()}",
        python=f"{platform.python_implementation()} {platform.python_version()}",
        nats_server=_output([nats_server(), "--version"]).removeprefix("nats-server: "),
        packages={name: version(name) for name in _PACKAGES},
        commit=_output(["git", "describe", "--always", "--dirty"]),
        load_average=os.getloadavg()[0],
    )


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def _output(command: list[str]) -> str:
    try:
        return subprocess.run(command, cwd=PROJECT, text=True, capture_output=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
