"""What every other gateway has: how it is installed and started, where it listens, what its clients say."""

import http.client
import os
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from tests.bench.processes import PROJECT, child
from tests.bench.rows import chat_request

BUILD = PROJECT / "build" / "peers"
"""Where they are installed; git ignores it."""
WORKERS = 2
_INSTALLED_WITHIN_S = 900
_READY_WITHIN_S = 300  # LiteLLM imports for ten seconds of CPU in each worker


class CannotBeInstalled(Exception):
    """A peer is not to be had here; the message says why, in a line."""


class DoesNotStart(Exception):
    """A peer was started and does not answer rightly; the message is the last that it has said."""


class Peer(Protocol):
    """A gateway that can be had from a package registry."""

    @property
    def name(self) -> str:
        """With its version."""
        ...

    def install(self) -> None:
        """Install it below BUILD unless it is there. Raises CannotBeInstalled."""
        ...

    def command(self, *, port: int, upstream_port: int) -> Sequence[str]:
        """What starts it, once it is installed."""
        ...

    def environment(self) -> Mapping[str, str]:
        """What the command is to find in its environment."""
        ...

    def api_key(self) -> str: ...

    def headers(self, *, upstream_port: int) -> Mapping[str, str]:
        """What a request has to say besides."""
        ...


@dataclass(frozen=True, slots=True)
class RunningPeer:
    """A peer that answers."""

    port: int
    api_key: str
    headers: Mapping[str, str] = field(default_factory=dict)
    pid: int = 0

    def pids(self) -> Mapping[str, tuple[int, ...]]:
        """Its first process and all that come of it."""
        return {"gateway": tuple(_family(self.pid))}


@contextmanager
def running(peer: Peer, *, port: int, upstream_port: int, log: Path) -> Iterator[RunningPeer]:
    """The peer, ready to answer; what it says goes into the log.

    Raises:
        DoesNotStart: it does not get ready.
    """
    command = ["sh", "-c", f'exec "$@" >"{log}" 2>&1', "sh", *peer.command(port=port, upstream_port=upstream_port)]
    with child(command, environment=peer.environment()) as process:
        started = RunningPeer(port, peer.api_key(), peer.headers(upstream_port=upstream_port), process.pid)
        try:
            _await_ready(started, process, log)
            yield started
        finally:
            for pid in reversed(_family(process.pid)[1:]):
                subprocess.run(["kill", "-9", str(pid)], capture_output=True, check=False)


def run_quietly(command: Sequence[str], *, cwd: Path) -> None:
    """Run a step of an installation.

    Raises:
        CannotBeInstalled: it failed.
    """
    try:
        result = subprocess.run(
            command, cwd=cwd, text=True, capture_output=True, check=False, timeout=_INSTALLED_WITHIN_S
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CannotBeInstalled(str(error)) from error
    if result.returncode != 0:
        lines = [line for line in (result.stdout + result.stderr).splitlines() if line.strip()]
        raise CannotBeInstalled(f"{' '.join(command[:3])}: {lines[-1] if lines else result.returncode}")


def _await_ready(peer: RunningPeer, process: "subprocess.Popen[str]", log: Path) -> None:
    deadline = time.monotonic() + _READY_WITHIN_S
    request = chat_request(peer, peer.api_key, more_headers=peer.headers)
    head, _, body = request.partition(b"\r\n\r\n")
    headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:])
    while time.monotonic() < deadline and process.poll() is None:
        connection = http.client.HTTPConnection("127.0.0.1", peer.port, timeout=10)
        try:
            connection.request("POST", "/v1/chat/completions", body, headers)
            if connection.getresponse().status == 200:
                return
        except OSError:
            pass
        finally:
            connection.close()
        time.sleep(0.2)
    said = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    raise DoesNotStart(said[-1] if said else "it says nothing")


def _family(pid: int) -> list[int]:
    """The process and its descendants, parents before children."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                stat = Path(f"/proc/{entry}/stat").read_text()
            except OSError:
                continue  # it has ended meanwhile
            parent = int(stat[stat.rindex(")") + 2 :].split()[1])
            children.setdefault(parent, []).append(int(entry))
    family = [pid]
    for member in family:
        family += children.get(member, [])
    return family
