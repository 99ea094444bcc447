"""The audit service beside a witness: real rules on both sides, and a log that can be rolled back or forged."""

import asyncio
from collections.abc import Sequence

import pytest

from audit.application.knowledge import Knowledge, Status
from audit.application.ports import LogUnavailable, StoredCheckpoint
from audit.application.witnessing import (
    Seen,
    WitnessContradicts,
    Witnessing,
    WitnessRefuses,
    WitnessSawAnother,
    WitnessSilent,
)
from shared.tlog.key_changes import key_change
from shared.tlog.notes import Cosigner, Signer, Verifier, open_note
from tests.unit.witness.logs import ORIGIN, Log
from tests.waiting import until
from witness.application import Witnessing as WitnessService
from witness.domain import Addition, Inconsistent, Memory, NotOfThisLog, StaleSize


class Memories:
    """Where the witness remembers."""

    async def save(self, memory: Memory) -> None:
        await asyncio.sleep(0)


class Witness:
    """The witness's own use cases; silent when it is told so."""

    def __init__(self, origin: str = ORIGIN) -> None:
        self.signer = Cosigner.generate("peanut.local/witness")
        self.service = WitnessService(Memories(), None, self.signer, origin=origin, log=None, now=lambda: 1)
        self.is_silent = False
        self.asked = 0
        self.was_asked = asyncio.Event()

    async def last(self) -> Seen:
        self.asked += 1
        self.was_asked.set()
        if self.is_silent:
            raise WitnessSilent("Nobody is there.")
        return Seen(self.service.last, self.service.key.text)

    async def add(
        self, note: str, *, old_size: int, proof: Sequence[bytes], log_key: str, key_changes: Sequence[str]
    ) -> str:
        key = Verifier.parse(log_key)
        addition = Addition(old_size=old_size, proof=proof, note=note, log=key, key_changes=key_changes)
        try:
            return await self.service.add(addition)
        except StaleSize as error:
            raise WitnessSawAnother(error.detail) from error
        except Inconsistent as error:
            raise WitnessContradicts(error.detail) from error
        except NotOfThisLog as error:
            raise WitnessRefuses(error.detail) from error


class Stored:
    """The checkpoints of a log of which `branch` says what history it has."""

    def __init__(self, log: Log) -> None:
        self.log = log
        self.branch = ""
        self.notes: dict[int, str] = {}
        self.later = 0
        self.is_unavailable = False

    def checkpoint(self, size: int) -> None:
        self.notes[size] = self.log.note(size, self.branch)

    def roll_back(self, size: int) -> None:
        self.notes = {known: note for known, note in self.notes.items() if known <= size}

    async def entries(self) -> int:
        return max(self.notes, default=0) + self.later

    async def newest(self) -> StoredCheckpoint | None:
        if self.is_unavailable:
            raise LogUnavailable("The disk is full.")
        size = max(self.notes, default=None)
        return None if size is None else StoredCheckpoint(size, self.notes[size], 0)

    async def consistency(self, old: int, new: int) -> Sequence[bytes]:
        return self.log.addition(old, new, self.branch).proof

    async def add_cosignature(self, size: int, line: str) -> None:
        self.notes[size] += line

    async def keys(self) -> tuple[str, Sequence[str]]:
        return self.log.signer.verifier.text, self.log.key_changes


class Meeting:
    """A log, its witness, and what is known of the log."""

    def __init__(self) -> None:
        self.witness = Witness()
        self.stored = Stored(Log())
        self.start()

    def start(self) -> None:
        """As a new process would."""
        self.knowledge = Knowledge()
        self.knowledge.found_whole(began=0.0)
        self.witnessing = Witnessing(self.witness, self.stored, origin=ORIGIN, contradicted=self.knowledge.contradicted)

    async def witnessed(self, size: int) -> None:
        self.stored.checkpoint(size)
        await self.witnessing.compare()
        assert open_note(self.stored.notes[size], [self.witness.service.key])


@pytest.fixture
async def meeting() -> Meeting:
    return Meeting()


async def test_each_checkpoint_is_stored_with_its_cosignature(meeting: Meeting) -> None:
    for size in (1, 2, 300):
        await meeting.witnessed(size)

        assert meeting.stored.notes[size] == meeting.witness.service.last
    assert meeting.knowledge.status is Status.VALID


async def test_a_checkpoint_is_cosigned_once(meeting: Meeting) -> None:
    await meeting.witnessed(5)
    before = meeting.stored.notes[5]

    await meeting.witnessing.compare()

    assert meeting.stored.notes[5] == before


async def test_a_checkpoint_whose_cosignature_was_not_stored_gets_another(meeting: Meeting) -> None:
    await meeting.witnessed(5)
    meeting.stored.checkpoint(5)

    await meeting.witnessing.compare()

    assert open_note(meeting.stored.notes[5], [meeting.witness.service.key])


async def test_a_log_that_was_rolled_back_is_invalid_from_where_it_ends(meeting: Meeting) -> None:
    await meeting.witnessed(5)
    await meeting.witnessed(9)
    meeting.stored.roll_back(5)
    meeting.start()

    await meeting.witnessing.compare()

    assert (meeting.knowledge.status, meeting.knowledge.first_bad) == (Status.INVALID, 5)


async def test_a_log_that_was_taken_away_is_invalid(meeting: Meeting) -> None:
    await meeting.witnessed(5)
    meeting.stored.roll_back(0)

    await meeting.witnessing.compare()

    assert (meeting.knowledge.status, meeting.knowledge.first_bad) == (Status.INVALID, 0)


async def test_a_replica_that_has_yet_to_catch_up_judges_nothing(meeting: Meeting) -> None:
    await meeting.witnessed(5)
    await meeting.witnessed(9)
    note = meeting.stored.notes.pop(9)

    for known in (5, 0):
        meeting.stored.roll_back(known)
        meeting.stored.later = 9 - known
        await meeting.witnessing.compare()

        assert (meeting.knowledge.status, meeting.witnessing.complaint) == (Status.VALID, "")
    assert meeting.witness.service.last == note


@pytest.mark.parametrize("size", [9, 10, 40])
async def test_a_log_that_went_another_way_after_it_was_rolled_back_is_invalid(meeting: Meeting, size: int) -> None:
    await meeting.witnessed(9)
    meeting.stored.roll_back(0)
    meeting.stored.branch = "forged"
    meeting.stored.checkpoint(size)

    await meeting.witnessing.compare()

    assert meeting.knowledge.status is Status.INVALID


async def test_a_witness_that_has_signed_two_histories_does_not_pass(meeting: Meeting) -> None:
    await meeting.witnessed(9)
    forged = Stored(meeting.stored.log)
    forged.branch = "forged"
    forged.checkpoint(9)
    text = forged.notes[9].partition("\n\n")[0] + "\n"
    forged.notes[9] += meeting.witness.signer.cosign(text, 1)

    await Witnessing(meeting.witness, forged, origin=ORIGIN, contradicted=meeting.knowledge.contradicted).compare()

    assert meeting.knowledge.status is Status.INVALID


async def test_no_verification_of_what_is_there_makes_it_valid_again(meeting: Meeting) -> None:
    await meeting.witnessed(9)
    meeting.stored.roll_back(0)
    await meeting.witnessing.compare()

    meeting.knowledge.found_bad(3)
    meeting.knowledge.found_whole(began=1e12)

    assert meeting.knowledge.status is Status.INVALID


async def test_a_rollback_to_before_a_change_of_key_is_found(meeting: Meeting) -> None:
    await meeting.witnessed(5)
    before = Log(meeting.stored.log.signer, [])
    new = Signer.generate(ORIGIN)
    meeting.stored.log = Log(new, [key_change(before.signer, new.verifier)])
    await meeting.witnessed(9)
    meeting.stored.log = before
    meeting.stored.roll_back(5)

    await meeting.witnessing.compare()

    assert (meeting.knowledge.status, meeting.knowledge.first_bad) == (Status.INVALID, 5)


async def test_without_a_witness_all_else_goes_on(meeting: Meeting) -> None:
    meeting.witness.is_silent = True
    meeting.stored.checkpoint(5)

    await meeting.witnessing.compare()

    assert (meeting.knowledge.status, meeting.witnessing.complaint) == (Status.VALID, "")
    meeting.witness.is_silent = False
    await meeting.witnessed(6)


async def test_a_log_that_cannot_be_read_is_tried_again(meeting: Meeting) -> None:
    await meeting.witnessed(5)
    meeting.stored.is_unavailable = True

    await meeting.witnessing.compare()

    assert meeting.knowledge.status is Status.VALID


async def test_a_witness_that_forgot_or_was_replaced_begins_anew(meeting: Meeting) -> None:
    await meeting.witnessed(5)
    meeting.witness.service = Witness().service

    await meeting.witnessing.compare()

    assert open_note(meeting.stored.notes[5], [meeting.witness.service.key])


async def test_a_witness_of_another_log_is_told_and_judges_nothing(meeting: Meeting) -> None:
    meeting.witness = Witness(origin="peanut.local/other")
    meeting.start()
    meeting.stored.checkpoint(5)

    await meeting.witnessing.compare()

    assert meeting.knowledge.status is Status.VALID
    assert meeting.witnessing.complaint.endswith("This is the witness of peanut.local/other.")


async def test_a_witness_that_trusts_another_key_is_told(meeting: Meeting) -> None:
    await meeting.witnessed(5)
    meeting.stored.log = Log()
    meeting.stored.checkpoint(6)

    await meeting.witnessing.compare()

    assert meeting.witnessing.complaint.startswith("The witness does not cosign: Not a checkpoint of this log")
    assert meeting.knowledge.status is Status.VALID


@pytest.mark.parametrize("answer", [Seen(None, "no key"), Seen("no note", Witness().service.key.text)])
async def test_what_the_witness_says_may_be_nonsense(
    meeting: Meeting, answer: Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def last() -> Seen:
        return answer

    monkeypatch.setattr(meeting.witness, "last", last)
    meeting.stored.checkpoint(5)

    await meeting.witnessing.compare()

    assert meeting.witnessing.complaint.startswith("The witness does not cosign")
    assert meeting.knowledge.status is Status.VALID


async def test_a_line_that_is_no_cosignature_is_not_stored(meeting: Meeting, monkeypatch: pytest.MonkeyPatch) -> None:
    async def add(*_: object, **__: object) -> str:
        return "nonsense"

    monkeypatch.setattr(meeting.witness, "add", add)
    meeting.stored.checkpoint(5)

    await meeting.witnessing.compare()

    assert meeting.stored.notes[5] == meeting.stored.log.note(5)
    assert meeting.witnessing.complaint != ""


async def test_it_compares_at_once_and_after_each_checkpoint(meeting: Meeting) -> None:
    async with meeting.witnessing.running():
        async with asyncio.timeout(20):
            await meeting.witness.was_asked.wait()
        meeting.stored.checkpoint(7)

        meeting.witnessing.checkpoint_made()

        await until(lambda: meeting.stored.notes[7] == meeting.witness.service.last, within=20)


async def test_it_goes_on_after_a_failure(meeting: Meeting, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail() -> StoredCheckpoint | None:
        monkeypatch.undo()
        raise RuntimeError("unexpected")

    monkeypatch.setattr(meeting.stored, "newest", fail)
    meeting.stored.checkpoint(7)
    async with meeting.witnessing.running():
        await until(lambda: meeting.stored.notes[7] == meeting.witness.service.last, within=20)
