"""How the whole is: measured by asking every service, never a constant."""

import asyncio
import time
from collections.abc import Sequence
from functools import partial
from typing import Literal, NamedTuple

from edge.joined import Joined
from shared import VERSION
from shared.bus import NOTHING, Bus, Message, Moment, call_context
from shared.bus.discovery import Replica as FoundReplica
from shared.clock import utc_now
from shared.contracts.health import health_contract
from shared.errors import PlatformError

NEEDED = ("auth", "orchestrator", "audit")
SERVICES = (*NEEDED, "witness")
ASK_WITHIN_S = 2.0
GATHER_WITHIN_S = 0.1

Status = Literal["healthy", "degraded", "unhealthy"]


class Replica(Message):
    """One process of a service, as it describes itself. `cpuSeconds` since its start."""

    instance: str
    uptime_seconds: float
    cpu_seconds: float
    memory_bytes: int


class ServiceHealth(Message):
    """One service, as a call through its queue group found it."""

    status: Status
    latency_ms: float
    replicas: int
    message: str | None = None
    processes: list[Replica]


class PlatformHealth(Message):
    """The whole platform, for callers who are signed in."""

    status: Status
    version: str
    uptime: float
    timestamp: Moment
    services: dict[str, ServiceHealth]


class _Answer(NamedTuple):
    healthy: bool
    latency_ms: float
    message: str
    answered: bool = True


class HealthCheck:
    """Asks the services; callers that come while an answer is under way share it."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._started = time.monotonic()
        self._answers = Joined(partial(self._ask_all, SERVICES))
        self._needed = Joined(partial(self._ask_all, NEEDED))
        self._reports = Joined(self._report)

    async def status(self) -> Status:
        """Healthy when every service can do its work, unhealthy when none that is needed can, degraded in between."""
        return _overall(await self._answers.result())

    async def is_ready(self) -> bool:
        """Whether every service that is needed answers, and auth can say who asks; any other still does some work."""
        answers = await self._needed.result()
        return answers["auth"].healthy and all(answer.answered for answer in answers.values())

    async def report(self) -> PlatformHealth:
        """The same with each service and each of its replicas."""
        return await self._reports.result()

    async def _report(self) -> PlatformHealth:
        names = (*SERVICES, "edge")
        answers, replicas = await asyncio.gather(
            self._answers.result(), asyncio.gather(*(self._replicas(service) for service in names))
        )
        asked = {**answers, "edge": _Answer(True, 0.0, "")}
        services = {name: _service(asked[name], found) for name, found in zip(names, replicas, strict=True)}
        return PlatformHealth(
            status=_overall(answers),
            version=VERSION,
            uptime=round(time.monotonic() - self._started, 1),
            timestamp=utc_now(),
            services=services,
        )

    async def _ask_all(self, services: Sequence[str]) -> dict[str, _Answer]:
        answers = await asyncio.gather(*(self._ask(service) for service in services))
        return dict(zip(services, answers, strict=True))

    async def _ask(self, service: str) -> _Answer:
        began = time.perf_counter()
        try:
            health = await self._bus.call(health_contract(service), NOTHING, call_context(seconds=ASK_WITHIN_S))
        except PlatformError as error:
            return _Answer(False, _ms_since(began), error.detail, answered=False)
        return _Answer(health.healthy, _ms_since(began), health.message)

    async def _replicas(self, service: str) -> list[Replica]:
        return [_replica(stats) for stats in await self._bus.replicas(service, within=GATHER_WITHIN_S)]


def _overall(answers: dict[str, _Answer]) -> Status:
    if all(answer.healthy for answer in answers.values()):
        return "healthy"
    return "degraded" if any(answers[service].healthy for service in NEEDED) else "unhealthy"


def _service(answer: _Answer, replicas: list[Replica]) -> ServiceHealth:
    return ServiceHealth(
        status="healthy" if answer.healthy else "unhealthy",
        latency_ms=answer.latency_ms,
        replicas=len(replicas),
        message=answer.message or None,
        processes=sorted(replicas, key=lambda replica: replica.instance),
    )


def _replica(found: FoundReplica) -> Replica:
    return Replica(
        instance=found.id,
        uptime_seconds=found.metadata.uptime_seconds,
        cpu_seconds=found.metadata.cpu_seconds,
        memory_bytes=found.metadata.memory_bytes,
    )


def _ms_since(began: float) -> float:
    return round((time.perf_counter() - began) * 1000, 2)
