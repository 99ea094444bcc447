"""What agents' attempts come to, in SQL."""

from datetime import UTC, datetime, timedelta

from sqlalchemy import func, select

from orchestrator.domain.metrics import WINDOWS, Attempted, Sums, added_up
from orchestrator.infrastructure.sql_agents import SqlAgents
from orchestrator.infrastructure.sql_metrics import DAYS, HOURS, MINUTES, SqlMetrics
from shared.clean_up import clean_up
from shared.database import Database
from tests.unit.orchestrator.agents import agent

NOW = datetime(2026, 11, 22, 10, 30, tzinfo=UTC)
MINUTE = int(NOW.timestamp()) // 60
TODAY = MINUTE // (24 * 60)
ALL = range((TODAY - 100) * 24 * 60, (TODAY + 1) * 24 * 60, 60)
"""Steps of an hour in which all is."""


def sums(count: int = 1, latency_ms: float = 10.0) -> Sums:
    made = Sums()
    for _ in range(count):
        made.add(Attempted("success", latency_ms, 5.0, 2, 3))
    made.add(Attempted("timeout", 1000.0))
    return made


def as_told(told: Sums) -> tuple[object, ...]:
    counts = (told.latency.counts, told.first_token.counts)
    return told.outcomes, told.prompt_tokens, told.completion_tokens, told.latency_ms, *counts


async def hours(metrics: SqlMetrics, id: str) -> list[tuple[int, Sums]]:
    """The hours in which anything was done."""
    found = zip(ALL, await metrics.series(id, ALL), strict=True)
    return [(minute, sums) for minute, sums in found if sums.request_count]


async def rows(database: Database) -> tuple[int, ...]:
    async with database.reading() as connection:
        return tuple(
            [
                (await connection.execute(select(func.count()).select_from(table))).scalar_one()
                for table in (MINUTES, HOURS, DAYS)
            ]
        )


async def test_what_was_saved_is_read_as_it_was(database: Database) -> None:
    metrics = SqlMetrics(database, replica="a")
    await metrics.save({("x", MINUTE): sums(3), ("y", MINUTE): sums(9)}, {("x", TODAY): sums(4)})

    [before, told, after] = await metrics.series("x", range(MINUTE - 1, MINUTE + 2))
    of_day = await metrics.of_day("x", TODAY)

    assert (as_told(told), as_told(of_day)) == (as_told(sums(3)), as_told(sums(4)))
    assert as_told(before) == as_told(after) == as_told(Sums())
    assert (await metrics.of_day("x", TODAY - 1)).request_count == 0
    assert await hours(metrics, "z") == []


async def test_a_replica_that_saves_again_counts_once_and_replicas_add_up(database: Database) -> None:
    one, other = SqlMetrics(database, replica="a"), SqlMetrics(database, replica="b")
    for count in (1, 2, 2):
        await one.save({("x", MINUTE): sums(count)}, {("x", TODAY): sums(count)})
    await other.save({("x", MINUTE): sums(5, 20.0)}, {("x", TODAY): sums(5, 20.0)})

    together = as_told(added_up([sums(2), sums(5, 20.0)]))
    assert as_told(added_up(await one.series("x", ALL))) == together
    assert as_told(await one.of_day("x", TODAY)) == together
    ever = (await one.since_ever())["x"]
    assert as_told(ever)[:-1] == together[:-1]


async def test_minutes_become_hours_after_a_day_and_nothing_is_lost_or_counted_twice(database: Database) -> None:
    metrics, other = SqlMetrics(database, replica="a"), SqlMetrics(database, replica="b")
    hours_ago = {ago: MINUTE - 60 * ago for ago in (0, 24, 26, 27, 700)}
    minutes = {(id, minute): sums() for id in "xy" for minute in hours_ago.values()}
    await metrics.save({**minutes, ("x", hours_ago[27] + 1): sums()}, {})
    await other.save(minutes, {})
    before = {id: await hours(metrics, id) for id in "xy"}

    for _ in range(3):
        await clean_up(metrics, other, now=NOW)

    assert await rows(database) == (2 * 2 * 2, 2 * 3, 0)
    for id in "xy":
        after = await hours(metrics, id)
        assert [minute for minute, _ in after] == [ago // 60 * 60 for ago in sorted(hours_ago.values())]
        assert [as_told(told) for _, told in after] == [as_told(told) for _, told in before[id]]


async def test_a_minute_that_comes_late_is_added_to_its_hour(database: Database) -> None:
    metrics = SqlMetrics(database, replica="a")
    long_ago = MINUTE - 40 * 60
    for minute in (long_ago, long_ago + 1):
        await metrics.save({("x", minute): sums(2)}, {})
        await clean_up(metrics, now=NOW)

    [(hour, told)] = await hours(metrics, "x")

    assert (hour, as_told(told)) == (long_ago // 60 * 60, as_told(added_up([sums(2), sums(2)])))


async def test_what_was_done_is_told_in_the_step_it_is_in(database: Database) -> None:
    metrics = SqlMetrics(database, replica="a")
    steps = WINDOWS["6h"].steps(MINUTE + 2)
    minutes = (steps.start - 1, steps.start, steps.start + 4, steps.start + 5, steps.stop - 1, steps.stop)
    await metrics.save({("x", minute): sums() for minute in minutes}, {})

    counts = [told.request_count for told in await metrics.series("x", steps)]

    assert (counts[:3], counts[-1], sum(counts), len(counts)) == ([4, 2, 0], 2, 8, 72)


async def test_an_hour_is_rolled_up_in_as_many_pieces_as_it_takes(database: Database) -> None:
    metrics = SqlMetrics(database, replica="a")
    long_ago = (MINUTE - 40 * 60) // 60 * 60
    await metrics.save({(id, long_ago + minute): sums() for id in "xyz" for minute in range(60)}, {})

    removed: list[int] = []
    while not removed or removed[-1]:
        removed.append(await metrics.remove_expired(now=NOW, limit=50))

    assert removed == [50, 50, 50, 30, 0]
    assert [told.request_count for _, told in await hours(metrics, "y")] == [120]


async def test_hours_are_kept_for_31_days(database: Database) -> None:
    metrics = SqlMetrics(database, replica="a")
    await metrics.save({("x", MINUTE - 24 * 60 * days): sums() for days in (30, 31, 32, 33)}, {})

    await clean_up(metrics, now=NOW)

    assert await rows(database) == (0, 2, 0)


async def test_what_there_is_since_ever_stays_when_days_pass_and_processes_come_and_go(database: Database) -> None:
    await SqlAgents(database).add(agent("x"))
    for day in range(TODAY - 60, TODAY + 1):
        metrics = SqlMetrics(database, replica=f"replica-{day}")
        await metrics.save({}, {("x", day): sums()})
        counted = (await metrics.since_ever())["x"].request_count
        await clean_up(metrics, now=NOW + timedelta(days=day - TODAY))

        assert (await metrics.since_ever())["x"].request_count == counted == 2 * (day - TODAY + 61)

    assert await rows(database) == (0, 0, 3)


async def test_a_removed_agent_is_forgotten_after_a_month(database: Database) -> None:
    await SqlAgents(database).add(agent("kept"))
    metrics = SqlMetrics(database, replica="a")
    await metrics.save({}, {("kept", TODAY - 40): sums(), ("removed", TODAY - 40): sums(), ("late", TODAY - 9): sums()})

    for _ in range(2):
        await clean_up(metrics, now=NOW)

    assert set(await metrics.since_ever()) == {"kept", "late"}
