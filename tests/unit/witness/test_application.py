"""The witness against logs that lie, take back, fork and forge."""

import asyncio
from dataclasses import replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from shared.tlog.checkpoints import Checkpoint, open_checkpoint
from shared.tlog.key_changes import key_change
from shared.tlog.notes import Cosigner, Signer, Verifier, note_of, open_note
from tests.unit.witness.logs import ORIGIN, Log
from witness.application import MemoryNotWritten, Witnessing
from witness.domain import Addition, Inconsistent, Memory, NotOfThisLog, StaleSize

NOW = 1_800_000_000


class Store:
    """Keeps what was saved; full when it is told so."""

    def __init__(self) -> None:
        self.saved: list[Memory] = []
        self.is_full = False

    async def save(self, memory: Memory) -> None:
        await asyncio.sleep(0)
        if self.is_full:
            raise MemoryNotWritten("The disk is full.")
        self.saved.append(memory)


def witness_of(store: Store, *, log: Verifier | None = None) -> Witnessing:
    memory = store.saved[-1] if store.saved else None
    signer = Cosigner.generate("peanut.local/witness")
    return Witnessing(store, memory, signer, origin=ORIGIN, log=log, now=lambda: NOW)


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def log() -> Log:
    return Log()


async def test_what_extends_the_last_checkpoint_is_remembered_and_cosigned(store: Store, log: Log) -> None:
    witness = witness_of(store)

    for old, new in [(0, 3), (3, 3), (3, 50), (50, 51)]:
        line = await witness.add(log.addition(old, new))

        cosigned = f"{log.note(new)}{line}"
        assert open_note(cosigned, [witness.key]) == log.checkpoint(new).text
        assert (witness.last, store.saved[-1].note) == (cosigned, cosigned)


@pytest.mark.parametrize("branch", ["", "forged"])
async def test_a_log_that_was_rolled_back_is_not_cosigned(store: Store, log: Log, branch: str) -> None:
    witness = witness_of(store)
    await witness.add(log.addition(0, 20))

    with pytest.raises(Inconsistent):
        await witness.add(replace(log.addition(19, 19, branch), old_size=20))
    with pytest.raises(StaleSize, match="20 entries"):
        await witness.add(log.addition(10, 15, branch))
    with pytest.raises(StaleSize):
        await witness.add(log.addition(0, 15, branch))
    assert witness.last == store.saved[-1].note
    assert len(store.saved) == 1


@pytest.mark.parametrize("new", [20, 21, 32, 60])
async def test_a_log_that_was_written_anew_is_not_cosigned(store: Store, log: Log, new: int) -> None:
    witness = witness_of(store)
    await witness.add(log.addition(0, 20))

    with pytest.raises(Inconsistent):
        await witness.add(log.addition(20, new, "forged"))
    assert len(store.saved) == 1


async def test_the_first_key_is_trusted_for_ever(store: Store, log: Log) -> None:
    witness = witness_of(store)
    await witness.add(log.addition(0, 5))

    with pytest.raises(NotOfThisLog):
        await witness.add(Log().addition(5, 6))
    restarted = witness_of(store, log=Signer.generate(ORIGIN).verifier)
    with pytest.raises(NotOfThisLog):
        await restarted.add(Log().addition(5, 6))
    assert await restarted.add(log.addition(5, 6))


async def test_a_key_that_was_set_is_the_first(store: Store, log: Log) -> None:
    witness = witness_of(store, log=log.signer.verifier)

    with pytest.raises(NotOfThisLog):
        await witness.add(Log().addition(0, 5))
    assert await witness.add(log.addition(0, 5))


async def test_a_key_is_changed_by_the_key_before_it(store: Store, log: Log) -> None:
    witness = witness_of(store)
    await witness.add(log.addition(0, 5))
    for size in (5, 6, 7):
        successor = Signer.generate(ORIGIN)
        log.key_changes.append(key_change(log.signer, successor.verifier))
        log.signer = successor

        assert await witness.add(log.addition(size, size + 1))
    assert store.saved[-1].log == log.signer.verifier
    assert await witness_of(store).add(log.addition(8, 9))


async def test_several_changes_of_key_are_followed_at_once(store: Store, log: Log) -> None:
    witness = witness_of(store)
    await witness.add(log.addition(0, 5))
    for _ in range(3):
        successor = Signer.generate(ORIGIN)
        log.key_changes.append(key_change(log.signer, successor.verifier))
        log.signer = successor

    assert await witness.add(log.addition(5, 6))


async def test_a_key_that_was_handed_on_counts_no_more(store: Store, log: Log) -> None:
    witness = witness_of(store)
    await witness.add(log.addition(0, 5))
    old, new = log.signer, Signer.generate(ORIGIN)
    log.key_changes, log.signer = [key_change(old, new.verifier)], new
    await witness.add(log.addition(5, 6))

    with pytest.raises(NotOfThisLog):
        await witness.add(Log(old).addition(6, 7))


async def test_a_stranger_cannot_change_the_key(store: Store, log: Log) -> None:
    witness = witness_of(store)
    await witness.add(log.addition(0, 5))
    stranger = Log()
    stranger.key_changes = [key_change(stranger.signer, stranger.signer.verifier), "no note", log.note(5)]

    with pytest.raises(NotOfThisLog):
        await witness.add(stranger.addition(5, 6))


@pytest.mark.parametrize("old", [0, 5])
async def test_another_log_is_not_cosigned(store: Store, log: Log, old: int) -> None:
    witness = witness_of(store)
    if old:
        await witness.add(log.addition(0, old))
    other = Signer.generate("peanut.local/other")
    text = Checkpoint("peanut.local/other", 6, bytes(32)).text
    addition = replace(log.addition(old, 6), note=note_of(text, other.sign(text)))

    for key in (other.verifier, log.signer.verifier):
        with pytest.raises(NotOfThisLog):
            await witness.add(replace(addition, log=key))
    both = note_of(text, other.sign(text), log.signer.sign(text))
    with pytest.raises(NotOfThisLog):
        await witness.add(replace(addition, note=both))


@pytest.mark.parametrize("note", ["", "\n\n", "peanut.local/audit\n6\n\n— peanut.local/audit AAAAAAA=\n"])
async def test_what_is_not_a_checkpoint_is_not_cosigned(store: Store, log: Log, note: str) -> None:
    signed = note_of("other\n", log.signer.sign("other\n"))

    for other in (note, signed):
        with pytest.raises(NotOfThisLog):
            await witness_of(store).add(replace(log.addition(0, 6), note=other))


async def test_a_forged_cosignature_is_not_remembered(store: Store, log: Log) -> None:
    witness = witness_of(store)
    forged = f"— {witness.key.name} " + note_of("x\n", log.signer.sign("x\n")).split(" ")[-1]

    line = await witness.add(replace(log.addition(0, 6), note=log.note(6) + forged))

    assert witness.last == log.note(6) + line


async def test_what_cannot_be_remembered_is_not_cosigned(store: Store, log: Log) -> None:
    witness = witness_of(store)
    await witness.add(log.addition(0, 5))
    store.is_full = True

    with pytest.raises(MemoryNotWritten):
        await witness.add(log.addition(5, 6))
    assert (witness.complaint, witness.last) == ("The disk is full.", store.saved[-1].note)

    store.is_full = False
    assert await witness.add(log.addition(5, 7))
    assert witness.complaint == ""


async def test_of_two_at_once_that_fork_only_one_is_cosigned(store: Store, log: Log) -> None:
    witness = witness_of(store)
    await witness.add(log.addition(0, 5))

    answers = await asyncio.gather(
        witness.add(log.addition(5, 8)), witness.add(log.addition(5, 6)), return_exceptions=True
    )

    assert [isinstance(answer, str) for answer in answers] == [True, False]
    assert isinstance(answers[1], StaleSize)
    assert witness.last is not None
    assert open_checkpoint(witness.last, log.signer.verifier).size == 8


class Hostile(RuleBasedStateMachine):
    """Whatever is asked, in whatever order, with restarts between: what was cosigned is one history."""

    def __init__(self) -> None:
        super().__init__()
        self.store = Store()
        self.witness = witness_of(self.store)
        self.logs = [Log()]
        self.stranger = Log()
        self.cosigned: list[tuple[int, str]] = []

    @rule()
    def restart(self) -> None:
        self.witness = witness_of(self.store)

    @rule()
    def change_key(self) -> None:
        before, signer = self.logs[-1], Signer.generate(ORIGIN)
        changes = [*before.key_changes, key_change(before.signer, signer.verifier)]
        self.logs.append(Log(signer, changes))

    @rule(old=st.integers(0, 12), new=st.integers(0, 12), branch=st.sampled_from(["", "forged"]), data=st.data())
    def add(self, old: int, new: int, branch: str, data: st.DataObject) -> None:
        log = data.draw(st.sampled_from(self.logs))
        addition = log.addition(old, new, branch)
        if data.draw(st.booleans()):
            addition = replace(addition, old_size=self.size)
        self._ask(addition)

    @rule(new=st.integers(0, 12))
    def add_for_a_stranger(self, new: int) -> None:
        if not self.cosigned:
            return
        before = len(self.store.saved)
        self._ask(self.stranger.addition(self.size, max(self.size, new)))
        assert len(self.store.saved) == before

    @property
    def size(self) -> int:
        return self.cosigned[-1][0] if self.cosigned else 0

    def _ask(self, addition: Addition) -> None:
        before = self.witness.last
        try:
            line = asyncio.run(self.witness.add(addition))
        except (NotOfThisLog, StaleSize, Inconsistent):
            assert self.witness.last == before
            return
        checkpoint = self.store.saved[-1].checkpoint
        assert open_note(addition.note + line, [self.witness.key]) == checkpoint.text
        self.cosigned.append((checkpoint.size, checkpoint.text))

    @invariant()
    def is_one_history(self) -> None:
        sizes = [size for size, _ in self.cosigned]
        assert sizes == sorted(sizes)
        texts = [text for size, text in self.cosigned if size]
        assert any(all(t == Log().checkpoint(int(t.split("\n")[1]), b).text for t in texts) for b in ("", "forged"))


TestHostile = Hostile.TestCase
TestHostile.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
