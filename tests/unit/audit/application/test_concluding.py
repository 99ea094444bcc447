import asyncio
from pathlib import Path

import orjson

from audit.application.appends import Appends
from audit.application.concluding import Concluder
from audit.application.knowledge import Knowledge
from audit.infrastructure.sqlite_writer import SqliteLogWriter, open_writer
from shared.clock import unix_ms
from tests.unit.audit.application.test_appends import BrokenWriter
from tests.unit.audit.logs import draft, fill, stored
from tests.waiting import until

LONG_AGO = 1_000_000


def concluder(writer: SqliteLogWriter, *, grace: float = 60.0, every: float = 5.0) -> Concluder:
    return Concluder(Appends(writer, Knowledge()), writer, grace=grace, every=every)


async def test_an_intent_that_nobody_concluded_gets_an_unknown_outcome_from_audit(log_file: Path) -> None:
    await fill(log_file, [draft(id="e", phase="intent", outcome=None, conclude_by=LONG_AGO, action="agent.created")])

    async with open_writer(log_file) as writer:
        assert await concluder(writer).conclude() == 1
        assert await concluder(writer).conclude() == 0

    ((body, personal),) = stored(log_file, "SELECT body, personal FROM entries WHERE phase = 'outcome'")
    entry = orjson.loads(body)
    assert entry["source"] == "audit"
    assert (entry["id"], entry["outcome"], entry["action"]) == ("e", "unknown", "agent.created")
    assert (entry["userId"], entry["resourceId"], entry["details"]) == ("user-1", "agent-1", {"intentIndex": 0})
    assert orjson.loads(personal)["userEmail"]["value"] == "ann@example.org"


async def test_an_intent_that_was_concluded_or_is_not_yet_due_is_left_alone(log_file: Path) -> None:
    await fill(
        log_file,
        [
            draft(id="done", phase="intent", outcome=None, conclude_by=LONG_AGO),
            draft(id="done"),
            draft(id="early", phase="intent", outcome=None, conclude_by=unix_ms() - 59_000),
            draft(id="endless", phase="intent", outcome=None),
            draft(id="odd"),
            draft(id="odd", phase="intent", outcome=None, conclude_by=LONG_AGO),
        ],
    )

    async with open_writer(log_file) as writer:
        assert await concluder(writer).conclude() == 0


async def test_an_intent_that_comes_after_its_outcome_is_not_waited_for(log_file: Path) -> None:
    await fill(log_file, [draft(id="late")])
    await fill(log_file, [draft(id="late", phase="intent", outcome=None, conclude_by=LONG_AGO), draft(id="late")])

    assert stored(log_file, "SELECT count(*) FROM open_intents") == [(0,)]
    assert stored(log_file, "SELECT count(*) FROM entries") == [(2,)]


async def test_replicas_that_race_conclude_once(log_file: Path) -> None:
    await fill(log_file, [draft(id=f"e{n}", phase="intent", outcome=None, conclude_by=n) for n in range(300)])

    async with open_writer(log_file) as one, open_writer(log_file) as other:
        first, second = concluder(one, grace=0, every=0.01), concluder(other, grace=0, every=0.01)
        async with first.running(), second.running():
            await until(lambda: stored(log_file, "SELECT count(*) FROM open_intents") == [(0,)])

    assert stored(log_file, "SELECT count(*) FROM entries WHERE outcome = 'unknown'") == [(300,)]


async def test_nothing_is_concluded_within_the_grace_after_the_start(log_file: Path) -> None:
    await fill(log_file, [draft(phase="intent", outcome=None, conclude_by=LONG_AGO)])

    async with open_writer(log_file) as writer, concluder(writer, grace=30, every=0.01).running():
        await asyncio.sleep(0.1)

    assert stored(log_file, "SELECT count(*) FROM entries") == [(1,)]


async def test_failures_do_not_end_the_rounds() -> None:
    for error in (RuntimeError("a mistake of ours"),):
        broken = BrokenWriter(error)
        async with Concluder(Appends(broken, Knowledge()), broken, grace=0, every=0.01).running():
            await asyncio.sleep(0.05)
