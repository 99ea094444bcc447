"""What the benchmark takes for clients who were not noticed, or not recorded."""

from dataclasses import replace

import pytest

from tests.bench.goals import Figures, Verdict, standings
from tests.bench.leaving import Leaving, Moment

TIMES_MS = {(Moment.UNSTREAMED, 1): {"p99": 60.0}, (Moment.AFTER_TOKEN, 64): {"p99": 101.0}}
ALL = Leaving(times_ms=TIMES_MS, left=65, noticed=65, recorded=65, stolen_percent=0)


def test_all_noticed_and_recorded_once_is_complete() -> None:
    assert ALL.complete


@pytest.mark.parametrize("counts", [{"noticed": 64}, {"recorded": 64}, {"recorded": 66}])
def test_one_missing_or_recorded_twice_is_not(counts: dict[str, int]) -> None:
    assert not replace(ALL, **counts).complete  # type: ignore[arg-type]  # mypy takes them for any field


def test_the_slowest_of_a_hundred_is_what_the_goal_speaks_of() -> None:
    figures = Figures(rows={}, rested_memory_mb={}, start_s=None, scrypt_ms=None, leaving_ms=ALL.times_ms)

    verdicts = {
        line.title: line.verdict
        for line in standings(figures)
        if "leaves" in line.title and line.verdict is not Verdict.NOT_MEASURED
    }

    assert verdicts == {
        "client leaves an unstreamed dispatch → agent left, 1 at once, p99": Verdict.MUST_MET,
        "client leaves a stream after its first token → agent left, 64 at once, p99": Verdict.BELOW_MUST,
    }
