"""Calls to one replica of a service: the way around another one that got a call and is silent.

A paused process stays in its queue group and gets every n-th call. Who hears nothing of a call asks which replicas are
there (ADR-32) and sends it to the first that says so; the silent one is told that nobody waits for it any more.
"""

from typing import Annotated

from nats.micro.service import ServiceVerb, control_subject
from pydantic import Field

from shared.bus.messages import Message, read
from shared.errors import PlatformError


class Present(Message):
    """What a replica answers to a PING, as far as it matters here: `id` is part of its subject."""

    id: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]
    name: str


def direct_subject(name: str, replica: str) -> str:
    """Where this replica alone hears the call of that name; `*` for any replica."""
    service, _, rest = name.partition(".")
    return f"{directly_to(service, replica)}{rest}"


def directly_to(service: str, replica: str) -> str:
    """What the subjects begin with on which this replica alone is called."""
    return f"peanut.direct.{service}.{replica}."


def who_is_there(service: str) -> str:
    """The question that each replica of a service answers with its name."""
    return control_subject(ServiceVerb.PING, service)


def replica_in(answer: bytes, service: str) -> str | None:
    """The replica of that service that gives this answer; None when it is no such answer."""
    try:
        present = read(Present, answer)
    except PlatformError:
        return None
    return present.id if present.name == service else None
