"""What the audit service tells of the tree over its log: signed checkpoints and proofs."""

from typing import Annotated

from pydantic import Field

from shared.bus import Contract, Kind, Message, Nothing

Size = Annotated[int, Field(ge=0, lt=2**63)]


class SignedCheckpoint(Message):
    """The newest checkpoint: a C2SP signed note, with the cosignatures so far, and how many entries it covers."""

    note: str
    size: int


class ProveInclusion(Message):
    """Which entry."""

    index: Size


class InclusionProof(Message):
    """That an entry is in the tree of the checkpoint (RFC 6962, 2.1.1).

    Hashes are base64: `leaf_hash` is SHA-256(0x00 || fingerprint), `proof` what lies beside its way to the root, lowest
    first. `fingerprint` is hexadecimal, as everywhere.
    """

    index: int
    fingerprint: str
    leaf_hash: str
    tree_size: int
    proof: list[str]
    checkpoint: str


class ProveConsistency(Message):
    """The sizes of two trees of this log."""

    old: Annotated[Size, Field(alias="from")]
    new: Annotated[Size, Field(alias="to")]


class ConsistencyProof(Message):
    """That the tree of `to` entries begins with that of `from` entries (RFC 6962, 2.1.2); hashes in base64."""

    old: Annotated[int, Field(alias="from")]
    new: Annotated[int, Field(alias="to")]
    proof: list[str]


class ChangedKey(Message):
    """The public keys (vkeys) before and after, and the index of the entry that hands over from one to the other."""

    old_key: str
    new_key: str
    index: int


GET_CHECKPOINT = Contract("audit.checkpoint.get", Nothing, SignedCheckpoint, Kind.READ)
PROVE_INCLUSION = Contract("audit.proof.inclusion", ProveInclusion, InclusionProof, Kind.READ)
PROVE_CONSISTENCY = Contract("audit.proof.consistency", ProveConsistency, ConsistencyProof, Kind.READ)
CHANGE_KEY = Contract("audit.key.change", Nothing, ChangedKey, Kind.CHANGE)
