"""NATS micro discovery (ADR-32): PING, INFO and STATS on `$SRV.>`, so that `nats micro ls` and /health see replicas.

Only nats.micro's vocabulary is used: its Service unsubscribes without draining and sends `repr(error)` to callers.
"""

import os
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import orjson
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.micro.service import EndpointInfo, ServiceInfo, ServicePing, ServiceVerb, control_subject

from shared import VERSION
from shared.bus.responder import Responder
from shared.clock import rfc3339


class Discovery:
    """Answers who this replica is and how it fares."""

    def __init__(self, client: Client, service: str, instance: str, responder: Responder) -> None:
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

    def _ping(self) -> dict[str, Any]:
        return ServicePing(id=self._instance, name=self._name, version=VERSION, metadata={}).to_dict()

    def _info(self) -> dict[str, Any]:
        endpoints = [
            EndpointInfo(name=subject.replace(".", "-"), subject=subject, queue_group=self._name, metadata={})
            for subject in self._responder.subjects
        ]
        return ServiceInfo(
            id=self._instance, name=self._name, version=VERSION, description="", metadata={}, endpoints=endpoints
        ).to_dict()

    def _stats(self) -> dict[str, Any]:
        return {
            **self._ping(),
            "type": "io.nats.micro.v1.stats_response",
            "started": rfc3339(self._started),
            "endpoints": [],
            "metadata": {
                "uptimeSeconds": f"{(datetime.now(UTC) - self._started).total_seconds():.1f}",
                "cpuSeconds": f"{time.process_time():.2f}",
                "memoryBytes": str(_resident_bytes()),
            },
        }


def _responding_with(answer: Callable[[], dict[str, Any]]) -> Callable[[Msg], Any]:
    async def respond(message: Msg) -> None:
        await message.respond(orjson.dumps(answer()))

    return respond


def _resident_bytes() -> int:
    try:
        with open("/proc/self/statm", encoding="ascii") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:  # no procfs: not Linux
        return 0
