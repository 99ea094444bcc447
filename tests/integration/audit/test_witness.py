"""How the audit service asks a real witness, and what it makes of its answers."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from audit.application.witnessing import WitnessContradicts, WitnessRefuses, WitnessSawAnother, WitnessSilent
from audit.infrastructure.bus_witness import BusWitness
from shared.tlog.notes import CosignatureVerifier, open_note
from tests.integration.bus import Nats, bus_as
from tests.integration.witness.installation import Witness
from tests.unit.witness.logs import Log


@pytest.fixture
def witness(nats: Nats, tmp_path: Path) -> Iterator[Witness]:
    witness = Witness(nats, tmp_path)
    witness.start()
    yield witness
    witness.end()


async def add(asked: BusWitness, log: Log, old: int, new: int, branch: str = "") -> str:
    addition = log.addition(old, new, branch)
    return await asked.add(
        addition.note,
        old_size=old,
        proof=addition.proof,
        log_key=log.signer.verifier.text,
        key_changes=addition.key_changes,
    )


@pytest.mark.usefixtures("witness")
async def test_the_answers_of_a_witness(nats: Nats) -> None:
    log = Log()
    async with bus_as(nats, "audit") as bus:
        asked = BusWitness(bus)
        before = await asked.last()
        line = await add(asked, log, 0, 9)
        after = await asked.last()

        with pytest.raises(WitnessSawAnother):
            await add(asked, log, 0, 10)
        with pytest.raises(WitnessContradicts):
            await add(asked, log, 9, 10, "forged")
        with pytest.raises(WitnessRefuses):
            await add(asked, Log(), 9, 10)

    assert before.note is None
    assert after.note == log.note(9) + line
    assert open_note(after.note, [CosignatureVerifier.parse(after.key)]) == log.checkpoint(9).text


async def test_a_witness_that_is_not_there_is_silent(nats: Nats) -> None:
    async with bus_as(nats, "audit") as bus:
        with pytest.raises(WitnessSilent):
            await BusWitness(bus).last()
        with pytest.raises(WitnessSilent):
            await add(BusWitness(bus), Log(), 0, 9)
