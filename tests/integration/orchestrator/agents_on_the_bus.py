"""Bus agents as an outsider writes them: with nats-py and what docs/bus-agents.md says, and nothing of ours."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from nats.aio.client import Client
from nats.aio.msg import Msg

from shared.bus.responder import settle
from tests.integration.bus import Nats

Answer = Callable[["OnTheBus", Msg], Awaitable[None]]

COMPLETION = {
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Good day."}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12},
}


@dataclass
class OnTheBus:
    """One process of a bus agent."""

    client: Client
    asked: list[Msg] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)

    @property
    def requests(self) -> list[Any]:
        return [json.loads(message.data) for message in self.asked]

    async def say(self, to: str, body: object = None, **headers: object) -> None:
        """`Error_Code="refused"` becomes the header `Peanut-Error-Code: refused`; bytes are sent as they are."""
        named = {f"Peanut-{name.replace('_', '-')}": str(value) for name, value in headers.items()}
        content = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        await self.client.publish(to, content, headers=named or None)

    async def stream(self, to: str, *chunks: object) -> None:
        """Numbered chunks and the end."""
        for number, chunk in enumerate(chunks, 1):
            await self.say(to, chunk, Seq=number)
        await self.say(to, Seq=len(chunks) + 1, End=1)


def word(text: str, **choice: object) -> dict[str, object]:
    """A chunk that says this."""
    return {"choices": [{"index": 0, "delta": {"content": text}, **choice}]}


async def answers(agent: OnTheBus, message: Msg) -> None:
    await agent.say(message.reply, COMPLETION)


async def hangs(_agent: OnTheBus, _message: Msg) -> None: ...


@asynccontextmanager
async def on_the_bus(
    nats: Nats, id: str, chat: Answer = answers, *, embeddings: Answer | None = None, probe: Answer = answers
) -> AsyncIterator[OnTheBus]:
    """A process of the agent, connected with its own key."""
    client = Client()
    agent = OnTheBus(client)

    async def refuse(error: Exception) -> None:
        agent.refused.append(str(error))

    async def ask(message: Msg) -> None:
        agent.asked.append(message)
        await (chat if message.subject.endswith(".chat") else embeddings or hangs)(agent, message)

    async def look(message: Msg) -> None:
        await probe(agent, message)

    async def cancel(message: Msg) -> None:
        agent.cancelled.append(message.data.decode())

    await client.connect(nats.url, nkeys_seed_str=nats.seed(id), error_cb=refuse, allow_reconnect=False)
    try:
        await client.subscribe(f"peanut.agent.{id}.chat", queue="agent", cb=ask)
        await client.subscribe(f"peanut.agent.{id}.probe", queue="agent", cb=look)
        await client.subscribe(f"peanut.agent.{id}.cancel", cb=cancel)
        if embeddings is not None:
            await client.subscribe(f"peanut.agent.{id}.embeddings", queue="agent", cb=ask)
        await settle(client)
        yield agent
    finally:
        await client.close()
