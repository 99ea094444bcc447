"""A tiny service for tests of the runner: logs, tells readiness, and does what the environment asks of its name.

`STAND_IN_EXIT=auth:2` ends auth at once with that code; `STAND_IN_STUBBORN=auth` ignores SIGTERM.
"""

import asyncio
import json
import os
import signal
import sys
import time
from pathlib import Path


def main(service: str) -> None:
    name, _, code = os.environ.get("STAND_IN_EXIT", "").partition(":")
    if name == service:
        print(f"bad setting: {service.upper()}_SETTING: is odd", file=sys.stderr)
        sys.exit(int(code))
    asyncio.run(_serve(service))


def prepare(service: str) -> None:
    if os.environ.get("STAND_IN_UNPREPARED") == service:
        sys.exit("bad setting: JWT_SECRET: is odd")
    marker = Path(os.environ["DATA_DIR"]) / f"{service}.db"
    is_first = not marker.exists()
    marker.touch()
    print(json.dumps({"adminPassword": "only-shown-once"} if is_first and service == "auth" else {}))


async def _serve(service: str) -> None:
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    if service == "edge":
        port = int(os.environ["PORT"])
        await asyncio.start_server(_answer, "127.0.0.1", port, reuse_port=True)
    _up_file(service).write_text(str(os.getpid()))
    _log(service, "started", secrets=sorted(name for name in os.environ if name.endswith(("_SECRET", "_KEY"))))
    await stopped.wait()
    _log(service, "stopping")
    if os.environ.get("STAND_IN_STUBBORN") == service:
        await asyncio.sleep(3600)


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    status = b"200 OK" if all(_is_up(service) for service in ("audit", "auth", "orchestrator")) else b"503 Wait"
    writer.write(b"HTTP/1.1 " + status + b"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    await writer.drain()
    writer.close()


def _up_file(service: str) -> Path:
    return Path(os.environ["DATA_DIR"]) / f"{service}.up"


def _is_up(service: str) -> bool:
    try:
        os.kill(int(_up_file(service).read_text()), 0)
    except (OSError, ValueError):
        return False
    return True


def _log(service: str, event: str, **fields: object) -> None:
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime())
    head = {"time": stamp, "level": "info", "service": service, "instance": os.environ["INSTANCE"], "event": event}
    print(json.dumps({**head, "pid": os.getpid(), **fields}), flush=True)
