"""A conversation as Anthropic's Messages API takes it: instructions apart, turns of user and assistant, blocks."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from orchestrator.domain.chat import Message, text_of
from orchestrator.infrastructure.dialects.options import cannot
from orchestrator.infrastructure.dialects.parts import base64_image, image_url, text

OPENING = "(The assistant begins.)"
"""What stands for the user's turn where there is none: the first one has to be the user's."""

Turn = dict[str, Any]

_ODD_IN_ID = re.compile(r"[^A-Za-z0-9_-]")


def conversation(messages: Sequence[Message]) -> tuple[list[str], list[Turn]]:
    """The instructions, and the turns: user and assistant in turns, the user first.

    Blank turns, which are refused there, are left out, but the last.
    """
    system: list[str] = []
    turns: list[Turn] = []
    for message in messages:
        if message["role"] in ("system", "developer"):
            instruction = text_of(message["content"])
            if instruction.strip():
                system.append(instruction)
            continue
        role, content = _turn(message)
        if message is not messages[-1] and not (content if isinstance(content, list) else content.strip()):
            continue
        if not turns and role == "assistant":
            turns.append({"role": "user", "content": OPENING})
        if turns and turns[-1]["role"] == role:
            turns[-1]["content"] = _joined(turns[-1]["content"], content)
        else:
            turns.append({"role": role, "content": content})
    return system, turns


def _turn(message: Message) -> tuple[str, str | list[Turn]]:
    role, content = message["role"], message.get("content")
    if role == "tool":
        result = {"type": "tool_result", "tool_use_id": _id(message["tool_call_id"]), "content": _content(content)}
        return "user", [result]
    if role == "user":
        return "user", _content(content)
    if role != "assistant":
        raise cannot(f"anthropic agents know no messages of the role {role}; use tools")
    calls = message.get("tool_calls")
    if not calls:
        return "assistant", _said(message)
    said = _said(message)
    blocks = [{"type": "text", "text": said}] if said.strip() else []
    return "assistant", [*blocks, *(_tool_use(call) for call in calls)]


def _said(message: Message) -> str:
    return text_of(message.get("content")) or text_of(message.get("refusal"))


def _joined(content: str | list[Turn], more: str | list[Turn]) -> str | list[Turn]:
    if isinstance(content, str) and isinstance(more, str):
        return f"{content}\n\n{more}"
    return [*_blocks(content), *_blocks(more)]


def _blocks(content: str | list[Turn]) -> list[Turn]:
    if isinstance(content, list):
        return content
    return [{"type": "text", "text": content}] if content.strip() else []


def _content(content: object) -> str | list[Turn]:
    """A text as it is; parts as blocks, blank texts, which are refused there, left out."""
    if content is None or isinstance(content, str):
        return content or ""
    if not isinstance(content, list):
        raise TypeError("neither a text nor parts")
    if all(part["type"] == "text" for part in content):
        return "\n".join([text(part["text"]) for part in content])
    return [_block(part) for part in content if part["type"] != "text" or part["text"].strip()]


def _block(part: Mapping[str, Any]) -> Turn:
    match part["type"]:
        case "text":
            return {"type": "text", "text": text(part["text"])}
        case "image_url":
            return {"type": "image", "source": _source(image_url(part))}
        case kind:
            raise cannot(f"anthropic agents take texts and images; leave out what is of type {kind!r:.40}")


def _source(url: str) -> Turn:
    image = base64_image(url)
    if image is not None:
        return {"type": "base64", "media_type": image[0], "data": image[1]}
    if url.startswith("https://"):
        return {"type": "url", "url": url}
    raise cannot("anthropic agents take images by an https or a base64 data: URL; give such a one")


def _tool_use(call: Any) -> Turn:
    function = call["function"]
    arguments = orjson.loads(function["arguments"] or "{}")
    if not isinstance(arguments, dict):
        raise TypeError("arguments are an object")
    return {"type": "tool_use", "id": _id(call["id"]), "name": function["name"], "input": arguments}


def _id(id: str) -> str:
    """An id of a call with nothing in it that is refused there; other servers have dots and colons in theirs."""
    return _ODD_IN_ID.sub("_", id)
