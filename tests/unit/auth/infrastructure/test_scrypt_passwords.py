"""scrypt: the standard's vectors, and a bounded number of places that never stall anybody else."""

import asyncio
import subprocess
import sys
import threading
from collections.abc import Awaitable
from contextlib import ExitStack
from dataclasses import replace

import pytest

from auth.application.passwords import TooManyPasswords
from auth.domain.password import PasswordHash, ScryptCost
from auth.infrastructure import scrypt_passwords
from auth.infrastructure.scrypt_passwords import MAX_WAITING, WORKERS, open_passwords, scrypt
from shared import memory
from tests.unit.auth.world import CHEAP


@pytest.mark.parametrize(
    ("password", "salt", "cost", "derived"),
    [
        (
            b"",
            b"",
            ScryptCost(16, 1, 1),
            "77d6576238657b203b19ca42c18a0497f16b4844e3074ae8dfdffa3fede21442"
            "fcd0069ded0948f8326a753a0fc81f17e8d3e0fb2e0d3628cf35e20c38d18906",
        ),
        (
            b"password",
            b"NaCl",
            ScryptCost(1024, 8, 16),
            "fdbabe1c9d3472007856e7190d01e9fe7c6ad7cbc8237830e77376634b373162"
            "2eaf30d92e22a3886ff109279d9830dac727afb94a83ee6d8360cbdfa2cc0640",
        ),
        (
            b"pleaseletmein",
            b"SodiumChloride",
            ScryptCost(),
            "7023bdcb3afd7348461c06cd81fd38ebfda8fbba904f8e3ea9b543f6545da1f2"
            "d5432955613f0fcf62d49705242a9af9e61e85dc0d651e40dfcf017b45575887",
        ),
    ],
)
def test_the_vectors_of_rfc_7914_come_out(password: bytes, salt: bytes, cost: ScryptCost, derived: str) -> None:
    assert scrypt(password, salt, cost).hex() == derived


@pytest.mark.asvs("6.2.8")
async def test_a_hash_is_right_for_its_password_only() -> None:
    with open_passwords(CHEAP) as passwords, passwords.place() as place:
        stored = await place.hash("a pass phrase with ümlauts 🥜")

        assert await place.is_right("a pass phrase with ümlauts 🥜", stored)
        assert not await place.is_right("a pass phrase with umlauts 🥜", stored)
        assert not await place.is_right("", stored)


def test_the_platform_hashes_at_the_cost_of_the_contract() -> None:
    with open_passwords(ScryptCost()) as passwords:
        stored = PasswordHash.parse(passwords.hash("password"))

    assert (stored.cost.n, stored.cost.r, stored.cost.p) == (16384, 8, 1)
    assert (len(stored.salt), len(stored.digest)) == (32, 64)


def test_two_hashes_of_one_password_differ() -> None:
    with open_passwords(CHEAP) as passwords:
        assert passwords.hash("password") != passwords.hash("password")


async def test_nobodys_password_costs_the_same_work_and_is_never_right() -> None:
    costs: list[ScryptCost] = []

    def derive(password: bytes, salt: bytes, cost: ScryptCost) -> bytes:
        costs.append(cost)
        return scrypt(password, salt, cost)

    with open_passwords(CHEAP, derive) as passwords, passwords.place() as place:
        stored = await place.hash("password")
        costs.clear()

        assert await place.is_right("password", stored)
        assert not await place.is_right("password", None)

    assert costs == [CHEAP, CHEAP]


class Work:
    """Counts what scrypt has to do."""

    def __init__(self) -> None:
        self._done = 0

    def derive(self, password: bytes, salt: bytes, cost: ScryptCost) -> bytes:
        self._done += cost.work
        return scrypt(password, salt, cost)

    async def of(self, check: Awaitable[bool]) -> tuple[bool, int]:
        """What the check says, and what it costs."""
        before = self._done
        return await check, self._done - before


@pytest.mark.parametrize("p_before", [1, 2, 5])
@pytest.mark.parametrize("p_today", [1, 2, 5])
async def test_every_check_costs_as_much_as_that_of_the_dearest_hash(p_before: int, p_today: int) -> None:
    work = Work()
    with open_passwords(replace(CHEAP, p=p_before)) as earlier:
        old = earlier.hash("password")
    with open_passwords(replace(CHEAP, p=p_today), work.derive) as passwords, passwords.place() as place:
        new = await place.hash("password")
        passwords.notice(old)

        checks = [
            await work.of(place.is_right(given, stored))
            for stored in (None, new, old)
            for given in ("password", "another one")
        ]

    dearest = replace(CHEAP, p=max(p_before, p_today)).work
    assert checks == [(is_right, dearest) for is_right in (False, False, True, False, True, False)]


async def test_a_dearer_hash_is_noticed_when_it_is_seen_and_not_forgotten() -> None:
    work = Work()
    with open_passwords(replace(CHEAP, p=3)) as elsewhere:
        dearer = elsewhere.hash("password")
    with open_passwords(CHEAP, work.derive) as passwords, passwords.place() as place:
        cheaper = await place.hash("password")
        before = await work.of(place.is_right("password", None))
        seen = await work.of(place.is_right("password", dearer))
        passwords.notice(cheaper)
        after = await work.of(place.is_right("password", None))

    assert (before[1], seen[1], after[1]) == (CHEAP.work, 3 * CHEAP.work, 3 * CHEAP.work)


async def test_a_hash_at_another_cost_is_right_and_outdated() -> None:
    with open_passwords(CHEAP) as older:
        stored = older.hash("password")

    with open_passwords(ScryptCost(n=16, r=1, p=5)) as newer, newer.place() as place:
        assert await place.is_right("password", stored)
        assert place.is_outdated(stored)
        assert not place.is_outdated(await place.hash("password"))


async def test_the_loop_runs_on_while_passwords_are_hashed() -> None:
    go_on = threading.Event()

    def derive(password: bytes, salt: bytes, cost: ScryptCost) -> bytes:
        assert go_on.wait(30)
        return scrypt(password, salt, cost)

    with open_passwords(CHEAP, derive) as passwords, passwords.place() as place:
        hashing = [asyncio.create_task(place.hash("password")) for _ in range(WORKERS * 3)]
        for _ in range(100):
            await asyncio.sleep(0)  # would never return if the loop hashed

        assert not any(task.done() for task in hashing)
        go_on.set()
        assert len(set(await asyncio.gather(*hashing))) == len(hashing)


async def test_more_than_may_wait_are_refused_until_a_place_is_free() -> None:
    with open_passwords(CHEAP) as passwords, ExitStack() as places:
        for _ in range(WORKERS + MAX_WAITING - 1):
            places.enter_context(passwords.place())
        with passwords.place(), pytest.raises(TooManyPasswords) as refused, passwords.place():
            pass

        with passwords.place():
            pass

    assert (refused.value.code, refused.value.reason, refused.value.retry_after) == ("unavailable", "overloaded", 1)


async def test_a_place_is_free_again_after_a_failure() -> None:
    with open_passwords(CHEAP) as passwords:
        for _ in range(2 * (WORKERS + MAX_WAITING)):
            with pytest.raises(KeyError), passwords.place():
                raise KeyError


def test_the_memory_of_hashes_is_given_back_when_nobody_logs_in() -> None:
    program = """
import asyncio, os
from auth.domain.password import ScryptCost
from auth.infrastructure import scrypt_passwords

def resident_mb():
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6

async def main():
    with scrypt_passwords.open_passwords(ScryptCost()) as passwords:
        before = resident_mb()
        async def one():
            with passwords.place() as place:
                await place.hash("x")
        await asyncio.gather(*(one() for _ in range(4)))
        scrypt_passwords.memory.give_back()
        print(round(resident_mb() - before))

asyncio.run(main())
"""

    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert int(shown.stdout) < 8


async def test_what_hashes_took_is_given_back_some_time_after_the_last_one(monkeypatch: pytest.MonkeyPatch) -> None:
    given_back = asyncio.Event()
    monkeypatch.setattr(scrypt_passwords, "IDLE_S", 0.05)
    monkeypatch.setattr(memory, "give_back", given_back.set)
    with open_passwords(CHEAP) as passwords:
        for _ in range(2):
            with passwords.place() as place:
                await place.hash("x")
            assert not given_back.is_set()
        await asyncio.wait_for(given_back.wait(), 5)
