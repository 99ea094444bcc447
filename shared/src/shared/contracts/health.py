"""How each service says whether it can do its work."""

from shared.bus import Contract, Kind, Message, Nothing


class Health(Message):
    """The state of one replica. `message` says in words what it lacks."""

    healthy: bool
    message: str = ""


def health_contract(service: str) -> Contract[Nothing, Health]:
    """The health call of a service."""
    return Contract(f"{service}.health.check", Nothing, Health, Kind.READ)
