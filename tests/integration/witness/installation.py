"""The witness as a process."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import IO

from tests.integration.bus import Nats


class Witness:
    """A directory of its own, and the process that works in it."""

    def __init__(self, nats: Nats, folder: Path) -> None:
        self.directory = folder / "witness"
        self._said = folder / "witness.log"
        self._environment = {
            **os.environ,
            "DATA_DIR": str(folder / "data"),
            "WITNESS_DIR": str(self.directory),
            "NATS_URL": nats.url,
            "NATS_NKEY_FILE": str(nats.nkey("witness")),
        }
        self._process: subprocess.Popen[bytes] | None = None
        subprocess.run([sys.executable, "-m", "witness.prepare"], env=self._environment, check=True)

    def start(self) -> None:
        before = self._said.read_bytes().count(b'"ready"') if self._said.exists() else 0
        with self._said.open("ab") as output:
            self._process = self._run(output)
        until = time.monotonic() + 30
        while self._said.read_bytes().count(b'"ready"') == before:
            assert time.monotonic() < until, self._said.read_text()
            time.sleep(0.02)

    def refuses_to_start(self) -> str:
        """What it says of why."""
        process = self._run(subprocess.PIPE)
        said, _ = process.communicate(timeout=30)
        assert process.returncode == 1
        return said.decode()

    def kill(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self._process.wait(20)

    def end(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            assert self._process.wait(20) == 0

    def _run(self, output: IO[bytes] | int) -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-m", "witness"]
        return subprocess.Popen(command, env=self._environment, stdout=output, stderr=subprocess.STDOUT)
