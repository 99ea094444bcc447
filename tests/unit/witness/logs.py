"""A log to be witnessed, which can also be told to lie."""

from dataclasses import dataclass, field

from shared.tlog.checkpoints import Checkpoint
from shared.tlog.merkle import consistency_proof, root_of
from shared.tlog.notes import Signer, note_of
from tests.unit.shared.tlog.trees import leaves, node_in
from witness.domain import Addition

ORIGIN = "peanut.local/audit"


@dataclass
class Log:
    """Its leaves are those of `trees`, up to the size that is asked for; `branch` names another history."""

    signer: Signer = field(default_factory=lambda: Signer.generate(ORIGIN))
    key_changes: list[str] = field(default_factory=list)

    def checkpoint(self, size: int, branch: str = "") -> Checkpoint:
        return Checkpoint(ORIGIN, size, root_of(leaves(size, branch)))

    def note(self, size: int, branch: str = "") -> str:
        text = self.checkpoint(size, branch).text
        return note_of(text, self.signer.sign(text))

    def addition(self, old: int, new: int, branch: str = "") -> Addition:
        """With a true proof, where there is one."""
        proof = consistency_proof(old, new, node_in(leaves(new, branch))) if old <= new else []
        return Addition(
            old_size=old,
            proof=proof,
            note=self.note(new, branch),
            log=self.signer.verifier,
            key_changes=list(self.key_changes),
        )
