"""`make agent-key`: a key with which an agent of type `bus` connects to NATS, shown once."""

import asyncio
import fcntl
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nats.aio.client import Client
from nats.errors import Error as NatsError

from deploy.local import environment, nats_server, settings
from deploy.local.key import LocalOperator, as_local_operator, done
from deploy.local.private_files import private_directory
from deploy.local.problem import Problem
from deploy.local.settings import Settings
from deploy.nats import agent_keys
from shared.contracts.orchestrator import ISSUE_AGENT_KEY, LIST_AGENTS, IssueAgentKey, KeyedAgent, ListAgents

_TAKEN_WITHIN_S = 5.0


def main(root: Path | None = None) -> int:
    """Prints the seed of a new key alone on standard output, and on standard error whose it is.

    The agent's key before that one works no more. Raises `Problem` when there is none to be had.
    """
    ours = settings.read(root or Path.cwd(), environment.read(root or Path.cwd()))
    wanted = ours.environment.get("AGENT")
    if not wanted:
        raise Problem("which agent? make agent-key AGENT=<its id or name>")
    seed, public_key = agent_keys.new_pair()
    agent = done(_made(ours, wanted, seed, public_key))
    print(seed)
    print(f"agent {agent.name}: AGENT_ID={agent.id} NATS_URL={ours.nats_url}", file=sys.stderr)
    return 0


async def drop_removed(ours: Settings) -> list[str]:
    """Takes their keys from agents that are no more; returns their ids. Raises PlatformError and `Problem`."""
    if not agent_keys.files(ours.nats_dir):
        return []
    async with as_local_operator(ours) as operator:
        ids = await _bus_agents(operator)
    with _alone(ours):
        dropped = agent_keys.drop_others(ours.nats_dir, ids)
        if dropped:
            nats_server.reload(ours)
    return dropped


async def _made(ours: Settings, wanted: str, seed: str, public_key: str) -> KeyedAgent:
    async with as_local_operator(ours) as operator:
        agent = await operator.ask(ISSUE_AGENT_KEY, IssueAgentKey(agent=wanted, public_key=public_key))
        ids = await _bus_agents(operator)
    with _alone(ours):
        agent_keys.keep(ours.nats_dir, agent.id, public_key)
        agent_keys.drop_others(ours.nats_dir, ids | {agent.id})
        nats_server.reload(ours)
    await _taken(ours, seed)
    return agent


async def _bus_agents(operator: LocalOperator) -> set[str]:
    ids: set[str] = set()
    cursor: str | None = None
    while True:
        page = await operator.ask(LIST_AGENTS, ListAgents(type="bus", limit=100, cursor=cursor))
        ids |= {agent.id for agent in page.items}
        cursor = page.next_cursor
        if cursor is None:
            return ids


async def _taken(ours: Settings, seed: str) -> None:
    """Returns when the server lets the key in."""
    deadline = time.monotonic() + _TAKEN_WITHIN_S
    while not await _lets_in(ours.nats_url, seed):
        if time.monotonic() > deadline:
            raise Problem("the bus does not take the new key: see make logs SERVICE=nats, and make another one")
        await asyncio.sleep(0.05)


async def _lets_in(url: str, seed: str) -> bool:
    async def ignore(_error: Exception) -> None: ...

    client = Client()
    try:
        await client.connect(url, nkeys_seed_str=seed, allow_reconnect=False, error_cb=ignore, connect_timeout=1)
    except (NatsError, OSError, TimeoutError):
        return False
    finally:
        await client.close()
    return True


@contextmanager
def _alone(ours: Settings) -> Iterator[None]:
    """Lets two of these, started together, not forget each other's key."""
    folder = os.open(private_directory(ours.nats_dir), os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)
