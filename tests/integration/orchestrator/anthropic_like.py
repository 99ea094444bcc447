"""A server that is as strict as Anthropic's Messages API of version 2023-06-01, and has its errors' shapes."""

import json
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

Answer = tuple[int, object]

KEY = "sk-ant-test"
FIELDS = {"model", "max_tokens", "messages", "system", "temperature", "stream", "stop_sequences", "metadata"}


class Refused(Exception):
    def __init__(self, status: int, kind: str, message: str) -> None:
        super().__init__(message)
        self.answer: Answer = (
            status,
            {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_1"},
        )


@dataclass
class AnthropicLike:
    """Knows `models`, tells at most `page_size` of them at once, and takes a temperature unless `thinks`."""

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
        _check_turns(wish["messages"])
        return {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": wish["model"],
            "content": [{"type": "text", "text": "Good "}, {"type": "text", "text": "day."}],
            "stop_reason": "end_turn",
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
        _invalid_unless(bool(turn["content"].strip()), "messages: text content blocks must be non-empty")


def _invalid_unless(holds: bool, message: str) -> None:
    _require(holds, 400, "invalid_request_error", message)


def _require(holds: bool, status: int, kind: str, message: str) -> None:
    if not holds:
        raise Refused(status, kind, message)
