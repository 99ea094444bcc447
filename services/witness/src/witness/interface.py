"""The witness on the bus: calls become use cases, and their results replies."""

from shared.bus import CallContext, Endpoint, Nothing
from shared.contracts import health
from shared.contracts.witness import ADD_CHECKPOINT, LAST_CHECKPOINT, AddCheckpoint, Cosigned, LastCheckpoint
from shared.errors import FieldError, InvalidFields
from shared.tlog.notes import KeyRefused, Verifier, strict_base64
from witness.application import Witnessing
from witness.domain import Addition


def endpoints(witnessing: Witnessing) -> list[Endpoint]:
    """All that this service answers."""

    async def add(request: AddCheckpoint, _context: CallContext) -> Cosigned:
        return Cosigned(cosignature=await witnessing.add(_addition(request)))

    async def last(_request: Nothing, _context: CallContext) -> LastCheckpoint:
        return LastCheckpoint(checkpoint=witnessing.last, witness_key=witnessing.key.text)

    async def check(_request: Nothing, _context: CallContext) -> health.Health:
        return health.Health(healthy=not witnessing.complaint, message=witnessing.complaint)

    return [
        ADD_CHECKPOINT.answered_by(add),
        LAST_CHECKPOINT.answered_by(last),
        health.health_contract("witness").answered_by(check),
    ]


def _addition(request: AddCheckpoint) -> Addition:
    return Addition(
        old_size=request.old_size,
        proof=[_hash(text, number) for number, text in enumerate(request.proof)],
        note=request.checkpoint,
        log=_key(request.log_key),
        key_changes=request.key_changes,
    )


def _hash(text: str, number: int) -> bytes:
    try:
        return strict_base64(text)
    except ValueError:
        raise _invalid(f"proof.{number}", "is not base64") from None


def _key(text: str) -> Verifier:
    try:
        return Verifier.parse(text)
    except KeyRefused as error:
        raise _invalid("logKey", str(error)) from None


def _invalid(path: str, message: str) -> InvalidFields:
    return InvalidFields("Some fields are not as they should be.", errors=(FieldError(path, message),))
