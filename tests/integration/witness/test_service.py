"""The witness on a real bus."""

import asyncio
import base64
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.bus import NOTHING, Bus, call_context
from shared.contracts.health import health_contract
from shared.contracts.witness import ADD_CHECKPOINT, INCONSISTENT, LAST_CHECKPOINT, STALE_SIZE, AddCheckpoint
from shared.errors import ErrorCode, PlatformError, RemoteFailure
from shared.tlog.notes import CosignatureVerifier, open_note
from tests.integration.bus import Nats, bus_as
from tests.integration.witness.installation import Witness
from tests.unit.witness.logs import Log
from tests.waiting import until


@pytest.fixture
def witness(nats: Nats, tmp_path: Path) -> Iterator[Witness]:
    witness = Witness(nats, tmp_path)
    witness.start()
    yield witness
    witness.end()


def request(log: Log, old: int, new: int, branch: str = "") -> AddCheckpoint:
    addition = log.addition(old, new, branch)
    return AddCheckpoint(
        old_size=old,
        proof=[base64.b64encode(hash).decode() for hash in addition.proof],
        checkpoint=addition.note,
        log_key=log.signer.verifier.text,
    )


async def add(bus: Bus, log: Log, old: int, new: int, branch: str = "") -> str:
    cosigned = await bus.call(ADD_CHECKPOINT, request(log, old, new, branch), call_context(seconds=10))
    return cosigned.cosignature


async def last(bus: Bus) -> str | None:
    return (await bus.call(LAST_CHECKPOINT, NOTHING, call_context(seconds=10))).checkpoint


async def test_the_log_has_its_checkpoints_cosigned(nats: Nats, witness: Witness) -> None:
    log = Log()
    public = CosignatureVerifier.parse((witness.directory / "witness.pub").read_text().rstrip("\n"))
    async with bus_as(nats, "audit") as audit:
        assert await last(audit) is None

        for old, new in [(0, 10), (10, 300), (300, 300)]:
            note = log.note(new) + await add(audit, log, old, new)

            assert open_note(note, [public]) == log.checkpoint(new).text
            assert await last(audit) == note


async def test_it_remembers_through_a_kill(nats: Nats, witness: Witness) -> None:
    log = Log()
    async with bus_as(nats, "audit") as audit:
        await add(audit, log, 0, 10)
        before = await last(audit)
        witness.kill()
        witness.start()

        with pytest.raises(RemoteFailure) as stale:
            await add(audit, log, 0, 5)
        with pytest.raises(RemoteFailure) as forged:
            await add(audit, log, 10, 20, "forged")
        with pytest.raises(RemoteFailure) as strange:
            await add(audit, Log(), 10, 20)

        assert await last(audit) == before
        assert await add(audit, log, 10, 20)
    assert (stale.value.code, stale.value.reason) == (ErrorCode.CONFLICT, STALE_SIZE)
    assert (forged.value.code, forged.value.reason) == (ErrorCode.CONFLICT, INCONSISTENT)
    assert strange.value.code is ErrorCode.FORBIDDEN


async def test_what_it_has_cosigned_survives_a_kill_at_any_moment(nats: Nats, witness: Witness) -> None:
    log = Log()
    size = 0
    async with bus_as(nats, "audit") as audit:
        for enough in (1, 2, 5):
            cosigned = await killed_while_cosigning(witness, audit, log, start=size, enough=enough)
            witness.start()
            note = await last(audit)

            assert note is not None
            size = int(note.split("\n")[1])
            assert cosigned <= size <= cosigned + 1
            assert note.startswith(log.checkpoint(size).text)


async def killed_while_cosigning(witness: Witness, audit: Bus, log: Log, *, start: int, enough: int) -> int:
    """Kills it once it has cosigned so many of the checkpoints that it is shown; the size of the last of them."""
    cosigned = [start]

    async def go_on() -> None:
        while True:
            await add(audit, log, cosigned[-1], cosigned[-1] + 1)
            cosigned.append(cosigned[-1] + 1)

    going = asyncio.create_task(go_on())
    await until(lambda: len(cosigned) > enough, within=30)
    witness.kill()
    going.cancel()
    await asyncio.gather(going, return_exceptions=True)
    return cosigned[-1]


@pytest.mark.parametrize("user", ["edge", "operator", "auth", "orchestrator"])
async def test_nobody_else_has_anything_cosigned_or_asks_what_was(nats: Nats, witness: Witness, user: str) -> None:
    log = Log()
    async with bus_as(nats, user) as other, bus_as(nats, "audit") as audit:
        for call in (
            other.call(ADD_CHECKPOINT, request(log, 0, 5), call_context(seconds=0.5)),
            other.call(LAST_CHECKPOINT, NOTHING, call_context(seconds=0.5)),
        ):
            with pytest.raises(PlatformError):
                await call

        assert await last(audit) is None


async def test_what_is_no_request_is_refused_and_changes_nothing(nats: Nats, witness: Witness) -> None:
    log = Log()
    good = request(log, 0, 5)
    async with bus_as(nats, "audit") as audit:
        for bad in (
            good.model_copy(update={"proof": ["no base64"]}),
            good.model_copy(update={"proof": [base64.b64encode(bytes(32)).decode()] * 64}),
            good.model_copy(update={"old_size": -1}),
            good.model_copy(update={"log_key": "x"}),
            good.model_copy(update={"checkpoint": "x" * 5000}),
        ):
            with pytest.raises(RemoteFailure) as refused:
                await audit.call(ADD_CHECKPOINT, bad, call_context(seconds=10))
            assert refused.value.code is ErrorCode.INVALID

        assert await last(audit) is None


async def test_it_says_that_it_is_well(nats: Nats, witness: Witness) -> None:
    async with bus_as(nats, "edge") as edge:
        health = await edge.call(health_contract("witness"), NOTHING, call_context(seconds=10))

    assert (health.healthy, health.message) == (True, "")


def test_it_does_not_start_with_a_damaged_memory(nats: Nats, tmp_path: Path) -> None:
    witness = Witness(nats, tmp_path)
    (witness.directory / "memory").write_text("")

    said = witness.refuses_to_start()

    assert said.splitlines() == [f"{witness.directory / 'memory'} is damaged: not a key"]


@pytest.mark.usefixtures("witness")
def test_a_second_one_does_not_start_beside_it(nats: Nats, tmp_path: Path) -> None:
    said = Witness(nats, tmp_path).refuses_to_start()

    assert said.splitlines() == [f"another witness is at work in {tmp_path / 'witness'}"]
