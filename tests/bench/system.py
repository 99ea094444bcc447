"""PeanutAgent under test: this checkout, started by its own runner on free ports and a data folder of its own."""

import http.client
import json
import os
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from deploy.local import state
from tests.bench.processes import PROJECT, free_port, python_module
from tests.bench.upstream_streams import MODEL

_PASSWORD = "violet tram under seven bridges"
LOGINS = tuple({"email": email, "password": _PASSWORD} for email in ("admin@peanut.local", "bench@peanut.local"))
"""Who can log in: the first admin and somebody else."""
_AGENTS = 10
LAST_AGENT = f"bench-{_AGENTS}"
_MOST_AT_ONCE = 1000
"""Requests that an agent works on: as many as may be set, as the provider is not what is measured."""
_READY_WITHIN_S = 60
_NOT_FROM_DOTENV = (
    # What a developer's .env may say and the benchmark must not follow. Empty counts as not set.
    "HOST",
    "LOG_LEVEL",
    "NATS_NKEY_FILE",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "PUBLIC_URL",
    "SCALE",
)


@contextmanager
def running_system(data_dir: Path, *, upstream_port: int, **variables: str) -> Iterator["System"]:
    """The system, ready, on an empty data folder, with these variables besides; stopped with the context."""
    system = System(data_dir, upstream_port=upstream_port)
    try:
        system.start(**variables)
        yield system
    finally:
        system.stop()


class System:
    """Started, asked and stopped as a user would: by the commands of the runner and over HTTP."""

    def __init__(self, data_dir: Path, *, upstream_port: int) -> None:
        self.port = free_port()
        self.started_in_s = 0.0
        self._data_dir = data_dir
        self._upstream_port = upstream_port
        self._api_keys: list[str] = []
        self.nats_url = f"nats://127.0.0.1:{free_port()}"

    @property
    def api_key(self) -> str:
        """A key that may do everything."""
        return self.api_keys(1)[0]

    def api_keys(self, count: int) -> list[str]:
        """So many keys that may do everything, made when they are first wanted."""
        while len(self._api_keys) < count:
            self._api_keys.append(self._runner("key", ROLE="admin").strip())
        return self._api_keys[:count]

    def start(self, **variables: str) -> None:
        """Start everything and wait until it is ready; `started_in_s` says how long that took."""
        began = time.perf_counter()
        self._runner("up", "--detach", **variables)
        self._await_ready()
        self.started_in_s = time.perf_counter() - began

    def stop(self) -> None:
        """Stop everything."""
        self._runner("down")

    def restart(self, **variables: str) -> None:
        """Stop and start again on the same data, with these variables besides."""
        self.stop()
        self.start(**variables)

    def register_agents(self, count: int = _AGENTS) -> None:
        """Register agents at the fake upstream; the two built-in ones have a lower priority and so get no work."""
        for number in range(1, count + 1):
            agent = {"name": f"bench-{number}", "type": "openai", "model": MODEL, "maxConcurrency": _MOST_AT_ONCE}
            self._call("POST", "/api/v1/agents", agent | {"endpoint": f"http://127.0.0.1:{self._upstream_port}/v1"})

    def add_users(self) -> None:
        """Add those of LOGINS who are not there from the start."""
        for login in LOGINS[1:]:
            self.add_user(login["email"], login["password"])

    def add_user(self, email: str, password: str, *, disabled: bool = False) -> None:
        """Add a user who may look."""
        user = {"email": email, "password": password, "name": "Bench", "role": "viewer", "disabled": disabled}
        self._call("POST", "/api/v1/users", user)

    def recorded(self, outcome: str = "success") -> int:
        """How many dispatches with this outcome the audit log holds."""
        page = self._call("GET", f"/api/v1/audit?action=agent.request&outcome={outcome}&limit=1")
        if not page["integrityValid"]:
            raise RuntimeError("the audit log is not valid")
        total: int = page["total"]
        return total

    def pids(self) -> Mapping[str, tuple[int, ...]]:
        """The processes by role: the services' names and "nats"."""
        processes = state.read(self._data_dir / "run").processes
        roles = dict.fromkeys(process.service for process in processes)
        return {
            role: tuple(process.pid for process in processes if process.service == role and process.pid is not None)
            for role in roles
        }

    def _runner(self, *arguments: str, **variables: str) -> str:
        command = python_module("deploy.local", *arguments)
        environment = self._environment(variables)
        result = subprocess.run(command, cwd=PROJECT, env=environment, text=True, capture_output=True, check=False)
        if result.returncode != 0:
            raise RuntimeError(f"{' '.join(command[1:])}: {result.stdout}{result.stderr}")
        return result.stdout

    def _environment(self, variables: Mapping[str, str]) -> dict[str, str]:
        return {
            **os.environ,
            **dict.fromkeys(_NOT_FROM_DOTENV, ""),
            "DATA_DIR": str(self._data_dir),
            "PORT": str(self.port),
            "NATS_URL": self.nats_url,
            "DEFAULT_ADMIN_PASSWORD": _PASSWORD,
            "LOGIN_PER_MINUTE": "1000000",
            "DISPATCH_PER_MINUTE": "1000000000",
            "AGENT_ALLOWED_HOSTS": f"127.0.0.1:{self._upstream_port}",
            **variables,
        }

    def _await_ready(self) -> None:
        deadline = time.monotonic() + _READY_WITHIN_S
        while time.monotonic() < deadline:
            try:
                status, _ = self._exchange("GET", "/ready")
            except OSError:
                status = 0
            if status == 200:
                return
            time.sleep(0.02)
        raise RuntimeError(f"not ready within {_READY_WITHIN_S} s")

    def _call(self, method: str, path: str, body: object = None) -> Any:
        status, content = self._exchange(method, path, body, {"authorization": f"Bearer {self.api_key}"})
        if status not in (200, 201):
            raise RuntimeError(f"{method} {path}: {status} {content.decode(errors='replace')}")
        return json.loads(content)

    def _exchange(
        self, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("localhost", self.port, timeout=30)
        try:
            content = None if body is None else json.dumps(body)
            connection.request(method, path, content, {"content-type": "application/json", **(headers or {})})
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()
