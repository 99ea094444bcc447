"""`python -m tests.integration.orchestrator.claiming DB SEAL KEY SECONDS`: a replica that works on a keyed request.

It says `working` when the work's effect has begun, and answers after so many seconds.
"""

import asyncio
import sys

from orchestrator.application.idempotency import Claim, Idempotency
from orchestrator.infrastructure.sql_idempotency import SqlIdempotency
from shared.bus import call_context
from shared.clock import utc_now
from shared.database import open_database
from shared.ids import new_id
from shared.principal import Caller, Principal, PrincipalKind, Role

SUBJECT = "orchestrator.dispatch.run"
BODY = b'{"message": "Hello"}'
ANSWER = b'{"message": "Good day."}'
WHO = Principal(
    kind=PrincipalKind.SESSION, user_id="u-1", email="ada@example.org", role=Role.OPERATOR, credential_id="c-1"
)


async def main() -> None:
    url, seal, key, seconds = sys.argv[1:]

    async def work(claim: Claim) -> bytes:
        claim.effect_begins()
        print("working", flush=True)
        await asyncio.sleep(float(seconds))
        return ANSWER

    async with open_database(url) as database:
        idempotency = Idempotency(SqlIdempotency(database, bytes.fromhex(seal)), now=utc_now, new_id=new_id)
        async with idempotency.keeping_claims():
            context = call_context(seconds=60, caller=Caller(principal=WHO))
            await idempotency.once(key, SUBJECT, BODY, context, work)


if __name__ == "__main__":
    asyncio.run(main())
