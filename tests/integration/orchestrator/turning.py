"""`python -m tests.integration.orchestrator.turning DATA_DIR SESSION`: a replica that takes a turn of u-1's session.

It says `begun`, answers when it hears a line, and says `kept`, or why not.
"""

import asyncio
import sys
from pathlib import Path

from orchestrator.application.conversations import Conversations
from orchestrator.application.leases import Leases
from orchestrator.infrastructure.sql_conversations import SqlConversations
from shared.audit import open_trail
from shared.bus import call_context
from shared.clock import utc_now
from shared.database import open_database
from shared.errors import PlatformError
from shared.ids import new_id
from shared.paging import Cursors
from shared.principal import Caller
from tests.integration.orchestrator.claiming import WHO
from tests.integration.orchestrator.cluster import KEY
from tests.unit.shared.audit.logs import FakeLog


async def main() -> None:
    data_dir, id = Path(sys.argv[1]), sys.argv[2]
    key = bytes.fromhex(KEY)
    async with (
        open_database(f"sqlite+aiosqlite:///{data_dir}/orchestrator.db") as database,
        open_trail(FakeLog().bus, data_dir / "turning") as trail,
    ):
        store = SqlConversations(database, key)
        turns = Leases(store, now=utc_now)
        conversations = Conversations(store, turns, trail, Cursors(key, "conversations"), now=utc_now, new_id=new_id)
        async with turns.renewing():
            try:
                async with conversations.turn(id, "x", call_context(seconds=60, caller=Caller(principal=WHO))) as turn:
                    print("begun", flush=True)
                    await asyncio.to_thread(sys.stdin.readline)
                    turn.answered("y", agent_id="a-1", model="m")
                print("kept", flush=True)
            except PlatformError as error:
                print(error.reason, flush=True)


if __name__ == "__main__":
    asyncio.run(main())
