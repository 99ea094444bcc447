"""A project of stand-in services in a folder of its own, and the real runner on it."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from deploy.local import catalogue, processes, state

REPOSITORY = Path(__file__).parents[3]


class Project:
    """Where `make` would be called: a folder with services, and free ports for them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.run_dir = root / "data" / "run"
        self.port, self.nats_port = free_port(), free_port()
        for service in catalogue.SERVICES:
            _write_package(root / "services", service.package)
        shutil.copy(Path(__file__).with_name("stand_in.py"), root / "services")
        shutil.copy(REPOSITORY / ".env.example", root)

    def environment(self, **extra: str) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if not name.endswith(("_SECRET", "_KEY"))}
        return {
            **inherited,
            "PYTHONPATH": f"{self.root / 'services'}:{REPOSITORY}",
            "PORT": str(self.port),
            "NATS_URL": f"nats://127.0.0.1:{self.nats_port}",
            "DATA_DIR": "data",
            **extra,
        }

    def start(self, *command: str, **extra: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, "-m", "deploy.local", *command],
            cwd=self.root,
            env=self.environment(**extra),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def call(self, *command: str, **extra: str) -> "subprocess.CompletedProcess[str]":
        process = self.start(*command, **extra)
        output, _ = process.communicate(timeout=30)
        return subprocess.CompletedProcess(command, process.returncode, output)

    def up(self, **extra: str) -> "subprocess.Popen[str]":
        """In the foreground; returns when it says that it is up."""
        process = self.start("up", **extra)
        assert process.stdout is not None
        while line := process.stdout.readline():
            if "PeanutAgent is up" in line:
                return process
        raise AssertionError(f"did not come up: exit code {process.wait()}")

    def state(self) -> dict[str, dict[str, Any]]:
        fields = json.loads((self.run_dir / "state.json").read_text())
        return {each["instance"]: each for each in fields["processes"]}

    def pids(self) -> dict[str, int]:
        return {instance: each["pid"] for instance, each in self.state().items()}

    def records(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.run_dir / "peanut.log").read_text().splitlines()]


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    project = Project(tmp_path)
    yield project
    if state.supervisor(project.run_dir):
        project.call("down")


def end(process: "subprocess.Popen[str]") -> str:
    """Stops what runs in the foreground; what it still said."""
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=30)
    return output


def eventually(holds: Callable[[], bool], *, within: float) -> None:
    deadline = time.monotonic() + within
    while not holds():
        assert time.monotonic() < deadline, f"not within {within} s"
        time.sleep(0.02)


def all_gone(pids: list[int]) -> bool:
    return all(processes.birth(pid) is None for pid in pids)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def without_colour(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def _write_package(folder: Path, package: str) -> None:
    (folder / package).mkdir(parents=True)
    (folder / package / "__init__.py").touch()
    for module, call in (("__main__", "main"), ("prepare", "prepare")):
        (folder / package / f"{module}.py").write_text(f"import stand_in\n\nstand_in.{call}({package!r})\n")
