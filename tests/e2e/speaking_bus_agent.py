"""`python -m tests.e2e.speaking_bus_agent NATS_URL AGENT_ID SEED_FILE`: a bus agent that speaks as SpeakingAgents do.

It fails when it is told to `fail`, refuses to `refuse`, and says nothing to `hang`.
"""

import asyncio
import json
import sys
from pathlib import Path

import nats
from nats.aio.msg import Msg

from tests.e2e.speaking_agents import embeddings, openai_chunks, openai_completion


async def main() -> None:
    url, id, seed_file = sys.argv[1:]
    bus = await nats.connect(url, nkeys_seed_str=Path(seed_file).read_text().strip(), max_reconnect_attempts=-1)

    async def say(to: str, body: object = None, **headers: object) -> None:
        named = {f"Peanut-{name.replace('_', '-')}": str(value) for name, value in headers.items()}
        await bus.publish(to, b"" if body is None else json.dumps(body).encode(), headers=named or None)

    async def chat(asked: Msg) -> None:
        wish = json.loads(asked.data)
        told = str(wish["messages"][-1]["content"])
        if told == "hang":
            return
        if told == "fail":
            await say(asked.reply, Error="out of peanuts")
        elif told == "refuse":
            await say(asked.reply, Error="not that", Error_Code="refused")
        elif wish.get("stream"):
            chunks = openai_chunks(wish)
            for number, chunk in enumerate(chunks, 1):
                await say(asked.reply, chunk, Seq=number)
            await say(asked.reply, Seq=len(chunks) + 1, End=1)
        else:
            await say(asked.reply, openai_completion(wish))

    async def embed(asked: Msg) -> None:
        await say(asked.reply, embeddings(json.loads(asked.data)))

    async def probe(asked: Msg) -> None:
        await say(asked.reply)

    for verb, answer in (("chat", chat), ("embeddings", embed), ("probe", probe)):
        await bus.subscribe(f"peanut.agent.{id}.{verb}", queue="agent", cb=answer)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
