"""The service as a process: how it starts, and how it ends."""

import asyncio
import os
import re
import signal
import sys
from pathlib import Path

import orjson
import pytest

from tests.integration.bus import Nats, bus_as
from tests.integration.orchestrator import upstreams
from tests.integration.orchestrator.calls import dispatch, register
from tests.integration.orchestrator.cluster import KEY, AuditLog
from tests.integration.orchestrator.upstreams import Upstream, reply


async def start(nats: Nats, data_dir: Path, **environment: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "orchestrator",
        env={
            "PATH": os.environ["PATH"],
            "DATA_DIR": str(data_dir),
            "NATS_URL": nats.url,
            "NATS_NKEY_FILE": str(nats.nkey("orchestrator")),
            "AGENT_ENCRYPTION_KEY": KEY,
            **environment,
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def test_calls_in_flight_are_answered_when_it_is_stopped(
    nats: Nats, data_dir: Path, audit: AuditLog, server: Upstream
) -> None:
    async def slowly(writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.5)
        await reply(orjson.dumps(upstreams.OPENAI_ANSWER))(writer)

    allowed = f"127.0.0.1:{server.port}"
    process = await start(nats, data_dir, AGENT_ALLOWED_HOSTS=allowed, DISPATCH_PER_MINUTE="1000000")
    assert process.stdout is not None
    first = orjson.loads(await process.stdout.readline())
    async with bus_as(nats, "edge") as edge:
        await register(edge, server)
        server.chat = slowly
        dispatches = [asyncio.create_task(dispatch(edge)) for _ in range(5)]
        await asyncio.sleep(0.2)

        process.send_signal(signal.SIGTERM)
        answers = await asyncio.gather(*dispatches)

    assert (first["event"], first["service"], first["instance"]) == ("ready", "orchestrator", "orchestrator-1")
    assert [answer.message for answer in answers] == ["Good day."] * 5
    assert len(audit.outcomes("agent.request")) == 5
    assert await asyncio.wait_for(process.wait(), 5) == 0


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"AGENT_ENCRYPTION_KEY": "short"}, "bad setting: AGENT_ENCRYPTION_KEY: "),
        ({"AGENT_ENCRYPTION_KEY": ""}, "bad setting: AGENT_ENCRYPTION_KEY: "),
        ({"AGENT_ALLOWED_HOSTS": "everything"}, "bad setting: AGENT_ALLOWED_HOSTS: "),
    ],
)
async def test_a_bad_setting_ends_the_start_with_one_line(
    nats: Nats, data_dir: Path, environment: dict[str, str], said: str
) -> None:
    process = await start(nats, data_dir, **environment)

    out, err = await asyncio.wait_for(process.communicate(), 20)

    assert (process.returncode, out) == (2, b"")
    assert err.decode().startswith(said)
    assert err.count(b"\n") == 1


async def test_a_bus_without_jetstream_ends_the_start_with_one_line(tmp_path: Path, data_dir: Path) -> None:
    bare = Nats(tmp_path)
    text = bare.config.read_text()
    bare.config.write_text(re.sub(r"(?ms)^jetstream \{.*?^\}\n|^ *jetstream: .*?\n", "", text))
    bare.start()
    try:
        process = await start(bare, data_dir)
        out, err = await asyncio.wait_for(process.communicate(), 20)
    finally:
        bare.kill()

    assert (process.returncode, out) == (1, b"")
    assert err.startswith(b"The NATS server offers this service no bucket limits: JetStream")
    assert err.count(b"\n") == 1
