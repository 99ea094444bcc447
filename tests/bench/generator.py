"""The load generator: N keep-alive connections in a closed loop, in a process of its own.

Reads a `Load` as one line of JSON on stdin and prints a `Measured` as one. A raw protocol, because a client library
would take more CPU per request than most of what is measured.
"""

import asyncio
import json
import os
import sys
from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from time import perf_counter
from typing import cast

import uvloop

from tests.bench.linux import CpuUse
from tests.bench.load import Load, Measured

_OWN_ROLE = "load"
_MOST_PER_SECOND = 150_000  # sizes the latencies; three times what one Python process can ask for
_UNANSWERED_AFTER_S = 10.0
_RECONNECT_AFTER_S = 0.05


async def generate(load: Load) -> Measured:
    """Make the load: warm up, measure for the given time, then let the requests in flight finish."""
    loop = asyncio.get_running_loop()
    run = _Run(load)
    for connection in [await run.connect() for _ in range(load.connections)]:
        connection.send()
    await asyncio.sleep(load.warm_up_s)

    watched = {**load.watched, _OWN_ROLE: (os.getpid(),)}
    cpu = CpuUse.read(watched)
    started = loop.time()
    run.recording = True
    await asyncio.sleep(load.measured_s)
    run.recording = False
    seconds = loop.time() - started
    cpu = CpuUse.read(watched).since(cpu)

    await run.finish()
    return _measured(run, seconds, cpu)


class _Run:
    """The state that all connections share."""

    def __init__(self, load: Load) -> None:
        self.load = load
        self.recording = False
        self.finishing = False
        self.acknowledged = 0
        self.errors: Counter[str] = Counter()
        self.first_error: str | None = None
        self.latencies = array("d", bytes(8 * int(load.measured_s * _MOST_PER_SECOND)))
        self.measured = 0
        self._connections: set[_Connection] = set()
        self._idle = asyncio.Event()
        self._reconnects: set[asyncio.Task[None]] = set()

    async def connect(self) -> "_Connection":
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(lambda: _Connection(self), "127.0.0.1", self.load.port)
        return connection

    async def finish(self) -> None:
        """Send nothing more and wait for what is in flight; what stays out is an error."""
        self.finishing = True
        for reconnect in self._reconnects:
            reconnect.cancel()
        try:
            async with asyncio.timeout(_UNANSWERED_AFTER_S):
                while self._connections:
                    await self._idle.wait()
        except TimeoutError:
            self.errors["unanswered"] += len(self._connections)

    def opened(self, connection: "_Connection") -> None:
        self._connections.add(connection)

    def done(self, connection: "_Connection") -> None:
        self._connections.discard(connection)
        if self.finishing and not self._connections:
            self._idle.set()

    def failed(self, kind: str, example: str) -> None:
        self.errors[kind] += 1
        self.first_error = self.first_error or f"{kind}: {example}"

    def lost(self, connection: "_Connection") -> None:
        """The server closed a connection: an error, and another one takes its place."""
        self.failed("connection closed", "while a request was in flight")
        self.done(connection)
        if not self.finishing:
            task = asyncio.get_running_loop().create_task(self._reconnect())
            self._reconnects.add(task)
            task.add_done_callback(self._reconnects.discard)

    async def _reconnect(self) -> None:
        while True:
            await asyncio.sleep(_RECONNECT_AFTER_S)
            try:
                connection = await self.connect()
            except OSError as error:
                self.failed("connection refused", str(error))
            else:
                connection.send()
                return


class _Connection(asyncio.Protocol):
    def __init__(self, run: _Run) -> None:
        self._run = run
        self._request = run.load.request
        self._expected = run.load.expected
        self._held = b""
        self._sent = 0.0
        self._closing = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._run.opened(self)

    def send(self) -> None:
        self._sent = perf_counter()
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        now = perf_counter()
        if self._held:
            data = self._held + data
        size = _response_size(data)
        if len(data) < size:
            self._held = data
            return
        self._held = b""

        run = self._run
        if len(data) == size and data.startswith(b"HTTP/1.1 200") and self._expected in data:
            run.acknowledged += 1
            if run.recording:
                run.latencies[run.measured] = now - self._sent
                run.measured += 1
        else:
            run.failed(_error_kind(data, size), data[:1000].decode(errors="replace"))

        if run.finishing:
            self._closing = True
            run.done(self)
            self._transport.close()
        else:
            self._sent = perf_counter()
            self._transport.write(self._request)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._closing:
            self._run.lost(self)


def _response_size(data: bytes) -> int:
    """Bytes of the whole response: more than there are while its head is incomplete, 0 when it has no length."""
    end = data.find(b"\r\n\r\n")
    if end < 0:
        return len(data) + 1
    name = data.lower().find(b"\r\ncontent-length:", 0, end)
    if name < 0:
        return 0
    start = name + len(b"\r\ncontent-length:")
    return end + 4 + int(data[start : data.index(b"\r\n", start)])


def _error_kind(data: bytes, size: int) -> str:
    if size == 0:
        return "no content-length"
    status = data[9:12].decode(errors="replace")
    if status != "200":
        return f"status {status}"
    return "wrong body" if len(data) == size else "more than one answer"


def _measured(run: _Run, seconds: float, cpu: CpuUse) -> Measured:
    requests = run.measured
    return Measured(
        connections=run.load.connections,
        seconds=seconds,
        requests=requests,
        latency_ms=distribution(run.latencies[:requests]),
        cpu_us={
            role: None if cpu_s is None or not requests else cpu_s / requests * 1e6
            for role, cpu_s in cpu.by_role_s.items()
        },
        acknowledged=run.acknowledged,
        errors=dict(run.errors),
        first_error=run.first_error,
        **asdict(cpu.surroundings),
    )


def distribution(latencies_s: Sequence[float]) -> dict[str, float]:
    """Nearest-rank percentiles, mean and maximum in ms."""
    if not latencies_s:
        return {}
    ordered = sorted(latencies_s)
    ranks = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p999": 0.999}
    quantiles = {name: ordered[min(len(ordered) - 1, int(len(ordered) * share))] for name, share in ranks.items()}
    figures = quantiles | {"mean": sum(ordered) / len(ordered), "max": ordered[-1]}
    return {name: value * 1e3 for name, value in figures.items()}


if __name__ == "__main__":
    print(json.dumps(asdict(uvloop.run(generate(Load.from_json(sys.stdin.readline()))))))
