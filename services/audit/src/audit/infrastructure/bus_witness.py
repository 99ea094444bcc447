"""The witness, as it is asked on the bus."""

import base64
from collections.abc import Sequence

from audit.application.witnessing import Seen, WitnessContradicts, WitnessRefuses, WitnessSawAnother, WitnessSilent
from shared.bus import NOTHING, Bus, call_context
from shared.contracts.witness import ADD_CHECKPOINT, INCONSISTENT, LAST_CHECKPOINT, STALE_SIZE, AddCheckpoint
from shared.errors import ErrorCode, PlatformError

ASK_WITHIN_S = 2.0
_SILENT = (ErrorCode.UNAVAILABLE, ErrorCode.TIMEOUT)


class BusWitness:
    """Calls the service; its failures become those of the port."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    async def last(self) -> Seen:
        """What it saw last."""
        try:
            seen = await self._bus.call(LAST_CHECKPOINT, NOTHING, call_context(seconds=ASK_WITHIN_S))
        except PlatformError as error:
            raise _failure(error) from error
        return Seen(seen.checkpoint, seen.witness_key)

    async def add(
        self, note: str, *, old_size: int, proof: Sequence[bytes], log_key: str, key_changes: Sequence[str]
    ) -> str:
        """Its cosignature line."""
        request = AddCheckpoint(
            old_size=old_size,
            proof=[base64.b64encode(hash).decode() for hash in proof],
            checkpoint=note,
            log_key=log_key,
            key_changes=list(key_changes),
        )
        try:
            return (await self._bus.call(ADD_CHECKPOINT, request, call_context(seconds=ASK_WITHIN_S))).cosignature
        except PlatformError as error:
            raise _failure(error) from error


def _failure(error: PlatformError) -> Exception:
    if error.code in _SILENT:
        return WitnessSilent(error.detail)
    if error.reason == STALE_SIZE:
        return WitnessSawAnother(error.detail)
    if error.reason == INCONSISTENT:
        return WitnessContradicts(error.detail)
    return WitnessRefuses(error.detail)
