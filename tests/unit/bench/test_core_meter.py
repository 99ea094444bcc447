"""How fast the cores are, and which round of several counts."""

import asyncio
import os
from pathlib import Path

from tests.bench.core_meter import CoreWork, core_meter, cores_noted
from tests.bench.linux import Surroundings
from tests.bench.load import Measured
from tests.bench.report import MeasuredRow
from tests.waiting import until


def measured(*, requests: int, piece_us: float, stolen_percent: float = 0) -> Measured:
    return Measured(
        connections=1,
        seconds=1,
        requests=requests,
        latency_ms={},
        cpu_us={},
        acknowledged=requests,
        errors={},
        first_error=None,
        stolen_percent=stolen_percent,
        others_percent=0,
        piece_us=piece_us,
    )


async def test_a_meter_works_until_its_context_ends(tmp_path: Path) -> None:
    before = dict(os.environ)
    noted: dict[str, float] = {}

    with core_meter(tmp_path / "cores"):
        first = CoreWork.read()
        with cores_noted(noted, "meanwhile"):
            await until(lambda: CoreWork.read().pieces >= first.pieces + 4)
        last = CoreWork.read()
    ended = (tmp_path / "cores").read_bytes()
    await asyncio.sleep(0.3)  # several pieces' time

    assert (tmp_path / "cores").read_bytes() == ended
    assert os.environ == before
    assert 0 < last.fastest_us <= last.piece_us
    assert last.since(first).pieces == last.pieces - first.pieces
    assert noted["meanwhile"] >= last.fastest_us


def test_the_round_in_which_the_neighbours_left_most_counts_whatever_it_brought() -> None:
    beside_a_neighbour = measured(requests=900, piece_us=1000)
    with_stolen_time = measured(requests=800, piece_us=600, stolen_percent=50)
    quiet = measured(requests=700, piece_us=620)

    row = MeasuredRow("dispatch", "", (beside_a_neighbour, with_stolen_time, quiet))

    assert row.measured is quiet


def test_a_round_is_quiet_when_the_cores_were_nearly_at_their_fastest() -> None:
    surroundings = Surroundings(stolen_percent=0, others_percent=0, piece_us=600)

    assert surroundings.is_quiet(fastest_us=520)
    assert not surroundings.is_quiet(fastest_us=500)
    assert not Surroundings(stolen_percent=10, others_percent=0, piece_us=600).is_quiet(fastest_us=520)
