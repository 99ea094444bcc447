"""`python -m tests.integration.shared.replica URL NKEY INSTANCE`: a replica of auth that can be killed or paused.

It sleeps for as many seconds as a request's text says and answers with its name.
"""

import asyncio
import sys
from pathlib import Path

from shared.bus import CallContext, connect
from shared.logging import configure_logging
from shared.process import Stop, run
from tests.integration.shared.calls import CHANGE, READ, Text


async def main(stop: Stop) -> None:
    url, nkey, instance = sys.argv[1:]
    configure_logging("auth", instance, "info")

    async def sleep(request: Text, _context: CallContext) -> Text:
        print("working", flush=True)
        await asyncio.sleep(float(request.text))
        return Text(text=instance)

    async with connect(
        url, service="auth", instance=instance, nkey_file=Path(nkey), on_lost=stop.failed, within=10
    ) as bus:
        await bus.serve(READ.answered_by(sleep), CHANGE.answered_by(sleep))
        print("ready", flush=True)
        await stop.wait()


if __name__ == "__main__":
    run(main)
