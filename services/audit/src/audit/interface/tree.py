"""The tree on the bus: checkpoints, proofs and the change of the key."""

import base64

from audit.application.key_changes import KeyChanges
from audit.application.tree import NotCovered, Tree
from shared.bus import CallContext, Endpoint, Nothing
from shared.contracts.audit_tree import (
    CHANGE_KEY,
    GET_CHECKPOINT,
    PROVE_CONSISTENCY,
    PROVE_INCLUSION,
    ChangedKey,
    ConsistencyProof,
    InclusionProof,
    ProveConsistency,
    ProveInclusion,
    SignedCheckpoint,
)
from shared.errors import FieldError, InvalidFields
from shared.principal import Role
from shared.tlog.merkle import leaf_hash


def tree_endpoints(tree: Tree, key_changes: KeyChanges) -> list[Endpoint]:
    """All that is answered of the tree."""

    async def checkpoint(_request: Nothing, context: CallContext) -> SignedCheckpoint:
        context.principal.must_be(Role.OPERATOR)
        newest = await tree.newest()
        if newest is None:
            raise NotCovered("Nothing has been recorded and signed yet.")
        return SignedCheckpoint(note=newest.note, size=newest.size)

    async def inclusion(request: ProveInclusion, context: CallContext) -> InclusionProof:
        context.principal.must_be(Role.OPERATOR)
        proved = await tree.inclusion(request.index)
        return InclusionProof(
            index=proved.index,
            fingerprint=proved.fingerprint.hex(),
            leaf_hash=_base64(leaf_hash(proved.fingerprint)),
            tree_size=proved.size,
            proof=[_base64(hash) for hash in proved.proof],
            checkpoint=proved.checkpoint,
        )

    async def consistency(request: ProveConsistency, context: CallContext) -> ConsistencyProof:
        context.principal.must_be(Role.OPERATOR)
        if request.old > request.new:
            problem = FieldError("from", "at most `to`")
            raise InvalidFields("A log does not extend a longer one.", errors=(problem,))
        proof = await tree.consistency(request.old, request.new)
        return ConsistencyProof(old=request.old, new=request.new, proof=[_base64(hash) for hash in proof])

    async def change_key(_request: Nothing, context: CallContext) -> ChangedKey:
        changed = await key_changes.change(context)
        return ChangedKey(old_key=changed.old.text, new_key=changed.new.text, index=changed.index)

    return [
        GET_CHECKPOINT.answered_by(checkpoint),
        PROVE_INCLUSION.answered_by(inclusion),
        PROVE_CONSISTENCY.answered_by(consistency),
        CHANGE_KEY.answered_by(change_key),
    ]


def _base64(hash: bytes) -> str:
    return base64.b64encode(hash).decode()
