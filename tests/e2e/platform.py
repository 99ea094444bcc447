"""The whole platform as a user starts it, in a folder of its own."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.integration.ports import free_port

PROJECT = Path(__file__).parents[2]
DISPATCH_PER_MINUTE = 600_000
"""More than any test dispatches, and less than a key may be given."""


class Platform:
    """`make up DETACH=1` without make: the local runner in `root`, with ports of its own."""

    def __init__(self, root: Path, **settings: str) -> None:
        self.root = root
        self.port = free_port()
        self.url = f"http://localhost:{self.port}"
        self.nats_url = f"nats://127.0.0.1:{free_port()}"
        self.admin_password = ""
        self._environment = {
            **{name: value for name, value in os.environ.items() if name not in {"SCALE", "DATA_DIR", "WITNESS_DIR"}},
            "PYTHONPATH": str(PROJECT),
            "PORT": str(self.port),
            "NATS_URL": self.nats_url,
            "NO_COLOR": "1",
            "LOGIN_PER_MINUTE": "10000",  # tests sign in often and from one address; empty brings the default back
            "DISPATCH_PER_MINUTE": str(DISPATCH_PER_MINUTE),
            **settings,
        }
        shutil.copy(PROJECT / ".env.example", root)

    def up(self) -> str:
        """Starts everything and returns what the user sees."""
        shown = self.command("up", "--detach", within=90)
        assert shown.returncode == 0, shown.stdout + shown.stderr
        if password := re.search(r"Password\s+(\S+)", shown.stdout):
            self.admin_password = password[1]
        return shown.stdout

    def down(self) -> None:
        stopped = self.command("down", within=100)  # longer than it waits itself, so that it can say what is wrong
        assert stopped.returncode == 0, stopped.stdout + stopped.stderr

    def command(self, *arguments: str, within: float = 20, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "deploy.local", *arguments],
            cwd=self.root,
            env={**self._environment, **environment},
            capture_output=True,
            text=True,
            timeout=within,
            check=False,
        )

    def key(self, role: str = "operator") -> str:
        """An API key, as `make key` makes it."""
        made = self.command("key", ROLE=role)
        assert made.returncode == 0, made.stderr
        return made.stdout.strip()

    def client(self, key: str | None = None, **options: Any) -> httpx.AsyncClient:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        return httpx.AsyncClient(base_url=self.url, headers=headers, timeout=30, **options)

    @asynccontextmanager
    async def signed_in(self) -> AsyncIterator[httpx.AsyncClient]:
        """A browser's client after the admin has signed in. It speaks from the edge's own origin."""
        async with self.client() as client:
            client.headers["Origin"] = self.url
            answer = await client.post(
                "/api/v1/auth/login", json={"email": "admin@peanut.local", "password": self.admin_password}
            )
            assert answer.status_code == 200, answer.text
            # By hand: httpx's jar keeps Secure cookies from http://localhost, which browsers treat as trustworthy.
            client.headers["Cookie"] = answer.headers["set-cookie"].partition(";")[0]
            yield client

    def pid(self, instance: str) -> int:
        pid = self.pids()[instance]
        assert pid is not None, f"{instance} does not run"
        return pid

    def pids(self) -> dict[str, int | None]:
        """By instance; None while one is being started again."""
        state = json.loads((self.root / "data/run/state.json").read_text(encoding="utf-8"))
        return {each["instance"]: each["pid"] for each in state["processes"]}

    def send(self, instance: str, number: signal.Signals) -> int:
        """Sends a signal to a process and returns its id."""
        pid = self.pid(instance)
        os.kill(pid, number)
        return pid

    def log(self) -> str:
        return "".join(path.read_text(encoding="utf-8") for path in (self.root / "data/run").glob("*.log*"))
