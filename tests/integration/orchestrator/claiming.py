"""`python -m tests.integration.orchestrator.claiming DATABASE KEY SECONDS`: a replica that works on a keyed request.

It says `working` when the work's effect has begun, and answers after so many seconds.
"""

import asyncio
import sys

from orchestrator.application.idempotency import Claim, Idempotency
from orchestrator.infrastructure.sql_idempotency import SqlIdempotency
from shared.clock import utc_now
from shared.database import open_database
from shared.ids import new_id
from tests.integration.orchestrator.cluster import KEY, by

SUBJECT = "orchestrator.dispatch.run"
BODY = b'{"message": "Hello"}'
ANSWER = b'{"message": "Good day."}'


async def main() -> None:
    url, key, seconds = sys.argv[1:]

    async def work(claim: Claim) -> bytes:
        claim.effect_begins()
        print("working", flush=True)
        await asyncio.sleep(float(seconds))
        return ANSWER

    async with open_database(url) as database:
        idempotency = Idempotency(SqlIdempotency(database, bytes.fromhex(KEY)), now=utc_now, new_id=new_id)
        async with idempotency.keeping_claims():
            await idempotency.once(key, SUBJECT, BODY, by(seconds=60), work)


if __name__ == "__main__":
    asyncio.run(main())
