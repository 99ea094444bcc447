"""Options: what a chat asks for beyond an answer, as servers are told that do not speak OpenAI's API."""

from collections.abc import Iterator, Mapping
from typing import Any

from orchestrator.application.upstreams import UpstreamRefusal
from orchestrator.domain.agent import Agent
from orchestrator.domain.chat import LIMITS, Chat

NOT_OPENAIS = "the request is not one that OpenAI's API has"

HINTS = frozenset(
    {
        "metadata",
        "prediction",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
        "safety_identifier",
        "service_tier",
        "store",
        "user",
        "verbosity",
    }
)
"""What may help, or is for OpenAI's own books: an answer is as good without."""


def temperature(agent: Agent, chat: Chat) -> float:
    """How much chance there is in the answer: as asked for, or the agent's."""
    asked = chat.options.get("temperature")
    return agent.temperature if asked is None else asked


def wishes(chat: Chat, hints: frozenset[str] = HINTS) -> Iterator[tuple[str, Any]]:
    """The options but those that are not set, that are only hints, or that every dialect has its own way for."""
    for name, value in chat.options.items():
        if value is not None and name not in hints and name not in LIMITS and name != "temperature":
            yield name, value


def require_off(name: str, value: object, type: str) -> None:
    """Raises UpstreamRefusal unless an option that a type of agents does not know asks for nothing."""
    if value and value != ["text"]:  # the modality that all of them have
        raise cannot(f"{type} agents know no {name}; leave it out")


def cannot(words: str) -> UpstreamRefusal:
    """What a server of some kind cannot be asked for."""
    return UpstreamRefusal(words, is_free=True, is_callers=True)


def stops(value: object) -> list[str]:
    """What ends the answer: one text or several."""
    if isinstance(value, str):
        return [value]
    if not isinstance(value, list):
        raise TypeError("neither a text nor a list of them")
    return value


def schema_of(response_format: Any) -> Mapping[str, Any] | None:
    """The schema that an answer in JSON has to fit; None where any object will do."""
    kind = response_format["type"]
    if kind == "json_object":
        return None
    if kind == "json_schema":
        schema: Mapping[str, Any] = response_format["json_schema"]["schema"]
        return schema
    raise cannot(f"there is no response_format of type {kind!r:.40} for it; use json_schema or json_object")


def function_of(tool: Any, type: str) -> Mapping[str, Any]:
    """The function that a tool is."""
    if tool["type"] != "function":
        raise cannot(f"{type} agents know tools of type function only; leave the others out")
    function: Mapping[str, Any] = tool["function"]
    return function
