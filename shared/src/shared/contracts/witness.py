"""What the audit service asks of the witness (C2SP tlog-witness, on the bus instead of HTTP)."""

from typing import Annotated

from pydantic import Field

from shared.bus import Contract, Kind, Message, Nothing

MAX_NOTE_CHARACTERS = 4096
STALE_SIZE = "stale-size"
"""The reason of a conflict: the witness has last seen a checkpoint of another size than `old_size`."""
INCONSISTENT = "inconsistent"
"""The reason of a conflict: the checkpoint does not extend the last one that the witness has seen."""

Note = Annotated[str, Field(max_length=MAX_NOTE_CHARACTERS)]
Hash = Annotated[str, Field(max_length=44)]


class AddCheckpoint(Message):
    """A checkpoint to be cosigned, and the proof (hashes in base64) that it extends the one of `old_size` entries.

    `log_key` is the log's public key, which counts for a witness that trusts none yet. `key_changes` are the notes by
    which the log's key was handed on, in order; those that do not follow from the key it trusts are passed over.
    """

    old_size: Annotated[int, Field(ge=0, lt=2**63)]
    proof: Annotated[list[Hash], Field(max_length=63)]
    checkpoint: Note
    log_key: Annotated[str, Field(max_length=512)]
    key_changes: Annotated[list[Note], Field(max_length=256)] = Field(default_factory=list)


class Cosigned(Message):
    """The witness's signature line for that checkpoint."""

    cosignature: str


class LastCheckpoint(Message):
    """The last checkpoint that the witness has cosigned, as a note; none when it has seen nothing. And its own key."""

    checkpoint: str | None
    witness_key: str


ADD_CHECKPOINT = Contract("witness.checkpoint.add", AddCheckpoint, Cosigned, Kind.CHANGE)
LAST_CHECKPOINT = Contract("witness.checkpoint.last", Nothing, LastCheckpoint, Kind.READ)
