"""Giving memory back to the system."""

import asyncio
import subprocess
import sys
from itertools import accumulate

import pytest

from shared import memory
from shared.memory import keep_giving_back, resident_bytes
from tests.waiting import until

PROGRAM = """
import asyncio
from shared import memory

memory.LOOK_EVERY_S = 0.05

async def main():
    task = asyncio.create_task(memory.keep_giving_back())
    await asyncio.sleep(0.01)
    before = memory.resident_bytes()
    blocks = [bytes([n % 7 + 1]) * 60_000 for n in range(1_000)]
    last = bytes(100)  # what is still held at the end of the heap keeps the C library from giving back by itself
    peak = memory.resident_bytes()
    del blocks
    for _ in range(200):
        await asyncio.sleep(0.05)
        if memory.resident_bytes() < before + 10_000_000:
            break
    print(peak - before > 50_000_000, memory.resident_bytes() - before < 10_000_000, task.done())

asyncio.run(main())
"""


def test_what_was_needed_for_a_moment_is_given_back() -> None:
    shown = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)

    assert shown.stdout.split() == ["True", "True", "False"]


async def test_a_process_that_does_not_grow_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[int] = []
    given: list[int] = []

    def look() -> int:
        looks.append(1)
        return 50_000_000

    monkeypatch.setattr(memory, "LOOK_EVERY_S", 0.001)
    monkeypatch.setattr(memory, "BUSY_SHARE", 10)  # more than it can be
    monkeypatch.setattr(memory, "resident_bytes", look)
    monkeypatch.setattr(memory, "give_back", lambda: given.append(1))
    task = asyncio.create_task(keep_giving_back())
    await until(lambda: len(looks) > 20)
    task.cancel()

    assert given == []
    assert resident_bytes() > 1_000_000


@pytest.mark.parametrize(
    ("cpu_s", "times"),
    [([0.0] * 9, 0), ([9.0, 0.0, 0.0, 0.0], 1), ([9.0] * 9, 0), ([9.0, 0.0, 9.0, 9.0, 0.0, 0.0], 2)],
)
async def test_a_process_gives_back_once_when_it_comes_to_rest(
    monkeypatch: pytest.MonkeyPatch, cpu_s: list[float], times: int
) -> None:
    given: list[int] = []
    spent = accumulate(cpu_s, initial=0.0)

    def process_time() -> float:
        for seconds in spent:
            return seconds
        raise asyncio.CancelledError

    monkeypatch.setattr(memory, "LOOK_EVERY_S", 0.001)
    monkeypatch.setattr(memory, "resident_bytes", lambda: 50_000_000)
    monkeypatch.setattr(memory, "give_back", lambda: given.append(1))
    monkeypatch.setattr("shared.memory.gc.collect", lambda: given.append(-1))
    monkeypatch.setattr("shared.memory.time.process_time", process_time)
    task = asyncio.create_task(keep_giving_back())
    await asyncio.wait([task])

    assert task.cancelled()
    assert given == [-1, 1] * times
