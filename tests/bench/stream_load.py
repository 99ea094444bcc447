"""What a load of streams is, what came of it, and how to have a process of its own make it."""

import base64
import json
import subprocess
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Self

from tests.bench.linux import Surroundings
from tests.bench.load import output, start_generator


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamLoad:
    """Streams at the same time: each connection asks for its next one when the last is over."""

    port: int
    requests: tuple[bytes, ...]
    """Whole requests as they go over the wire; the connections take them in turn."""
    end: bytes
    """Bytes that a stream which ended well has after its last token."""
    streams: int
    warm_up_s: float
    """Counted from the moment when every stream has had its first token."""
    measured_s: float
    provider_port: int
    """Where the streams that have no number of tokens are told to finish."""
    watched: Mapping[str, tuple[int, ...]]
    """The processes whose CPU is counted, by role."""

    def to_json(self) -> str:
        texts = {"requests": [_encoded(request) for request in self.requests], "end": _encoded(self.end)}
        return json.dumps(asdict(self) | texts)

    @classmethod
    def from_json(cls, text: str) -> Self:
        fields = json.loads(text)
        requests = tuple(base64.b64decode(request) for request in fields["requests"])
        return cls(**fields | {"requests": requests, "end": base64.b64decode(fields["end"])})


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamsMeasured(Surroundings):
    """One load's figures. Those without another word are of the measured window, warm-up excluded."""

    streams: int
    """At the same time."""
    seconds: float
    chunks: int
    """Tokens that arrived."""
    first_token_ms: dict[str, float]
    """From the request to the first token: of the window's streams or, where none began in it, of all. Keys as in
    `Measured.latency_ms`."""
    delay_ms: dict[str, float]
    """From the provider's sending a token to its arrival."""
    cpu_us: dict[str, float | None]
    """User and system time per token by role ("load": the generator itself); None when a process died."""
    completed: int
    """Streams that brought every token once, in order, and ended well, over the whole load."""
    errors: dict[str, int]
    """What went wrong over the whole load, by kind."""
    first_error: str | None

    @property
    def chunks_per_second(self) -> float:
        return self.chunks / self.seconds

    @property
    def error_count(self) -> int:
        return sum(self.errors.values())

    def to_json(self) -> dict[str, object]:
        return asdict(self) | {"chunks_per_second": self.chunks_per_second}


def measure_streams(load: StreamLoad) -> StreamsMeasured:
    """Make the load and wait for its figures."""
    generator = start_streams(load)
    await_open(generator)
    return collect_streams(generator)


def start_streams(load: StreamLoad) -> subprocess.Popen[str]:
    """Start making the load; `await_open` and then `collect_streams` have to follow."""
    return start_generator("tests.bench.stream_generator", load.to_json())


def await_open(generator: subprocess.Popen[str]) -> None:
    """Wait until every stream has had its first token, or failed.

    Raises:
        RuntimeError: the generator itself failed.
    """
    assert generator.stdout is not None
    if not generator.stdout.readline():
        output(generator)
        raise RuntimeError("the generator of streams has said nothing")


def collect_streams(generator: subprocess.Popen[str]) -> StreamsMeasured:
    """The figures of a load that was started.

    Raises:
        RuntimeError: the generator itself failed.
    """
    return StreamsMeasured(**json.loads(output(generator)))


def _encoded(content: bytes) -> str:
    return base64.b64encode(content).decode()
