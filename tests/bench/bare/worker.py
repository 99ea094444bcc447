"""The bare worker: calls the upstream, waits for the audit receipt, replies."""

import asyncio
import hashlib
import sys
import time

import nats.errors
import orjson
import uuid_utils
from nats.aio.client import Client
from nats.aio.msg import Msg
from pyreqwest.client import Client as HttpClient
from pyreqwest.client import ClientBuilder

from tests.bench.bare.audit import APPEND
from tests.bench.bare.process import announce_ready, connect, run, until_stopped

DISPATCH = "bench.dispatch"
_RECEIPT_TIMEOUT_S = 2


class Appends:
    """Appends whose callers wait for the receipt. One is in flight; those who come meanwhile share the next."""

    def __init__(self, bus: Client) -> None:
        self._bus = bus
        self._waiting: list[tuple[bytes, asyncio.Future[None]]] = []
        self._sending: asyncio.Task[None] | None = None

    async def append(self, entry: bytes) -> None:
        receipt = asyncio.get_running_loop().create_future()
        self._waiting.append((entry, receipt))
        if self._sending is None:
            self._sending = asyncio.create_task(self._send())
        await receipt

    async def _send(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting, []
            body = b"\n".join([entry for entry, _ in batch])
            try:
                await self._bus.request(APPEND, body, timeout=_RECEIPT_TIMEOUT_S)
            except nats.errors.Error as error:
                for _, receipt in batch:
                    receipt.set_exception(error)
            else:
                for _, receipt in batch:
                    receipt.set_result(None)
        self._sending = None


class Worker:
    """Answers dispatches, each in a task of its own: nats-py would run them one after another."""

    def __init__(self, bus: Client, http: HttpClient, upstream: str) -> None:
        self._http = http
        self._url = f"{upstream}/chat/completions"
        self._appends = Appends(bus)
        self._running: set[asyncio.Task[None]] = set()

    async def accept(self, request: Msg) -> None:
        task = asyncio.create_task(self._dispatch(request))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _dispatch(self, request: Msg) -> None:
        started = time.perf_counter()
        message = orjson.loads(request.data)["message"]
        prompt = orjson.dumps({"model": "bench", "messages": [{"role": "user", "content": message}]})
        call = self._http.post(self._url).header("content-type", "application/json").body_bytes(prompt)
        response = await call.build().send()
        completion = orjson.loads(memoryview(await response.bytes()))
        answer = {
            "requestId": str(uuid_utils.uuid7()),
            "message": completion["choices"][0]["message"]["content"],
            "usage": completion["usage"],
            "latencyMs": int((time.perf_counter() - started) * 1000),
        }
        await self._appends.append(_entry(answer, prompt))
        await request.respond(orjson.dumps(answer))


def _entry(answer: dict[str, object], prompt: bytes) -> bytes:
    return orjson.dumps(
        {
            "id": answer["requestId"],
            "action": "agent.request",
            "outcome": "success",
            "timestamp": time.time_ns() // 1_000_000,
            "details": {
                "promptSha256": hashlib.sha256(prompt).hexdigest(),
                "promptBytes": len(prompt),
                "usage": answer["usage"],
                "latencyMs": answer["latencyMs"],
            },
        }
    )


async def main() -> None:
    nats_url, upstream = sys.argv[1:]
    bus = await connect(nats_url)
    async with ClientBuilder().build() as http:
        await bus.subscribe(DISPATCH, cb=Worker(bus, http, upstream).accept)
        await bus.flush()
        announce_ready()
        await until_stopped()
    await bus.close()


if __name__ == "__main__":
    run(main)
