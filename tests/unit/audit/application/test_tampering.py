"""Thousands of generated tamperings, all found, and as many untouched logs, all accepted. The seeds are fixed."""

import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from audit.application import inspection
from audit.application.inspection import Findings, Question, look, look_at_end, look_at_stretch
from audit.application.knowledge import Knowledge
from audit.application.ports import Filters
from audit.domain.verification import NOTHING
from tests.unit.audit.application.tampering import ALWAYS_FOUND, Log, Tampering, rechain_and_sign, rechain_with_tiles
from tests.unit.audit.logs import KEY

PARTS = 10
LOGS, TAMPERINGS_OF_EACH = 50, 20
"""In each part: 1,000 tamperings."""
UNTOUCHED = 1000

NEEDS_TREE = (rechain_with_tiles, rechain_and_sign)


class Process:
    """One process that verifies the log in one of its ways."""

    def __init__(self, log: Log, rng: random.Random) -> None:
        self.log = log
        self.rng = rng
        self.knowledge = Knowledge([KEY.verifier])

    def verifies(self) -> int | None:
        """The first bad entry that one verification of all finds."""
        self.knowledge.first_bad = None
        way = self.rng.choice([self._at_once, self._at_once, self._at_once, self._in_stretches])
        way()
        return self.knowledge.first_bad

    def _at_once(self) -> None:
        question = Question(filters=Filters(), page=1, limit=3)
        self._learn(look(self.log, [question], self.knowledge.known))

    def _in_stretches(self) -> None:
        self._learn(look_at_end(self.log, self.knowledge.known))
        at, findings = NOTHING, Findings()
        entries = self.rng.choice([5, 64, 256])
        while findings.first_bad is None and not findings.whole:
            findings = look_at_stretch(self.log, at, self.knowledge.known, entries)
            at = findings.prefix
            self._learn(findings)

    def _learn(self, findings: Findings) -> None:
        self.knowledge.learn(findings, began=time.monotonic())


@pytest.fixture
def log(empty_log: Path) -> Iterator[Log]:
    log = Log(empty_log)
    yield log
    log.connection.close()


def size_of_log(rng: random.Random) -> int:
    return rng.choice([rng.randint(1, 8), rng.randint(1, 8), rng.randint(9, 30)])


def log_of(entries: int, rng: random.Random, log: Log) -> Log:
    log.empty()
    log.grow(rng, entries)
    return log


def check(log: Log, process: Process, tamper: Tampering, rng: random.Random, context: object) -> None:
    erased = {index for index, _ in log.tables()["erased"]}
    with log.undone():
        first_bad = tamper(log, rng)
        found = process.verifies()
        assert found is not None, (tamper.__name__, context, "was not found")
        if first_bad is not None and found not in erased:  # what relied on an erasure that was tampered with is bad too
            assert found == first_bad, (tamper.__name__, context)


@pytest.mark.parametrize("part", range(PARTS))
def test_every_tampering_while_the_process_lives_is_found(log: Log, part: int) -> None:
    rng = random.Random(f"alive {part}")
    for number in range(LOGS // 2):
        log_of(size_of_log(rng) if number else 350, rng, log)
        process = Process(log, rng)
        assert process.verifies() is None
        for tampering in range(TAMPERINGS_OF_EACH):
            check(log, process, rng.choice(ALWAYS_FOUND), rng, (part, number, tampering))
        assert process.verifies() is None, "what was undone is good again"


@pytest.mark.parametrize("part", range(PARTS))
def test_every_tampering_while_the_process_is_down_is_found(log: Log, part: int) -> None:
    rng = random.Random(f"down {part}")
    for number in range(LOGS // 2):
        log_of(size_of_log(rng) if number else 350, rng, log)
        log.sign()
        for tampering in range(TAMPERINGS_OF_EACH):
            check(log, Process(log, rng), rng.choice(ALWAYS_FOUND), rng, (part, number, tampering))


@pytest.mark.parametrize("part", range(PARTS))
def test_untouched_logs_are_accepted_however_they_grow(log: Log, part: int) -> None:
    rng = random.Random(f"untouched {part}")
    for number in range(UNTOUCHED // 4):
        log_of(rng.randint(0, 8) if number else 300, rng, log)
        process = Process(log, rng)
        for _ in range(4):
            assert process.verifies() is None, (part, number)
            log.grow(rng, rng.randint(0, 4))


@pytest.mark.parametrize("part", range(2))
def test_a_log_rolled_back_while_the_process_lives_is_found(log: Log, part: int) -> None:
    rng = random.Random(f"rolled back {part}")
    for number in range(100):
        log_of(size_of_log(rng), rng, log)
        old = log.tables()
        log.grow(rng, rng.randint(1, 5))
        log.sign()
        process = Process(log, rng)
        assert process.verifies() is None
        with log.undone():
            log.restore(old)

            assert process.verifies() is not None, (part, number)


@pytest.mark.parametrize("long_from", [10_000, 5])
def test_a_checkpoint_that_is_gone_while_the_process_lives_is_missed(
    log: Log, monkeypatch: pytest.MonkeyPatch, long_from: int
) -> None:
    monkeypatch.setattr(inspection, "WHOLE_UP_TO", long_from)
    rng = random.Random("gone")
    log_of(30, rng, log)
    log.sign()
    process = Process(log, rng)
    assert process.verifies() is None

    log.connection.execute("DELETE FROM checkpoints WHERE size = ?", (log.edge.size,))

    assert process.verifies() is not None
