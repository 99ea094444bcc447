"""How probes and work together decide whether an agent takes work."""

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.health import Health

NOW = datetime(2026, 11, 22, tzinfo=UTC)


def well(health: Health, *, now_s: float = 0) -> Health:
    return health.probed_well("Answers.", latency_ms=1.0, at=NOW, now_s=now_s)


def badly(health: Health) -> Health:
    return health.probed_badly("Gone.", at=NOW)


def failed(health: Health, times: int = 1, *, now_s: float = 0) -> Health:
    for _ in range(times):
        health = health.failed("Failed.", now_s=now_s)
    return health


ONLINE = well(Health())


def test_nobody_takes_work_before_the_first_probe() -> None:
    assert not Health().takes_work
    assert ONLINE.takes_work


def test_a_failed_probe_is_offline_at_once_and_pauses_grow_to_thirty_seconds() -> None:
    health, pauses = ONLINE, []
    for _ in range(7):
        health = badly(health)
        pauses.append(health.pause_s)

    assert health.status == "offline"
    assert pauses == [1, 2, 4, 8, 16, 30, 30]
    assert well(health).status == "online"


def test_pauses_after_slow_failures_are_longer_until_it_answers_or_fails_fast() -> None:
    health, pauses = ONLINE, []
    for _ in range(7):
        health = health.probed_badly("Silent.", at=NOW, was_slow=True)
        pauses.append(health.pause_s)

    assert pauses == [4, 8, 16, 32, 64, 120, 120]
    assert badly(health).pause_s == 30
    assert well(health).pause_s == health.succeeded().pause_s == 1


def test_successes_may_be_counted_together() -> None:
    for health in (ONLINE, failed(ONLINE, 3), badly(ONLINE)):
        assert health.succeeded(3) == health.succeeded().succeeded().succeeded()


def test_failed_work_degrades_and_three_in_a_row_are_offline() -> None:
    assert [failed(ONLINE, times).status for times in (1, 2, 3)] == ["degraded", "degraded", "offline"]
    assert failed(failed(ONLINE, 2).succeeded(), 2).status == "degraded"


def test_a_probe_acquits_only_after_a_pause() -> None:
    degraded, offline = failed(ONLINE), failed(ONLINE, 3)

    assert (well(degraded, now_s=0.5).status, well(degraded, now_s=1).status) == ("degraded", "online")
    assert (well(offline, now_s=0.5).status, well(offline, now_s=1).status) == ("offline", "online")


def test_one_more_failure_after_an_acquittal_is_offline_for_twice_as_long() -> None:
    health, pauses, now_s = failed(ONLINE, 3), [], 0.0
    for _ in range(6):
        pauses.append(health.pause_s)
        now_s += health.pause_s
        health = failed(well(health, now_s=now_s), now_s=now_s)
        assert health.status == "offline"

    assert pauses == [1, 2, 4, 8, 16, 30]


def test_success_heals() -> None:
    health = failed(ONLINE, 3).succeeded()

    assert (health.status, health.failures_in_row, health.pause_s, health.details) == ("online", 0, 1, "Answers.")


def test_a_refusal_counts_as_a_request_and_no_error() -> None:
    health = ONLINE.refused()

    assert (health.status, health.request_count, health.error_count) == ("online", 1, 0)


@given(st.lists(st.sampled_from(["succeeded", "failed", "refused"])))
def test_counts_add_up(story: list[str]) -> None:
    health = ONLINE
    for event in story:
        health = failed(health) if event == "failed" else getattr(health, event)()

    assert (health.request_count, health.error_count) == (len(story), story.count("failed"))
    assert health.success_rate == (None if not story else round(1 - story.count("failed") / len(story), 4))
