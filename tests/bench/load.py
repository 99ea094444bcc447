"""What one load is, what came of it, and how to have a process of its own make it."""

import base64
import json
import subprocess
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Self

from tests.bench.linux import Surroundings
from tests.bench.processes import PROJECT, python_module


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """A closed loop: each connection sends its next request when the answer to the last one is complete."""

    port: int
    request: bytes
    """The whole request as it goes over the wire."""
    expected: bytes
    """Bytes that a right answer contains; it also has status 200 and a Content-Length."""
    connections: int
    warm_up_s: float
    measured_s: float
    watched: Mapping[str, tuple[int, ...]]
    """The processes whose CPU is counted, by role."""

    def to_json(self) -> str:
        fields = asdict(self)
        return json.dumps(fields | {name: base64.b64encode(fields[name]).decode() for name in ("request", "expected")})

    @classmethod
    def from_json(cls, text: str) -> Self:
        fields = json.loads(text)
        return cls(**fields | {name: base64.b64decode(fields[name]) for name in ("request", "expected")})


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured(Surroundings):
    """One load's figures. Those without another word are of the measured window, warm-up excluded."""

    connections: int
    seconds: float
    requests: int
    """Right answers."""
    latency_ms: dict[str, float]
    """Keys p50, p90, p99, p999, mean, max; empty when nothing was answered rightly."""
    cpu_us: dict[str, float | None]
    """User and system time per request by role ("load": the generator itself); None when a process died."""
    acknowledged: int
    """Right answers over the whole load, from the first warm-up request to the last in flight."""
    errors: dict[str, int]
    """What went wrong over the whole load, by kind."""
    first_error: str | None

    @property
    def requests_per_second(self) -> float:
        return self.requests / self.seconds

    @property
    def error_count(self) -> int:
        return sum(self.errors.values())

    def to_json(self) -> dict[str, object]:
        return asdict(self) | {"requests_per_second": self.requests_per_second}


def measure(load: Load) -> Measured:
    """Make the load and wait for its figures."""
    return collect(start(load))


def start(load: Load) -> subprocess.Popen[str]:
    """Start making the load; `collect` has its figures."""
    return start_generator("tests.bench.generator", load.to_json())


def collect(generator: subprocess.Popen[str]) -> Measured:
    """The figures of a load that was started.

    Raises:
        RuntimeError: the generator itself failed.
    """
    return Measured(**json.loads(output(generator)))


def start_generator(module: str, load: str) -> subprocess.Popen[str]:
    """Start a load generator and tell it its load, one line of JSON."""
    generator = subprocess.Popen(
        python_module(module), cwd=PROJECT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert generator.stdin is not None
    generator.stdin.write(load + "\n")
    generator.stdin.flush()
    return generator


def output(generator: subprocess.Popen[str]) -> str:
    """What a generator prints from now to its end.

    Raises:
        RuntimeError: it failed.
    """
    printed, _ = generator.communicate()
    if generator.returncode != 0:
        raise RuntimeError(f"the load generator ended with code {generator.returncode}")
    return printed
