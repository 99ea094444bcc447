"""How probes and work together decide how an agent is said to fare."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.health import Health

NOW = datetime(2026, 11, 22, tzinfo=UTC)


def well(health: Health, *, now_s: float = 0) -> Health:
    return health.probed_well("Answers.", latency_ms=1.0, at=NOW, now_s=now_s)


def badly(health: Health, *, now_s: float = 0, was_slow: bool = False) -> Health:
    return health.probed_badly("Gone.", at=NOW, now_s=now_s, was_slow=was_slow)


def failed(health: Health, times: int = 1) -> Health:
    for _ in range(times):
        health = health.failed("Failed.", now_s=0)
    return health


ONLINE = well(Health())


def test_nobody_takes_work_before_the_first_probe() -> None:
    assert not Health().takes_work
    assert not badly(Health()).takes_work
    assert ONLINE.takes_work


def test_one_failure_degrades_and_three_in_a_row_are_offline() -> None:
    assert [failed(ONLINE, times).status for times in (1, 2, 3)] == ["degraded", "degraded", "offline"]
    assert [health.status for health in (badly(ONLINE), badly(failed(ONLINE)), badly(badly(failed(ONLINE))))] == [
        "degraded",
        "degraded",
        "offline",
    ]
    assert well(badly(ONLINE)).status == "online"


def test_a_probe_says_nothing_against_failed_work() -> None:
    health = well(failed(ONLINE))

    assert (health.status, health.details) == ("degraded", "Failed.")


def test_half_open_is_degraded_and_takes_work() -> None:
    health = well(failed(ONLINE, 3), now_s=10)

    assert (health.status, health.takes_work) == ("degraded", True)


def test_maintenance_hides_all_else_and_takes_no_work() -> None:
    for health in (ONLINE, failed(ONLINE, 3), Health()):
        resting = well(Health(in_maintenance=True, circuit=health.circuit))
        assert (resting.status, resting.takes_work) == ("maintenance", False)


@pytest.mark.parametrize(
    ("health", "pause_s"),
    [
        (ONLINE, 30),
        (failed(ONLINE), 30),
        (badly(ONLINE), 0.5),
        (badly(ONLINE, was_slow=True), 2),
        (failed(ONLINE, 3), 10),
        (badly(badly(badly(Health()), now_s=10), now_s=30), 30),
        (badly(badly(badly(badly(badly(Health()))), now_s=10), now_s=30, was_slow=True), 40),
    ],
)
def test_the_next_probe_comes_sooner_in_a_row_of_failures_and_with_each_trial(health: Health, pause_s: float) -> None:
    began_s = max(health.circuit.until_s - 40, 0) if health.circuit.rounds > 2 else 0

    assert health.pause_s(now_s=began_s) == pause_s


def test_success_heals() -> None:
    health = failed(ONLINE, 3).succeeded(now_s=0)

    assert (health.status, health.circuit.failures, health.details) == ("online", 0, "Answers.")


def test_a_refusal_counts_as_a_request_and_no_error() -> None:
    health = ONLINE.refused(now_s=0)

    assert (health.status, health.request_count, health.error_count) == ("online", 1, 0)
    assert failed(ONLINE, 2).refused(now_s=0).circuit.failures == 2


def test_a_refused_trial_is_an_answer() -> None:
    half_open = well(failed(ONLINE, 3), now_s=10)

    assert half_open.refused(now_s=10, is_trial=True).status == "online"


@given(st.lists(st.sampled_from(["succeeded", "failed", "refused"])))
def test_counts_add_up(story: list[str]) -> None:
    health = ONLINE
    for event in story:
        health = failed(health) if event == "failed" else getattr(health, event)(now_s=0)

    assert (health.request_count, health.error_count) == (len(story), story.count("failed"))
    assert health.success_rate == (None if not story else round(1 - story.count("failed") / len(story), 4))
