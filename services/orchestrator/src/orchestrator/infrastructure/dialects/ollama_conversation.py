"""A conversation as Ollama's API takes it: texts, images beside them, and arguments as objects."""

from collections.abc import Sequence
from typing import Any

import orjson

from orchestrator.domain.chat import Message, text_of
from orchestrator.infrastructure.dialects.options import cannot
from orchestrator.infrastructure.dialects.parts import base64_image, image_url

_ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant", "tool": "tool"}


def conversation(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """The messages in their order."""
    called = _names_of_calls(messages)
    return [_message(message, called) for message in messages]


def _message(message: Message, called: dict[str, str]) -> dict[str, Any]:
    role, content = message["role"], message.get("content")
    if role not in _ROLES:
        raise cannot(f"ollama agents know no messages of the role {role}; use tools")
    told: dict[str, Any] = {"role": _ROLES[role], "content": content if isinstance(content, str) else text_of(content)}
    if isinstance(content, list):
        images = [_image(part) for part in content if part["type"] not in ("text", "refusal")]
        if images:
            told["images"] = images
    if message.get("tool_calls"):
        told["tool_calls"] = [_call(call) for call in message["tool_calls"]]
    if role == "tool":
        told["tool_call_id"] = message["tool_call_id"]
        name = message.get("name") or called.get(message["tool_call_id"])
        if name is not None:
            told["tool_name"] = name
    return told


def _image(part: Any) -> str:
    if part["type"] != "image_url":
        raise cannot(f"ollama agents take texts and images; leave out what is of type {part['type']!r:.40}")
    image = base64_image(image_url(part))
    if image is None:
        raise cannot("ollama agents take images by a base64 data: URL only; give such a one")
    return image[1]


def _call(call: Any) -> dict[str, Any]:
    function = call["function"]
    arguments = orjson.loads(function["arguments"] or "{}")
    if not isinstance(arguments, dict):
        raise TypeError("arguments are an object")
    return {"id": call["id"], "function": {"name": function["name"], "arguments": arguments}}


def _names_of_calls(messages: Sequence[Message]) -> dict[str, str]:
    """The function that each call is of."""
    calls = [call for message in messages for call in message.get("tool_calls") or ()]
    return {call["id"]: call["function"]["name"] for call in calls}
