"""Readiness: whether work may be sent to this edge."""

from collections.abc import Mapping
from typing import Any

import pytest

from edge.health import HealthCheck
from shared.bus import Contract
from shared.contracts.health import Health
from shared.errors import Unavailable

WELL = Health(healthy=True)
ILL = Health(healthy=False, message="The database cannot be read.")


class Services:
    """A bus on which services answer with their health, or not at all."""

    def __init__(self, answers: Mapping[str, Health | None]) -> None:
        self._answers = answers

    async def call(self, contract: Contract[Any, Any], _request: object, _context: object) -> Health:
        answer = self._answers[contract.service]
        if answer is None:
            raise Unavailable("Nobody is there.")
        return answer


@pytest.mark.parametrize(
    ("changed", "is_ready"),
    [
        ({}, True),
        ({"orchestrator": ILL}, True),
        ({"audit": ILL}, True),
        ({"auth": ILL}, False),
        ({"auth": None}, False),
        ({"orchestrator": None}, False),
        ({"audit": None}, False),
        ({"witness": ILL}, True),
        ({"witness": None}, True),
    ],
)
async def test_an_edge_is_ready_when_keys_can_be_checked_and_every_service_that_is_needed_answers(
    changed: dict[str, Health | None], is_ready: bool
) -> None:
    services = Services({"auth": WELL, "orchestrator": WELL, "audit": WELL, "witness": WELL} | changed)

    assert await HealthCheck(services).is_ready() is is_ready  # type: ignore[arg-type]  # only what is asked of a bus


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        ({}, "healthy"),
        ({"witness": None}, "degraded"),
        ({"witness": ILL}, "degraded"),
        ({"auth": None}, "degraded"),
        ({"auth": None, "orchestrator": ILL, "audit": None}, "unhealthy"),
    ],
)
async def test_the_whole_is_as_its_services_are(changed: dict[str, Health | None], status: str) -> None:
    services = Services({"auth": WELL, "orchestrator": WELL, "audit": WELL, "witness": WELL} | changed)

    assert await HealthCheck(services).status() == status  # type: ignore[arg-type]  # only what is asked of a bus
