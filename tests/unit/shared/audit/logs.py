"""A log of one's choice behind a bus that is not there."""

import asyncio
from typing import Any, cast

import orjson

from shared.bus import Bus, CallContext, Contract
from shared.clock import utc_now
from shared.contracts.audit import Action, NewEntry, Outcome, Phase
from shared.errors import DeadlinePassed, ErrorCode, RemoteFailure
from shared.ids import new_id


class FakeLog:
    """Answers appends as the audit service does, or fails as one likes; refuses entries of the user `bad`."""

    service = "auth"
    instance = "auth-1"

    def __init__(self) -> None:
        self.entries: list[dict[str, Any]] = []
        self.calls: list[int] = []
        self.away = False
        self.paused = False
        self.broken: Exception | None = None
        self.takes = 0.0

    @property
    def bus(self) -> Bus:
        return cast(Bus, self)

    async def forward(
        self, _contract: Contract[Any, Any], body: bytes, context: CallContext, *, ask_again_after: float
    ) -> bytes:
        entries = orjson.loads(body)["entries"]
        self.calls.append(len(entries))
        await asyncio.sleep(self.takes)
        if self.broken is not None:
            raise self.broken
        if self.away:
            raise RemoteFailure(ErrorCode.UNAVAILABLE, "audit-unavailable", "no")
        if self.paused:
            await asyncio.sleep(min(ask_again_after, context.remaining()))
        if self.paused:
            await asyncio.sleep(context.remaining())
            raise DeadlinePassed("no answer")
        if any(entry["userId"] == "bad" for entry in entries):
            raise RemoteFailure(ErrorCode.INVALID, "invalid-fields", "user bad")
        return orjson.dumps({"receipts": [self._receipt(entry) for entry in entries]})

    def _receipt(self, entry: dict[str, Any]) -> dict[str, Any]:
        """Each entry is there once, however often it is sent."""
        places = {(known["id"], known["phase"]): index for index, known in enumerate(self.entries)}
        index = places.get((entry["id"], entry["phase"]), len(self.entries))
        if index == len(self.entries):
            self.entries.append(entry)
        return {"index": index, "fingerprint": "ab"}


def entry(**fields: Any) -> NewEntry:
    values: dict[str, Any] = {
        "id": new_id(),
        "request_id": "r",
        "phase": Phase.OUTCOME,
        "action": Action.AUTH_LOGOUT,
        "outcome": Outcome.SUCCESS,
        "timestamp": utc_now(),
    }
    return NewEntry(**{**values, **fields})
