"""`python -m tests.integration.shared.reader URL NKEY WHAT`: an edge that can be killed while it waits for something.

`stream` reads a stream, `stall` opens one and reads nothing of it, `dispatch` waits for an answer.
"""

import asyncio
import sys
from pathlib import Path

from shared.bus import connect
from shared.logging import configure_logging
from shared.process import Stop, run
from tests.integration.shared.calls import DISPATCH, STREAM, Text, within


async def main(stop: Stop) -> None:
    url, nkey, what = sys.argv[1:]
    configure_logging("edge", "edge-9", "info")
    async with connect(
        url, service="edge", instance="edge-9", nkey_file=Path(nkey), on_lost=stop.failed, within=10
    ) as bus:
        print("ready", flush=True)
        if what == "dispatch":
            await bus.call(DISPATCH, Text(text="x"), within(60))
        async with bus.stream(STREAM, b"x", within(60)) as inlet:
            while what == "stream" and await inlet.piece() is not None:
                pass
            await asyncio.sleep(60)


if __name__ == "__main__":
    run(main)
