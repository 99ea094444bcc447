"""What PeanutAgent consists of on one machine, in the order in which it is started."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Service:
    """One deployable: `python -m <package>` runs it, `python -m <package>.prepare` makes its data ready before.

    `most`: how many replicas it can have. `is_needed`: whether a start fails when it does not run.
    """

    name: str
    package: str
    is_prepared: bool = True
    most: int = 16
    is_needed: bool = True


BUS = "nats"
SERVICES = (
    Service("witness", "witness", most=1, is_needed=False),
    Service("audit", "audit"),
    Service("auth", "auth"),
    Service("orchestrator", "orchestrator"),
    Service("edge", "edge", is_prepared=False),
)
"""Whoever is asked stands before whoever asks: stopping goes backwards, so calls in flight still find their answer."""

NAMES = (BUS, *(service.name for service in SERVICES))


def find(name: str) -> Service:
    """Raises `KeyError` when there is none of that name."""
    return {service.name: service for service in SERVICES}[name]
