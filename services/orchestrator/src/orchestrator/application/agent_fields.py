"""Fields of agents: what can be kept of them, and what the audit log has of it."""

from typing import Any

import orjson
from pydantic.alias_generators import to_camel

from orchestrator.domain.agent import Agent
from shared.contracts.audit import Details
from shared.errors import FieldError, InvalidFields

MAX_METADATA_BYTES = 16 * 1024

_GIVEN = (
    *("name", "type", "endpoint", "model", "max_tokens", "temperature", "priority", "weight", "max_concurrency"),
    *("tags", "metadata"),
)


def require_storable(metadata: dict[str, Any]) -> None:
    """Refuses what cannot be told again: numbers that JSON readers do not share, and more than a list could carry."""
    try:
        fits = len(orjson.dumps(metadata)) <= MAX_METADATA_BYTES and not _has_endless_number(metadata)
    except TypeError:  # orjson: an integer of more than 64 bits
        fits = False
    if not fits:
        message = f"at most {MAX_METADATA_BYTES} bytes of JSON, with numbers of at most 64 bits"
        raise InvalidFields("The metadata cannot be kept.", errors=(FieldError("metadata", message),))


def values_of(agent: Agent) -> dict[str, Any]:
    """All fields that were given when the agent was registered, by their names here."""
    values = {name: getattr(agent, name) for name in _GIVEN}
    return values if agent.sealed_key is None else {**values, "sealed_key": agent.sealed_key}


def described(fields: dict[str, Any]) -> Details:
    """The fields as the audit log may have them: never a key, nothing of unknown size, and no floats."""
    values = {to_camel(name): value for name, value in fields.items() if name not in ("sealed_key", "metadata")}
    if "temperature" in values:
        values["temperature"] = str(values["temperature"])
    if "tags" in values:
        values["tags"] = list(values["tags"])
    changed = sorted("apiKey" if name == "sealed_key" else to_camel(name) for name in fields)
    return {"fields": changed, "values": values}


def _has_endless_number(value: object) -> bool:
    if isinstance(value, dict):
        return any(map(_has_endless_number, value.values()))
    if isinstance(value, list):
        return any(map(_has_endless_number, value))
    return value in (float("inf"), float("-inf"))
