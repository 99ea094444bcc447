"""When a circuit opens, who may try, and how an agent comes back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from orchestrator.domain.circuit import FAILURES_TO_OPEN, WARM_UP_STEPS, Circuit

NEW = Circuit()


def at_work(circuit: Circuit, times: int = 1, *, now_s: float = 0) -> Circuit:
    for _ in range(times):
        circuit = circuit.failed(at_work=True, now_s=now_s)
    return circuit


def at_probe(circuit: Circuit, times: int = 1, *, now_s: float = 0) -> Circuit:
    for _ in range(times):
        circuit = circuit.failed(at_work=False, now_s=now_s)
    return circuit


@given(st.lists(st.booleans(), min_size=FAILURES_TO_OPEN, max_size=FAILURES_TO_OPEN))
def test_three_failures_in_a_row_open_it_whatever_they_were_of(kinds: list[bool]) -> None:
    circuit, states = NEW, []
    for kind in kinds:
        circuit = circuit.failed(at_work=kind, now_s=0)
        states.append(circuit.state)

    assert states == ["closed", "closed", "open"]
    assert circuit.until_s == 10


def test_success_between_failures_begins_a_new_row() -> None:
    by_work = at_work(at_work(NEW, 2).succeeded(now_s=0), 2)
    by_probe = at_probe(at_probe(NEW, 2).probed_well(now_s=0), 2)

    assert (by_work.state, by_probe.state) == ("closed", "closed")


def test_a_probe_does_not_acquit_of_failed_work() -> None:
    circuit = NEW
    for _ in range(FAILURES_TO_OPEN):
        circuit = at_work(circuit).probed_well(now_s=0)

    assert circuit.state == "open"


def test_who_was_not_there_is_back_with_the_first_answer_to_a_probe() -> None:
    assert at_probe(NEW, 3).probed_well(now_s=1).state == "closed"
    assert at_probe(at_work(NEW), 2).probed_well(now_s=1).state == "closed"


def test_who_failed_at_work_is_given_one_trial_after_the_pause() -> None:
    opened = at_work(NEW, 3)

    early, late = opened.probed_well(now_s=9.9), opened.probed_well(now_s=10)
    tried = late.tried(now_s=11)

    assert (early.state, late.state, late.on_trial) == ("open", "half-open", False)
    assert (tried.state, tried.on_trial) == ("half-open", True)
    assert tried.succeeded(now_s=12) == Circuit(closed_at_s=12)
    assert tried.untried() == late.tried(now_s=11).untried()


def test_pauses_double_to_five_minutes_while_trials_fail() -> None:
    circuit, now_s, pauses = at_work(NEW, 3), 0.0, []
    for _ in range(8):
        pauses.append(circuit.until_s - now_s)
        now_s = circuit.until_s
        half_open = circuit.probed_well(now_s=now_s)
        circuit = half_open.tried(now_s=now_s).failed(at_work=True, now_s=now_s, is_trial=True)

    assert pauses == [10, 20, 40, 80, 160, 300, 300, 300]
    assert at_probe(circuit, now_s=circuit.until_s).rounds == circuit.rounds + 1


def test_failed_probes_before_the_pause_is_over_change_no_pause() -> None:
    opened = at_probe(NEW, 3)

    assert at_probe(opened, 5, now_s=9) == opened
    assert at_probe(opened, now_s=10).until_s == 30


def test_work_that_was_begun_before_is_no_trial() -> None:
    opened = at_work(NEW, 3)
    half_open = opened.probed_well(now_s=10)

    assert at_work(opened, 5, now_s=20) == opened
    assert at_work(half_open, 5, now_s=20) == half_open
    assert opened.succeeded(now_s=5).state == "closed"


def test_a_trial_that_nobody_ended_lapses() -> None:
    tried = at_work(NEW, 3).probed_well(now_s=10).tried(now_s=10)

    assert tried.probed_well(now_s=139).on_trial
    assert not tried.probed_well(now_s=140).on_trial


def test_weight_grows_to_the_full_one_within_thirty_seconds() -> None:
    closed = at_probe(NEW, 3).probed_well(now_s=100)

    parts = [closed.warmth(now_s=100 + second) for second in range(0, 31, 3)]

    assert parts == [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 10]
    assert NEW.warmth(now_s=0) == WARM_UP_STEPS
    assert at_work(NEW, 2).succeeded(now_s=5).warmth(now_s=5) == WARM_UP_STEPS
    assert at_work(closed).succeeded(now_s=103).warmth(now_s=103) == 2


@pytest.mark.parametrize("kind", [True, False])
def test_half_open_weighs_little_and_open_takes_nothing(kind: bool) -> None:
    opened = NEW
    for _ in range(FAILURES_TO_OPEN):
        opened = opened.failed(at_work=kind, now_s=0)

    assert not opened.takes_work
    assert at_work(NEW, 3).probed_well(now_s=10).warmth(now_s=10) == 1


class Story(RuleBasedStateMachine):
    """Any order of probes and work, with one trial at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.circuit = NEW
        self.now_s = 0.0
        self.row = 0

    @rule(seconds=st.floats(0, 400))
    def wait(self, seconds: float) -> None:
        self.now_s += seconds

    @rule()
    def work_succeeds(self) -> None:
        self.circuit = self.circuit.succeeded(now_s=self.now_s)
        assert self.circuit.is_well
        self.row = 0

    @rule(kind=st.booleans())
    def fails(self, kind: bool) -> None:
        before = self.circuit
        self.circuit = before.failed(at_work=kind, now_s=self.now_s)
        self.row += 1
        if before.state == "closed":
            assert (self.circuit.state == "open") is (before.failures == FAILURES_TO_OPEN - 1)

    @rule()
    def probe_succeeds(self) -> None:
        self.circuit = self.circuit.probed_well(now_s=self.now_s)

    @precondition(lambda self: self.circuit.state == "half-open" and not self.circuit.on_trial)
    @rule(outcome=st.sampled_from(["succeeded", "failed", "nothing"]))
    def trial(self, outcome: str) -> None:
        tried = self.circuit.tried(now_s=self.now_s)
        if outcome == "succeeded":
            self.circuit = tried.succeeded(now_s=self.now_s)
            assert self.circuit.state == "closed"
        elif outcome == "failed":
            self.circuit = tried.failed(at_work=True, now_s=self.now_s, is_trial=True)
            assert self.circuit.state == "open"
        else:
            self.circuit = tried.untried()
            assert self.circuit.takes_work

    @invariant()
    def pauses_are_bounded(self) -> None:
        assert self.circuit.failures < FAILURES_TO_OPEN
        assert (self.circuit.rounds == 0) is (self.circuit.state == "closed")
        if self.circuit.state == "open":
            assert self.circuit.until_s <= self.now_s + 300  # not the difference, which is rounded
        if self.row == 0:
            assert self.circuit.is_well


TestStory = Story.TestCase
