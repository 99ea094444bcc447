"""The load generator of streams: N connections that read streams of numbered tokens, in a process of its own.

Reads a `StreamLoad` as one line of JSON on stdin, prints "open" when every stream has had its first token, and a
`StreamsMeasured` in the end.
"""

import asyncio
import json
import os
import sys
from array import array
from collections import Counter
from dataclasses import asdict
from time import monotonic_ns
from typing import cast

import uvloop

from tests.bench.event_stream import Response
from tests.bench.generator import distribution
from tests.bench.linux import CpuUse
from tests.bench.stream_load import StreamLoad, StreamsMeasured
from tests.bench.tokens import Tokens

_OWN_ROLE = "load"
_OPEN_WITHIN_S = 60.0
_ENDED_WITHIN_S = 10.0
_RECONNECT_AFTER_S = 0.05
_CONNECTING_AT_ONCE = 50
_FINISH = b"POST /finish HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\n\r\n"


async def generate(load: StreamLoad) -> StreamsMeasured:
    """Make the load: open all streams, warm up, measure for the given time, then let the streams end."""
    run = _Run(load)
    for first in range(0, load.streams, _CONNECTING_AT_ONCE):
        numbers = range(first, min(load.streams, first + _CONNECTING_AT_ONCE))
        for connection in await asyncio.gather(*[run.connect(number) for number in numbers]):
            connection.ask()
    await run.all_open()
    print("open", flush=True)
    await asyncio.sleep(load.warm_up_s)

    watched = {**load.watched, _OWN_ROLE: (os.getpid(),)}
    cpu = CpuUse.read(watched)
    began = monotonic_ns()
    run.recording = True
    await asyncio.sleep(load.measured_s)
    run.recording = False
    seconds = (monotonic_ns() - began) / 1e9
    cpu = CpuUse.read(watched).since(cpu)

    await run.finish()
    return _measured(run, seconds, cpu)


class _Run:
    """The state that all connections share."""

    def __init__(self, load: StreamLoad) -> None:
        self.load = load
        self.recording = False
        self.finishing = False
        self.completed = 0
        self.chunks = 0
        self.delays_s = array("d")
        self.first_tokens_s = array("d")
        self.earlier_first_tokens_s = array("d")
        """Of streams that began before the window."""
        self.errors: Counter[str] = Counter()
        self.first_error: str | None = None
        self._waited_for = set(range(load.streams))
        self._open = asyncio.Event()
        self._connections: set[_Connection] = set()
        self._idle = asyncio.Event()
        self._reconnects: set[asyncio.Task[None]] = set()

    async def connect(self, number: int) -> "_Connection":
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(lambda: _Connection(self, number), "127.0.0.1", self.load.port)
        return connection

    async def all_open(self) -> None:
        """Wait for a first token on every connection; those that fail are not waited for."""
        try:
            async with asyncio.timeout(_OPEN_WITHIN_S):
                await self._open.wait()
        except TimeoutError:
            self.failed("no first token", f"on {len(self._waited_for)} connections within {_OPEN_WITHIN_S:g} s")

    async def finish(self) -> None:
        """Ask for nothing more and wait for the streams that are there; what stays out is an error."""
        self.finishing = True
        for reconnect in self._reconnects:
            reconnect.cancel()
        await _tell_to_finish(self.load.provider_port)
        try:
            async with asyncio.timeout(_ENDED_WITHIN_S):
                while self._connections:
                    await self._idle.wait()
        except TimeoutError:
            self.errors["unfinished"] += len(self._connections)

    def opened(self, connection: "_Connection") -> None:
        self._connections.add(connection)

    def first_token(self, connection: "_Connection", after_s: float) -> None:
        self.no_longer_awaited(connection)
        (self.first_tokens_s if self.recording else self.earlier_first_tokens_s).append(after_s)

    def no_longer_awaited(self, connection: "_Connection") -> None:
        self._waited_for.discard(connection.number)
        if not self._waited_for:
            self._open.set()

    def done(self, connection: "_Connection") -> None:
        self._connections.discard(connection)
        if self.finishing and not self._connections:
            self._idle.set()

    def failed(self, kind: str, example: str) -> None:
        self.errors[kind] += 1
        self.first_error = self.first_error or f"{kind}: {example}"

    def replace(self, connection: "_Connection") -> None:
        """A connection is gone after a failure: another one takes its place."""
        self.no_longer_awaited(connection)
        self.done(connection)
        if not self.finishing:
            task = asyncio.get_running_loop().create_task(self._reconnect(connection.number))
            self._reconnects.add(task)
            task.add_done_callback(self._reconnects.discard)

    async def _reconnect(self, number: int) -> None:
        await asyncio.sleep(_RECONNECT_AFTER_S)
        try:
            connection = await self.connect(number)
        except OSError as error:
            self.failed("connection refused", str(error))
        else:
            connection.ask()


class _Connection(asyncio.Protocol):
    def __init__(self, run: _Run, number: int) -> None:
        self.number = number
        self._run = run
        self._request = run.load.requests[number % len(run.load.requests)]
        self._end = run.load.end
        self._closing = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._run.opened(self)

    def ask(self) -> None:
        """Ask for a stream."""
        self._response = Response()
        self._tokens = Tokens()
        self._ended_well = False
        self._asked_ns = monotonic_ns()
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        now = monotonic_ns()
        try:
            lines = self._response.feed(data)
        except ValueError as error:
            self._fail(f"status {self._response.status.decode()}, {error}", data)
            return
        if self._response.status != b"200":
            if self._response.status:
                self._fail(f"status {self._response.status.decode()}", data)
            return
        if lines:
            self._read(lines, now)
        if self._response.is_over and not self._closing:
            self._over(data)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._closing:
            self._run.failed("connection closed", f"after {self._tokens.count} tokens")
            self._run.replace(self)

    def _read(self, lines: bytes, now: int) -> None:
        if self._ended_well:
            return  # what follows the end may say the whole answer once more
        run = self._run
        is_first = self._tokens.count == 0
        tokens, end, _ = lines.partition(self._end)
        sent_ns, is_right = self._tokens.read(tokens)
        if not is_right:
            self._fail("lost or out of order", lines)
            return
        if sent_ns:
            if is_first:
                run.first_token(self, (now - self._asked_ns) / 1e9)
            if run.recording:
                run.chunks += len(sent_ns)
                run.delays_s.extend([(now - sent) / 1e9 for sent in sent_ns])
        self._ended_well = bool(end) and self._tokens.ended

    def _over(self, data: bytes) -> None:
        if not self._ended_well:
            self._fail("ended early", data)
            return
        self._run.completed += 1
        if self._run.finishing:
            self._closing = True
            self._run.done(self)
            self._transport.close()
        else:
            self.ask()

    def _fail(self, kind: str, data: bytes) -> None:
        self._run.failed(kind, data[-1000:].decode(errors="replace"))
        self._closing = True
        self._transport.abort()
        self._run.replace(self)


async def _tell_to_finish(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(_FINISH)
    await reader.readuntil(b"\r\n\r\n")
    writer.close()


def _measured(run: _Run, seconds: float, cpu: CpuUse) -> StreamsMeasured:
    return StreamsMeasured(
        streams=run.load.streams,
        seconds=seconds,
        chunks=run.chunks,
        first_token_ms=distribution(run.first_tokens_s or run.earlier_first_tokens_s),
        delay_ms=distribution(run.delays_s),
        cpu_us={
            role: None if cpu_s is None or not run.chunks else cpu_s / run.chunks * 1e6
            for role, cpu_s in cpu.by_role_s.items()
        },
        completed=run.completed,
        errors=dict(run.errors),
        first_error=run.first_error,
        **asdict(cpu.surroundings),
    )


if __name__ == "__main__":
    print(json.dumps(asdict(uvloop.run(generate(StreamLoad.from_json(sys.stdin.readline()))))))
