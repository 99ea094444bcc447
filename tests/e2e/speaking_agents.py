"""A server that speaks as agents of each type do, and says the last message again; whole, streamed, and by tools."""

import asyncio
import base64
import json
import re
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

ENDPOINTS = {"openai": "/v1", "custom": "/own/base", "ollama": "", "anthropic": ""}
MODELS: dict[str, object] = {
    "/v1/models": {"object": "list", "data": [{"id": "openai-model", "object": "model"}]},
    "/own/base/models": {"object": "list", "data": [{"id": "custom-model", "object": "model"}]},
    "/api/tags": {"models": [{"name": "ollama-model"}]},
    "/v1/models?limit=1000": {"data": [{"type": "model", "id": "anthropic-model"}], "has_more": False},
}
VECTOR = [0.5, -0.25, 1.0]
ARGUMENTS = {"city": "Porto"}
CALL = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": json.dumps(ARGUMENTS)}}
USAGE = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}


@dataclass
class SpeakingAgents:
    """The server; `requests` are the bodies it was asked with."""

    port: int
    requests: list[dict[str, Any]] = field(default_factory=list)

    def endpoint(self, type: str) -> str:
        return f"http://127.0.0.1:{self.port}{ENDPOINTS[type]}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                length = re.search(r"content-length: (\d+)", head, re.IGNORECASE)
                body = await reader.readexactly(int(length[1]) if length else 0)
                writer.write(self._answer(head.split()[1], json.loads(body) if body else {}))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    def _answer(self, path: str, wish: dict[str, Any]) -> bytes:
        if path in MODELS:
            return _whole(MODELS[path])
        self.requests.append(wish)
        if path.endswith("/chat/completions"):
            return _openai(wish)
        if path.endswith(("/embeddings", "/api/embed")):
            return _whole(embeddings(wish))
        return _ollama(wish) if path == "/api/chat" else _anthropic(wish)


@asynccontextmanager
async def speaking_agents(port: int) -> AsyncIterator[SpeakingAgents]:
    """One that listens there."""
    agents = SpeakingAgents(port)
    server = await asyncio.start_server(agents.serve, "127.0.0.1", port)
    try:
        yield agents
    finally:
        server.close()


def _openai(wish: dict[str, Any]) -> bytes:
    if not wish.get("stream"):
        return _whole(openai_completion(wish))
    lines = [json.dumps(chunk) for chunk in openai_chunks(wish)]
    return _streamed("text/event-stream", [f"data: {line}\n\n" for line in [*lines, "[DONE]"]])


def openai_completion(wish: dict[str, Any]) -> dict[str, Any]:
    """The whole answer as OpenAI has it."""
    message: dict[str, Any] = {"role": "assistant", "content": _said(wish, wish.get("stop"))}
    if _calls(wish):
        message |= {"content": None, "tool_calls": [CALL]}
    reason = "tool_calls" if _calls(wish) else "stop"
    choices = [{"index": each, "message": message, "finish_reason": reason} for each in range(wish.get("n", 1))]
    return {**_fixed(wish), "object": "chat.completion", "choices": choices, "usage": USAGE}


def openai_chunks(wish: dict[str, Any]) -> list[dict[str, Any]]:
    """The same word by word."""
    deltas: list[dict[str, Any]] = [{"content": word} for word in _words(_said(wish, wish.get("stop")))]
    if _calls(wish):
        deltas = [{"tool_calls": [{"index": 0, **CALL}]}]
    reason = "tool_calls" if _calls(wish) else "stop"
    steps = [({"role": "assistant"}, None), *((delta, None) for delta in deltas), ({}, reason)]
    chunks: list[dict[str, Any]] = [
        {"choices": [{"index": 0, "delta": delta, "finish_reason": end}]} for delta, end in steps
    ]
    chunks += [{"choices": [], "usage": USAGE}] if wish.get("stream_options") else []
    return [{**_fixed(wish), "object": "chat.completion.chunk", **chunk} for chunk in chunks]


def _fixed(wish: dict[str, Any]) -> dict[str, Any]:
    return {"id": "chatcmpl-1", "created": 1, "model": wish["model"]}


def _ollama(wish: dict[str, Any]) -> bytes:
    said = _said(wish, wish["options"].get("stop"))
    calls = {"tool_calls": [{"function": {"name": "weather", "arguments": ARGUMENTS}}]}
    end = {"done": True, "done_reason": "stop", "prompt_eval_count": 5, "eval_count": 2}
    message: dict[str, Any] = {"role": "assistant", "content": said}
    if _calls(wish):
        message = {"role": "assistant", "content": "", **calls}
    if not wish["stream"]:
        return _whole({"model": wish["model"], "message": message, **end})
    steps: list[dict[str, Any]] = (
        [message] if _calls(wish) else [{"role": "assistant", "content": word} for word in _words(said)]
    )
    lines: list[dict[str, Any]] = [{"message": step, "done": False} for step in steps]
    lines.append({"message": {"role": "assistant", "content": ""}, **end})
    return _streamed("application/x-ndjson", [json.dumps(line) + "\n" for line in lines])


def _anthropic(wish: dict[str, Any]) -> bytes:
    said = _said(wish, wish.get("stop_sequences"))
    call = {"type": "tool_use", "id": "toolu_1", "name": "weather"}
    reason = "tool_use" if _calls(wish) else "end_turn"
    fixed = {"id": "msg_1", "type": "message", "role": "assistant", "model": wish["model"]}
    if not wish.get("stream"):
        content = [{**call, "input": ARGUMENTS}] if _calls(wish) else [{"type": "text", "text": said}]
        usage = {"input_tokens": 5, "output_tokens": 2}
        return _whole({**fixed, "content": content, "stop_reason": reason, "usage": usage})
    block: dict[str, Any] = {**call, "input": {}} if _calls(wish) else {"type": "text", "text": ""}
    deltas = [{"type": "text_delta", "text": word} for word in _words(said)]
    if _calls(wish):
        deltas = [{"type": "input_json_delta", "partial_json": json.dumps(ARGUMENTS)}]
    events: list[dict[str, Any]] = [
        {
            "type": "message_start",
            "message": {**fixed, "content": [], "usage": {"input_tokens": 5, "output_tokens": 1}},
        },
        {"type": "content_block_start", "index": 0, "content_block": block},
        *({"type": "content_block_delta", "index": 0, "delta": delta} for delta in deltas),
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": reason}, "usage": {"output_tokens": 2}},
        {"type": "message_stop"},
    ]
    return _streamed("text/event-stream", [f"event: {each['type']}\ndata: {json.dumps(each)}\n\n" for each in events])


def embeddings(wish: dict[str, Any]) -> object:
    """A vector for each input, as OpenAI and as Ollama have them."""
    inputs = wish["input"] if isinstance(wish["input"], list) else [wish["input"]]
    vector: object = VECTOR
    if wish.get("encoding_format") == "base64":
        vector = base64.b64encode(struct.pack("<3f", *VECTOR)).decode()
    return {
        "object": "list",
        "model": wish["model"],
        "data": [{"object": "embedding", "index": index, "embedding": vector} for index, _ in enumerate(inputs)],
        "usage": {"prompt_tokens": 5, "total_tokens": 5},
        "embeddings": [VECTOR for _ in inputs],
        "prompt_eval_count": 5,
    }


def _calls(wish: dict[str, Any]) -> bool:
    """Whether it has a tool to call, and has not heard yet what came of it."""
    return bool(wish.get("tools")) and "Result" not in str(_last(wish))


def _last(wish: dict[str, Any]) -> Any:
    content = wish["messages"][-1]["content"]
    if isinstance(content, list):
        part = content[-1]
        content = part.get("text", part.get("content"))
    if isinstance(content, list):
        content = content[-1]["text"]
    return content


def _said(wish: dict[str, Any], stop: Any) -> str:
    said = str(_last(wish))
    for end in [stop] if isinstance(stop, str) else stop or ():
        said = said.partition(end)[0]
    return said


def _words(text: str) -> list[str]:
    return re.findall(r"\s*\S+", text)


def _whole(answer: object) -> bytes:
    body = json.dumps(answer).encode()
    return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)


def _streamed(content_type: str, pieces: list[str]) -> bytes:
    head = f"HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\ntransfer-encoding: chunked\r\n\r\n".encode()
    chunks = [b"%x\r\n%b\r\n" % (len(piece.encode()), piece.encode()) for piece in pieces]
    return b"".join([head, *chunks, b"0\r\n\r\n"])
