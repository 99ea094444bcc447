"""Slots for probes: how many run at once, so that agents that hang leave room for the others."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import Enum, auto

MAX_PROBES = 32
MAX_PROBES_PER_HOST = 8


class Turn(Enum):
    """Why an agent is probed. Each reason has slots of its own."""

    ROUTINE = auto()
    FIRST = auto()
    ASKED_FOR = auto()


class ProbeSlots:
    """At most MAX_PROBES at once for each turn, and at most MAX_PROBES_PER_HOST of them at one host."""

    def __init__(self) -> None:
        self._turns = {turn: _Slots() for turn in Turn}

    @asynccontextmanager
    async def taken(self, turn: Turn, host: str) -> AsyncIterator[None]:
        """Waits for a slot and holds it while the block runs. Who waits for a host keeps no slot from other hosts."""
        slots = self._turns[turn]
        at_host = slots.hosts.setdefault(host, _AtHost())
        at_host.users += 1
        try:
            async with at_host.slots, slots.all:
                yield
        finally:
            at_host.users -= 1
            if not at_host.users:
                del slots.hosts[host]


@dataclass(slots=True)
class _AtHost:
    slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(MAX_PROBES_PER_HOST))
    users: int = 0


@dataclass(slots=True)
class _Slots:
    all: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(MAX_PROBES))
    hosts: dict[str, _AtHost] = field(default_factory=dict)
