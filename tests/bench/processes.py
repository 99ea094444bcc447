"""Child processes: started, awaited and stopped, never left behind."""

import os
import select
import signal
import socket
import subprocess
import sys
import sysconfig
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]


def python_module(name: str, *arguments: str) -> list[str]:
    """The command that runs a module with this interpreter."""
    return [sys.executable, "-m", name, *arguments]


def nats_server() -> str:
    """The nats-server of this environment. The bare PATH may hold one that is too old."""
    return str(Path(sysconfig.get_path("scripts")) / "nats-server")


def free_port() -> int:
    """A TCP port of the loopback address that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


@contextmanager
def child(command: Sequence[str], *, environment: Mapping[str, str] | None = None) -> Iterator[subprocess.Popen[str]]:
    """A process with a readable stdout, ended with the context.

    It has a session of its own, so that a Ctrl-C at the terminal reaches only the benchmark, which then stops it.
    """
    process = subprocess.Popen(
        command,
        cwd=PROJECT,
        env=os.environ | dict(environment or {}),
        text=True,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        assert process.stdout is not None
        process.stdout.close()


def first_line(process: subprocess.Popen[str], *, timeout_s: float = 15) -> str:
    """The first line that the process prints, its sign of being ready.

    Raises:
        RuntimeError: it ended or stayed silent instead.
    """
    assert process.stdout is not None
    readable, _, _ = select.select([process.stdout], [], [], timeout_s)
    line = process.stdout.readline() if readable else ""
    if not line:
        raise RuntimeError(f"{process.args!r} did not get ready within {timeout_s:g} s")
    return line.strip()


def end_on_sigterm() -> None:
    """Let SIGTERM unwind the contexts like Ctrl-C does, so that no child stays behind."""

    def end(*_: object) -> None:
        raise SystemExit(128 + signal.SIGTERM)

    signal.signal(signal.SIGTERM, end)
