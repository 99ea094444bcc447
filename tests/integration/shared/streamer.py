"""`python -m tests.integration.shared.streamer URL NKEY INSTANCE`: a replica of orchestrator to be killed or paused.

It streams a piece each 10 ms, or none if a request's body is `silent`, until its reader leaves; it says its name first.
A dispatch sleeps for as many seconds as its text says, and answers with its name.
"""

import asyncio
import sys
from pathlib import Path

from shared.bus import CallContext, Outlet, connect
from shared.logging import configure_logging
from shared.process import Stop, run
from tests.integration.shared.calls import DISPATCH, STREAM, Text


async def main(stop: Stop) -> None:
    url, nkey, instance = sys.argv[1:]
    configure_logging("orchestrator", instance, "info")

    async def tick(body: bytes, _context: CallContext, outlet: Outlet) -> bytes:
        print("working", flush=True)
        await outlet.write(instance.encode())
        while True:
            await asyncio.sleep(0.01)
            if body != b"silent":
                await outlet.write(b".")

    async def sleep(request: Text, _context: CallContext) -> Text:
        print("working", flush=True)
        try:
            await asyncio.sleep(float(request.text))
        except asyncio.CancelledError:
            print("stopped", flush=True)
            raise
        return Text(text=instance)

    async with connect(
        url, service="orchestrator", instance=instance, nkey_file=Path(nkey), on_lost=stop.failed, within=10
    ) as bus:
        await bus.serve(STREAM.streamed_by(tick), DISPATCH.answered_by(sleep))
        print("ready", flush=True)
        await stop.wait()


if __name__ == "__main__":
    run(main)
