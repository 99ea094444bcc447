"""NATS micro discovery (ADR-32): PING, INFO and STATS below `$SRV`, so that `nats micro ls` and /health see replicas.

Only nats.micro's vocabulary is used: its Service unsubscribes without draining and sends `repr(error)` to callers.
"""

import asyncio
import logging
import os
import random
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Annotated, Any

import orjson
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.micro.service import EndpointInfo, EndpointStats, ServiceInfo, ServicePing, ServiceVerb, control_subject
from pydantic import ConfigDict, Field

from shared import VERSION
from shared.bus.client import BusClient
from shared.bus.messages import Message, read
from shared.bus.responder import Responder
from shared.bus.statistics import Statistics
from shared.bus.transport import Hearer
from shared.clock import rfc3339
from shared.errors import PlatformError

MAX_REPLICAS = 64
"""More than any installation has: somebody who answers without end is not listened to any longer."""
MAX_ENDPOINTS = 256

_log = logging.getLogger(__name__)

Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Vitals(Message):
    """How a replica fares. Micro's metadata are strings, so numbers come as such; `cpu_seconds` since its start."""

    model_config = ConfigDict(strict=False)

    uptime_seconds: Amount
    cpu_seconds: Amount
    memory_bytes: Annotated[int, Field(ge=0)]


class EndpointStatistics(Message):
    """What an endpoint has done since its process began, in the names of ADR-32; `processing_time` in nanoseconds."""

    model_config = ConfigDict(alias_generator=None)

    subject: Annotated[str, Field(min_length=1, max_length=128)]
    num_requests: Annotated[int, Field(ge=0)]
    num_errors: Annotated[int, Field(ge=0)]
    processing_time: Annotated[int, Field(ge=0)]


class Replica(Message):
    """One process of the service `name`, as it describes itself."""

    id: Annotated[str, Field(min_length=1, max_length=64)]
    name: str
    metadata: Vitals
    endpoints: Annotated[list[EndpointStatistics], Field(max_length=MAX_ENDPOINTS)] = Field(default_factory=list)


class Discovery:
    """Answers who this replica is and how it fares."""

    def __init__(self, client: BusClient, service: str, instance: str, responder: Responder) -> None:
        self._client = client
        self._name = service
        self._instance = instance
        self._responder = responder
        self._started = datetime.now(UTC)

    async def start(self) -> None:
        """Answers each verb for all services, for this service and for this replica alone."""
        answers: dict[ServiceVerb, Callable[[], dict[str, Any]]] = {
            ServiceVerb.PING: self._ping,
            ServiceVerb.INFO: self._info,
            ServiceVerb.STATS: self._stats,
        }
        for verb, answer in answers.items():
            for subject in (
                control_subject(verb),
                control_subject(verb, self._name),
                control_subject(verb, self._name, self._instance),
            ):
                await self._client.subscribe(subject, cb=_responding_with(answer))

    async def replicas(self, service: str, *, within: float) -> list[Replica]:
        """The replicas of `service` that answer in `within` seconds; what is not such an answer is skipped.

        Without a connection nobody can, which is said at once.
        """
        found: dict[str, Replica] = {}

        def hear(_subject: str, _reply: str, body: bytes, _headers: bytes) -> None:
            if not body or len(found) >= MAX_REPLICAS:  # empty: the server says that nobody listens
                return
            try:
                replica = read(Replica, body)
            except PlatformError:
                _log.warning("replica_not_understood", extra={"asked": service})
                return
            if replica.name == service:
                found.setdefault(replica.id, replica)

        if self._client.is_connected:
            with suppress(NatsError, OSError):  # it breaks meanwhile
                await self._gather(service, hear, within=within)
        return list(found.values())

    async def _gather(self, service: str, hear: Hearer, *, within: float) -> None:
        inbox = f"_INBOX_{self._name}.gather-{random.getrandbits(64):x}"
        subscription = await self._client.hear(inbox, hear)
        try:
            self._client.send(control_subject(ServiceVerb.STATS, service), b"", reply=inbox)
            await asyncio.sleep(within)
        finally:
            await self._client.forget(subscription)

    def _ping(self) -> dict[str, Any]:
        return ServicePing(id=self._instance, name=self._name, version=VERSION, metadata={}).to_dict()

    def _info(self) -> dict[str, Any]:
        endpoints = [
            EndpointInfo(name=_name(subject), subject=subject, queue_group=self._name, metadata={})
            for subject in self._responder.statistics
        ]
        return ServiceInfo(
            id=self._instance, name=self._name, version=VERSION, description="", metadata={}, endpoints=endpoints
        ).to_dict()

    def _stats(self) -> dict[str, Any]:
        return {
            **self._ping(),
            "type": "io.nats.micro.v1.stats_response",
            "started": rfc3339(self._started),
            "endpoints": [self._endpoint(*each) for each in self._responder.statistics.items()],
            "metadata": {
                "uptimeSeconds": f"{(datetime.now(UTC) - self._started).total_seconds():.1f}",
                "cpuSeconds": f"{time.process_time():.2f}",
                "memoryBytes": str(_resident_bytes()),
            },
        }

    def _endpoint(self, subject: str, statistics: Statistics) -> dict[str, Any]:
        nanoseconds = int(statistics.seconds * 1e9)
        return EndpointStats(  # without the last error: an answer's words are for its caller
            name=_name(subject),
            subject=subject,
            queue_group=self._name,
            num_requests=statistics.requests,
            num_errors=statistics.errors,
            processing_time=nanoseconds,
            average_processing_time=nanoseconds // max(statistics.requests, 1),
        ).to_dict()


def _name(subject: str) -> str:
    """Micro's names have no dots."""
    return subject.replace(".", "-")


def _responding_with(answer: Callable[[], dict[str, Any]]) -> Callable[[Msg], Any]:
    async def respond(message: Msg) -> None:
        if message.reply.startswith("_INBOX_"):  # elsewhere this service would speak with its own permissions
            await message.respond(orjson.dumps(answer()))

    return respond


def _resident_bytes() -> int:
    try:
        with open("/proc/self/statm", encoding="ascii") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:  # no procfs: not Linux
        return 0
