"""A server that is as strict as Ollama's own API is where that would misunderstand, and has its errors' shapes."""

import base64
import json
from dataclasses import dataclass, field
from typing import Any

Answer = tuple[int, object]

CHAT_FIELDS = {"model", "messages", "stream", "format", "tools", "options", "think"}
EMBED_FIELDS = {"model", "input", "dimensions"}
MESSAGE_FIELDS = {"role", "content", "images", "tool_calls", "tool_name", "tool_call_id"}
OPTIONS = {"temperature", "num_predict", "stop", "seed", "top_p", "top_k", "frequency_penalty", "presence_penalty"}


class Refused(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.answer: Answer = (status, {"error": message})


@dataclass
class OllamaLike:
    """Knows `models`. It calls the first tool that it is given, and says something once it has a result."""

    models: list[str] = field(default_factory=lambda: ["m"])

    def chat(self, body: bytes) -> tuple[Answer, list[object]]:
        """POST /api/chat: the answer, and the lines of a stream if one was asked for."""
        try:
            wish = json.loads(body)
            _check_chat(wish)
            _require(wish["model"] in self.models, 404, f"model '{wish['model']}' not found")
        except Refused as refused:
            return refused.answer, []
        end = {"done": True, "done_reason": "stop", "total_duration": 5, "prompt_eval_count": 9, "eval_count": 3}
        answered = any(message["role"] == "tool" for message in wish["messages"])
        if wish.get("tools") and not answered:
            called = {"function": {"name": wish["tools"][0]["function"]["name"], "arguments": {"city": "Ulm"}}}
            lines: list[object] = [self._line("", tool_calls=[called]), {**self._line(""), **end}]
            return (200, {**self._line("", tool_calls=[called]), **end}), lines if wish["stream"] else []
        said = '{"a": "b"}' if "format" in wish else "Good day."
        lines = [*(self._line(word) for word in said.partition(" ") if word), {**self._line(""), **end}]
        return (200, {**self._line(said), **end}), lines if wish["stream"] else []

    def embed(self, body: bytes) -> Answer:
        """POST /api/embed."""
        try:
            wish = json.loads(body)
            _require(wish.keys() <= EMBED_FIELDS, 400, "unknown field")
            _require(wish["model"] in self.models, 404, "model not found")
            _require(all(isinstance(input, str) for input in wish["input"]), 400, "invalid input type")
        except Refused as refused:
            return refused.answer
        vectors = [[float(len(text)), 0.5] for text in wish["input"]]
        return 200, {"model": wish["model"], "embeddings": vectors, "prompt_eval_count": 4}

    def _line(self, content: str, **message: object) -> dict[str, object]:
        told = {"role": "assistant", "content": content, **message}
        return {"model": "m", "created_at": "2026-01-01T00:00:00Z", "message": told, "done": False}


def _check_chat(wish: dict[str, Any]) -> None:
    _require(wish.keys() <= CHAT_FIELDS, 400, f"unknown fields {wish.keys() - CHAT_FIELDS}")
    _require(wish["options"].keys() <= OPTIONS, 400, f"invalid options {wish['options'].keys() - OPTIONS}")
    _require(type(wish["stream"]) is bool, 400, "stream is a boolean")
    _require(wish.get("format", "json") == "json" or isinstance(wish["format"], dict), 400, "invalid format")
    for tool in wish.get("tools", []):
        _require(tool.keys() == {"type", "function"}, 400, "no such tool")
        _require(tool["function"]["parameters"]["type"] == "object", 400, "no parameters")
    for message in wish["messages"]:
        _check_message(message)


def _check_message(message: dict[str, Any]) -> None:
    _require(message.keys() <= MESSAGE_FIELDS, 400, f"unknown fields {message.keys() - MESSAGE_FIELDS}")
    _require(message["role"] in ("system", "user", "assistant", "tool"), 400, "invalid role")
    _require(isinstance(message["content"], str), 400, "json: cannot unmarshal array into Go struct field")
    for image in message.get("images", []):
        base64.b64decode(image, validate=True)
    for call in message.get("tool_calls", []):
        _require(isinstance(call["function"]["arguments"], dict), 400, "json: cannot unmarshal string into object")
    _require(message["role"] != "tool" or "tool_name" in message, 400, "which tool?")


def _require(holds: bool, status: int, message: str) -> None:
    if not holds:
        raise Refused(status, message)
