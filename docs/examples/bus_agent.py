"""An agent that says things backwards: `AGENT_ID=… NATS_URL=… python bus_agent.py backwards.nk`, with nats-py."""

import asyncio
import json
import os
import sys
from pathlib import Path

import nats


async def main() -> None:
    """Connects with the seed in the file that is named, and answers for ever."""
    seed = Path(sys.argv[1]).read_text().strip()
    bus = await nats.connect(os.environ["NATS_URL"], nkeys_seed_str=seed, max_reconnect_attempts=-1)

    async def say(to: str, body: object = None, **headers: str) -> None:
        named = {f"Peanut-{name.replace('_', '-')}": value for name, value in headers.items()}
        await bus.publish(to, b"" if body is None else json.dumps(body).encode(), headers=named)

    async def chat(asked: nats.aio.msg.Msg) -> None:
        request = json.loads(asked.data)
        words = str(request["messages"][-1]["content"]).split()[::-1]
        if not words:
            await say(asked.reply, Error="there is nothing to say backwards", Error_Code="refused")
        elif request.get("stream"):
            for number, word in enumerate(words, 1):
                await say(asked.reply, {"choices": [{"delta": {"content": f"{word} "}}]}, Seq=str(number))
            await say(asked.reply, Seq=str(len(words) + 1), End="1")
        else:
            await say(asked.reply, {"choices": [{"message": {"content": " ".join(words)}}]})

    async def probe(asked: nats.aio.msg.Msg) -> None:
        await say(asked.reply)

    for answer in (chat, probe):
        await bus.subscribe(f"peanut.agent.{os.environ['AGENT_ID']}.{answer.__name__}", queue="agent", cb=answer)
    await asyncio.Event().wait()


asyncio.run(main())
