"""Bus agents on a whole platform: the example of the documentation, with keys of `make agent-key`."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.e2e.platform import PROJECT, Platform
from tests.waiting import eventually

PASSWORD = "orange bicycle under the bridge"
EXAMPLE = PROJECT / "docs/examples/bus_agent.py"


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """One of its own: a new key breaks off calls under way."""
    running = Platform(tmp_path_factory.mktemp("platform"), DEFAULT_ADMIN_PASSWORD=PASSWORD)
    running.admin_password = PASSWORD
    running.up()
    yield running
    running.down()


@pytest.fixture
async def admin(platform: Platform) -> AsyncIterator[httpx.AsyncClient]:
    async with platform.signed_in() as client:
        yield client


async def registered(admin: httpx.AsyncClient, name: str) -> str:
    made = await admin.post("/api/v1/agents", json={"name": name, "type": "bus", "model": name})
    assert (made.status_code, made.json()["health"]["status"]) == (201, "offline"), made.text
    assert "not connected to the bus" in made.json()["health"]["details"]
    return str(made.json()["id"])


def key_for(platform: Platform, agent: str) -> str:
    made = platform.command("agent-key", AGENT=agent)
    assert made.returncode == 0, made.stderr
    return made.stdout


@contextmanager
def running(platform: Platform, id: str, seed: str, folder: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """The example as a process."""
    file = folder / f"{id}.nk"
    file.write_text(seed)
    environment = {"PATH": os.environ["PATH"], "AGENT_ID": id, "NATS_URL": platform.nats_url}
    with (
        open(folder / "agent.log", "ab") as log,
        subprocess.Popen([sys.executable, EXAMPLE, file], env=environment, stdout=log, stderr=log) as process,
    ):
        try:
            yield process
        finally:
            process.kill()


async def becomes(admin: httpx.AsyncClient, id: str, status: str, *, within: float) -> None:
    async def is_it() -> bool:
        return bool((await admin.get(f"/api/v1/agents/{id}")).json()["health"]["status"] == status)

    await eventually(is_it, within=within)


async def dispatch(admin: httpx.AsyncClient, **wish: object) -> httpx.Response:
    return await admin.post("/api/v1/openclaw/dispatch", json={"message": "one two three", **wish})


async def test_the_example_answers_until_it_is_killed(
    platform: Platform, admin: httpx.AsyncClient, tmp_path: Path
) -> None:
    id = await registered(admin, "backwards")
    seed = key_for(platform, "Backwards")

    with running(platform, id, seed, tmp_path) as process:
        await becomes(admin, id, "online", within=5)
        whole = await dispatch(admin, agentId=id)
        chosen = await dispatch(admin, model="backwards")
        stream = await dispatch(admin, agentId=id, stream=True)
        refused = await dispatch(admin, agentId=id, message=" ")
        process.send_signal(signal.SIGKILL)
        process.wait()
        await becomes(admin, id, "offline", within=5)
    gone = await dispatch(admin, agentId=id)

    assert (whole.status_code, whole.json()["message"]) == (200, "three two one")
    assert chosen.json()["agentId"] == id
    assert [line for line in stream.text.splitlines() if line.startswith("event:")][-1] == "event: done"
    assert stream.text.count("event: token") >= 1
    assert (refused.status_code, gone.status_code) == (502, 503)
    assert "it says: there is nothing to say backwards" in refused.json()["detail"]


async def test_work_goes_to_others_when_it_is_killed(
    platform: Platform, admin: httpx.AsyncClient, tmp_path: Path
) -> None:
    first, second = await registered(admin, "first"), await registered(admin, "second")
    for id in (first, second):
        assert (await admin.put(f"/api/v1/agents/{id}", json={"model": "twins"})).status_code == 200
    seeds = [key_for(platform, id) for id in (first, second)]

    with running(platform, first, seeds[0], tmp_path) as process, running(platform, second, seeds[1], tmp_path):
        for id in (first, second):
            await becomes(admin, id, "online", within=5)
        process.kill()
        process.wait()
        answers = [await dispatch(admin, model="twins") for _ in range(6)]

    assert {answer.status_code for answer in answers} == {200}
    assert {answer.json()["agentId"] for answer in answers} == {second}


async def test_a_new_key_takes_the_place_of_the_old_one_at_once(
    platform: Platform, admin: httpx.AsyncClient, tmp_path: Path
) -> None:
    id = await registered(admin, "renewed")
    old = key_for(platform, id)

    with running(platform, id, old, tmp_path):
        await becomes(admin, id, "online", within=5)
        new = key_for(platform, id)
        await becomes(admin, id, "offline", within=5)
    with running(platform, id, old, tmp_path) as process:
        refused = await asyncio.to_thread(process.poll)
        await asyncio.sleep(2.5)
        still = (await admin.get(f"/api/v1/agents/{id}")).json()["health"]["status"]
    with running(platform, id, new, tmp_path):
        await becomes(admin, id, "online", within=5)

    assert (refused, still, old == new) == (None, "offline", False)


async def test_keys_outlive_the_platform_but_not_their_agents(
    platform: Platform, admin: httpx.AsyncClient, tmp_path: Path
) -> None:
    kept, removed = await registered(admin, "kept"), await registered(admin, "removed")
    seeds = {id: key_for(platform, id) for id in (kept, removed)}
    keys = platform.root / "data/nats/agents"
    assert (await admin.delete(f"/api/v1/agents/{removed}")).status_code == 204

    platform.down()
    platform.up()

    assert (keys / f"{kept}.pub").exists()
    assert not (keys / f"{removed}.pub").exists()
    with running(platform, kept, seeds[kept], tmp_path):
        await becomes(admin, kept, "online", within=5)
    assert "agent_keys_dropped" in platform.log()


async def test_the_next_key_drops_those_of_removed_agents(platform: Platform, admin: httpx.AsyncClient) -> None:
    removed, other = await registered(admin, "short-lived"), await registered(admin, "other")
    key_for(platform, removed)
    await admin.delete(f"/api/v1/agents/{removed}")

    key_for(platform, other)

    kept = {path.stem for path in (platform.root / "data/nats/agents").iterdir()}
    assert (removed in kept, other in kept) == (False, True)


async def test_a_key_is_told_once_and_recorded(platform: Platform, admin: httpx.AsyncClient) -> None:
    id = await registered(admin, "recorded")

    made = platform.command("agent-key", AGENT=id)

    entries = (await admin.get("/api/v1/audit", params={"action": "agent.key_created", "resourceId": id})).json()[
        "entries"
    ]
    public_key = (platform.root / f"data/nats/agents/{id}.pub").read_text()
    seed = made.stdout.removesuffix("\n")
    assert (len(seed), seed[:2], "\n" in seed) == (58, "SU", False)
    assert made.stderr == f"agent recorded: AGENT_ID={id} NATS_URL={platform.nats_url}\n"
    assert [(entry["phase"], entry["outcome"]) for entry in entries] == [("outcome", "success"), ("intent", None)]
    assert {entry["details"]["publicKey"] for entry in entries} == {public_key}
    held = [path for path in platform.root.rglob("*") if path.is_file() and seed.encode() in path.read_bytes()]
    assert held == []


@pytest.mark.parametrize(
    ("agent", "says"),
    [
        ("", "make agent-key: which agent? make agent-key AGENT=<its id or name>"),
        ("nobody", "make agent-key: There is no agent nobody."),
        ("echo", "is of type echo; only agents of type bus have keys."),
    ],
)
async def test_a_wish_that_cannot_be_met_is_one_line(
    platform: Platform, admin: httpx.AsyncClient, agent: str, says: str
) -> None:
    if agent == "echo":
        agent = (await admin.get("/api/v1/agents?type=echo")).json()["items"][0]["name"]

    refused = platform.command("agent-key", AGENT=agent)

    assert (refused.returncode, refused.stdout, refused.stderr.count("\n")) == (1, "", 1)
    assert says in refused.stderr
