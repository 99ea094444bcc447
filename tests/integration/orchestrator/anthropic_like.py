"""A server that is as strict as Anthropic's Messages API of version 2023-06-01, and has its errors' shapes."""

import base64
import json
import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

Answer = tuple[int, object]

KEY = "sk-ant-test"
FIELDS = {"model", "max_tokens", "messages", "system", "temperature", "top_p", "top_k", "stream", "stop_sequences"}
FIELDS |= {"metadata", "tools", "tool_choice", "output_config"}


class Refused(Exception):
    def __init__(self, status: int, kind: str, message: str) -> None:
        super().__init__(message)
        self.answer: Answer = (
            status,
            {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_1"},
        )


@dataclass
class AnthropicLike:
    """Knows `models`, tells at most `page_size` of them at once, and takes a temperature unless `thinks`.

    It calls each tool that it is given, and says something once it has the results.
    """

    models: list[str] = field(default_factory=lambda: ["m"])
    page_size: int = 1000
    thinks: bool = False

    def message(self, path: str, headers: dict[str, str], body: bytes) -> Answer:
        """POST /v1/messages."""
        try:
            _check_headers(headers)
            _require(path == "/v1/messages", 404, "not_found_error", "Not Found")
            _invalid_unless(headers.get("content-type") == "application/json", "content-type: must be JSON")
            return 200, self._answer(json.loads(body))
        except Refused as refused:
            return refused.answer

    def events(self, path: str, headers: dict[str, str], body: bytes) -> tuple[Answer, list[dict[str, Any]]]:
        """The same; and the events of a stream, if one is asked for and nothing is wrong with the request."""
        status, answer = self.message(path, headers, body)
        if status != 200 or not json.loads(body).get("stream"):
            return (status, answer), []
        assert isinstance(answer, dict)
        return (status, answer), _events(answer)

    def list_models(self, path: str, headers: dict[str, str]) -> Answer:
        """GET /v1/models?limit=…&after_id=…, paginated."""
        try:
            _check_headers(headers)
            query = {name: values[0] for name, values in parse_qs(urlsplit(path).query).items()}
            _invalid_unless(query.keys() <= {"limit", "after_id"}, "query: Extra inputs are not permitted")
            limit = int(query.get("limit", "20"))
            _invalid_unless(1 <= limit <= 1000, "limit: Input should be between 1 and 1000")
            begin = self.models.index(query["after_id"]) + 1 if "after_id" in query else 0
            page = self.models[begin : begin + min(limit, self.page_size)]
            return 200, {
                "data": [{"type": "model", "id": id, "display_name": id, "created_at": "2026-01-01"} for id in page],
                "first_id": page[0] if page else None,
                "last_id": page[-1] if page else None,
                "has_more": begin + len(page) < len(self.models),
            }
        except Refused as refused:
            return refused.answer

    def _answer(self, wish: dict[str, Any]) -> object:
        for name in wish.keys() - FIELDS:
            raise Refused(400, "invalid_request_error", f"{name}: Extra inputs are not permitted")
        _require(wish["model"] in self.models, 404, "not_found_error", f"model: {wish['model']}")
        _invalid_unless(type(wish["max_tokens"]) is int and wish["max_tokens"] >= 1, "max_tokens: Input should be ≥ 1")
        if "temperature" in wish:
            _invalid_unless(not self.thinks, "`temperature` is deprecated for this model.")
            _invalid_unless(0 <= wish["temperature"] <= 1, "temperature: range: 0..1")
        if "system" in wish:
            _invalid_unless(bool(wish["system"].strip()), "system: text content blocks must be non-empty")
        if "top_p" in wish:
            _invalid_unless("temperature" not in wish, "`temperature` and `top_p` cannot both be specified")
        if "output_config" in wish:
            _invalid_unless(wish["output_config"]["format"]["type"] == "json_schema", "output_config.format")
            _invalid_unless(isinstance(wish["output_config"]["format"]["schema"], dict), "output_config.format.schema")
        _check_tools(wish)
        _check_turns(wish["messages"])
        content: list[dict[str, Any]] = [{"type": "text", "text": "Good "}, {"type": "text", "text": "day."}]
        if wish.get("tools") and not _has_results(wish["messages"][-1]):
            content[1:] = [
                {"type": "tool_use", "id": f"toolu_{number}", "name": tool["name"], "input": {"city": "Ulm"}}
                for number, tool in enumerate(wish["tools"])
            ]
        return {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": wish["model"],
            "content": content,
            "stop_reason": "tool_use" if content[-1]["type"] == "tool_use" else "end_turn",
            "stop_sequence": None,
            "usage": {
                "input_tokens": 2,
                "cache_creation_input_tokens": 3,
                "cache_read_input_tokens": 4,
                "output_tokens": 3,
                "service_tier": "standard",
            },
        }


def _check_headers(headers: dict[str, str]) -> None:
    _require(headers.get("x-api-key") == KEY, 401, "authentication_error", "invalid x-api-key")
    _require("authorization" not in headers, 401, "authentication_error", "Invalid bearer token")
    _invalid_unless("anthropic-version" in headers, "anthropic-version: header is required")
    _invalid_unless(headers["anthropic-version"] == "2023-06-01", "anthropic-version: is not a valid version")


def _check_turns(turns: list[dict[str, Any]]) -> None:
    _invalid_unless(bool(turns), "messages: at least one message is required")
    _invalid_unless(turns[0]["role"] == "user", 'messages: first message must use the "user" role')
    for turn, after in zip(turns, [*turns[1:], None], strict=True):
        _invalid_unless(turn.keys() == {"role", "content"}, "messages: Extra inputs are not permitted")
        _invalid_unless(turn["role"] in ("user", "assistant"), 'messages: Unexpected role "system"')
        _invalid_unless(after is None or after["role"] != turn["role"], "messages: roles must alternate")
        if isinstance(turn["content"], str):
            _invalid_unless(bool(turn["content"].strip()), "messages: text content blocks must be non-empty")
        else:
            _check_blocks(turn)
    _check_results(turns)


def _check_blocks(turn: dict[str, Any]) -> None:
    fields = {
        "text": {"type", "text"},
        "image": {"type", "source"},
        "tool_use": {"type", "id", "name", "input"},
        "tool_result": {"type", "tool_use_id", "content"},
    }
    _invalid_unless(bool(turn["content"]), "messages: content must not be empty")
    for block in turn["content"]:
        _invalid_unless(block.keys() == fields.get(block["type"], set()), "messages: Extra inputs are not permitted")
        if block["type"] == "text":
            _invalid_unless(bool(block["text"].strip()), "messages: text content blocks must be non-empty")
        if block["type"] == "image" and block["source"]["type"] == "base64":
            _invalid_unless(block["source"].keys() == {"type", "media_type", "data"}, "source: Field required")
            base64.b64decode(block["source"]["data"], validate=True)
        if block["type"] == "tool_use":
            _invalid_unless(turn["role"] == "assistant", "messages: tool_use blocks are the assistant's")
            _invalid_unless(isinstance(block["input"], dict), "tool_use.input: Input should be an object")
            _invalid_unless(bool(re.fullmatch("[a-zA-Z0-9_-]+", block["id"])), "tool_use.id: should match pattern")


def _check_results(turns: list[dict[str, Any]]) -> None:
    """Results of tools stand first in the turn after their calls, one for each of them."""
    for turn, before in zip(turns, [None, *turns], strict=False):
        blocks = turn["content"] if isinstance(turn["content"], list) else []
        results = [block["tool_use_id"] for block in blocks if block["type"] == "tool_result"]
        called = before["content"] if before and isinstance(before["content"], list) else []
        uses = [block["id"] for block in called if block["type"] == "tool_use"]
        _invalid_unless(sorted(results) == sorted(uses), "tool_use ids were found without tool_result blocks")
        first = [block["type"] for block in blocks[: len(results)]]
        _invalid_unless(set(first) <= {"tool_result"}, "tool_result blocks must come first")


def _check_tools(wish: dict[str, Any]) -> None:
    for tool in wish.get("tools", []):
        _invalid_unless(tool.keys() <= {"name", "description", "input_schema", "strict"}, "tools: Extra inputs")
        _invalid_unless(tool["input_schema"]["type"] == "object", "tools.input_schema.type: Field required")
    if "tool_choice" in wish:
        _invalid_unless("tools" in wish, "tool_choice may only be specified while providing tools")
        _invalid_unless(wish["tool_choice"]["type"] in ("auto", "any", "tool", "none"), "tool_choice: unknown")


def _has_results(turn: dict[str, Any]) -> bool:
    return isinstance(turn["content"], list) and turn["content"][0]["type"] == "tool_result"


def _events(answer: dict[str, Any]) -> list[dict[str, Any]]:
    usage = {**answer["usage"], "output_tokens": 1}
    events: list[dict[str, Any]] = [
        {"type": "message_start", "message": {**answer, "content": [], "stop_reason": None, "usage": usage}},
        {"type": "ping"},
    ]
    for index, block in enumerate(answer["content"]):
        begin: dict[str, Any]
        if block["type"] == "text":
            begin, deltas = {"type": "text", "text": ""}, [{"type": "text_delta", "text": block["text"]}]
        else:
            begin, whole = {**block, "input": {}}, json.dumps(block["input"])
            deltas = [{"type": "input_json_delta", "partial_json": part} for part in ("", whole[:5], whole[5:])]
        events.append({"type": "content_block_start", "index": index, "content_block": begin})
        events += [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
        events.append({"type": "content_block_stop", "index": index})
    end = {"stop_reason": answer["stop_reason"], "stop_sequence": None}
    tokens = {"output_tokens": answer["usage"]["output_tokens"]}
    return [*events, {"type": "message_delta", "delta": end, "usage": tokens}, {"type": "message_stop"}]


def _invalid_unless(holds: bool, message: str) -> None:
    _require(holds, 400, "invalid_request_error", message)


def _require(holds: bool, status: int, kind: str, message: str) -> None:
    if not holds:
        raise Refused(status, kind, message)
