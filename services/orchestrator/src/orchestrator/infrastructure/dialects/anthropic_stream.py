"""Streams of Anthropic's Messages API (platform.claude.com/docs/en/build-with-claude/streaming)."""

from collections.abc import Sequence
from typing import Any

import orjson

from orchestrator.application.upstreams import UpstreamFailure
from orchestrator.domain.chat import Delta
from orchestrator.infrastructure.dialects.parts import count, text
from orchestrator.infrastructure.dialects.reading import NOT_OVER

PROMPT_TOKENS = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
STOP_REASONS = {
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}
"""Why answers end; all other reasons are `stop`."""


class Events:
    """What events mean. Blocks are a text, a call of a tool, or what says nothing here, such as thoughts."""

    def __init__(self) -> None:
        self.is_over = False
        self._has_ended = False
        self._tokens: dict[str, int] = {}
        self._calls: dict[int, _Call] = {}

    def steps(self, data: bytes) -> Sequence[Delta]:
        """The steps of an event; raises UpstreamFailure for an error in its place."""
        event = orjson.loads(data)
        match event["type"]:
            case "message_start":
                self._count(event["message"].get("usage"))
                return [Delta(0, {"role": "assistant", "content": ""})]
            case "content_block_start":
                return self._begun(event["index"], event["content_block"])
            case "content_block_delta":
                return self._added(event["index"], event["delta"])
            case "content_block_stop":
                return self._stopped(event["index"])
            case "message_delta":
                return self._ended(event)
            case "message_stop":
                self.is_over = True
            case "error":
                raise UpstreamFailure("it broke off its answer with an error")
        return []  # a ping, or what was not thought of yet, which clients are told to leave aside

    def usage(self) -> tuple[int, int]:
        """The tokens. Those that were written to or read from the cache are the prompt's too."""
        if not self._has_ended:
            raise UpstreamFailure(NOT_OVER)
        return count(sum(self._tokens.get(name, 0) for name in PROMPT_TOKENS)), self._tokens.get("output_tokens", 0)

    def _begun(self, index: int, block: Any) -> Sequence[Delta]:
        if block["type"] == "text":
            return [Delta(0, {"content": text(block["text"])})] if block.get("text") else []
        if block["type"] != "tool_use":
            return []
        self._calls[index] = call = _Call(len(self._calls))
        function = {"name": text(block["name"]), "arguments": ""}
        if block.get("input"):
            function["arguments"] = orjson.dumps(block["input"]).decode()
            call.has_arguments = True
        begin = {"index": call.number, "id": text(block["id"]), "type": "function", "function": function}
        return [Delta(0, {"tool_calls": [begin]})]

    def _added(self, index: int, delta: Any) -> Sequence[Delta]:
        if delta["type"] == "text_delta":
            return [Delta(0, {"content": text(delta["text"])})]
        if delta["type"] == "input_json_delta" and index in self._calls and delta["partial_json"]:
            return [self._calls[index].arguments(text(delta["partial_json"]))]
        return []

    def _stopped(self, index: int) -> Sequence[Delta]:
        call = self._calls.get(index)
        return [call.arguments("{}")] if call is not None and not call.has_arguments else []

    def _ended(self, event: Any) -> Sequence[Delta]:
        self._count(event.get("usage"))
        reason = event["delta"].get("stop_reason")
        if reason is None or self._has_ended:
            return []
        self._has_ended = True
        return [Delta(0, {}, STOP_REASONS.get(reason, "stop"))]

    def _count(self, usage: Any) -> None:
        """Takes what is told of the tokens; each number is the sum until then."""
        for name in (*PROMPT_TOKENS, "output_tokens"):
            if usage and usage.get(name) is not None:
                self._tokens[name] = count(usage[name])


class _Call:
    """A call of a tool whose arguments arrive."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.has_arguments = False

    def arguments(self, more: str) -> Delta:
        self.has_arguments = True
        return Delta(0, {"tool_calls": [{"index": self.number, "function": {"arguments": more}}]})
