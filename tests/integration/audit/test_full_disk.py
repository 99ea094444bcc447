"""A disk that is really full: nothing acknowledged is lost, and the service comes back by itself."""

import asyncio
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.audit import AuditUnavailable
from shared.audit.appender import Appender
from shared.bus import NOTHING, Bus, call_context
from shared.contracts.audit import QUERY, Query, Receipt
from shared.contracts.health import Health, health_contract
from shared.errors import PlatformError
from shared.principal import Role
from tests.integration.audit.installation import Installation, by, running
from tests.integration.audit.test_service import entry
from tests.integration.bus import Nats, bus_as

BACK_WITHIN_S = 20.0
ADDED = 200


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 6 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", place], check=True)
    yield place
    subprocess.run(["umount", "--lazy", place], check=True)  # a process that ends may still have a file open there


@pytest.fixture
def audit(nats: Nats, disk: Path) -> Iterator[Installation]:
    with running(nats, disk) as installation:
        yield installation


def enlarge(disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,size=40m", disk], check=True)


async def health(edge: Bus) -> Health:
    return await edge.call(health_contract("audit"), NOTHING, call_context(seconds=5))


async def fill(appender: Appender, edge: Bus) -> list[Receipt]:
    """Appends until not even one entry finds room, and returns the receipts."""
    receipts: list[Receipt] = []
    together = 50
    while True:
        try:
            receipts += await asyncio.gather(*(appender.append(entry()) for _ in range(together)))
        except AuditUnavailable:
            if together == 1 and not (await health(edge)).healthy:
                return receipts
            together = 1  # where fifty find no room, one may


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a file system that is small")
async def test_a_full_disk_loses_nothing_and_is_survived(nats: Nats, disk: Path, audit: Installation) -> None:
    async with bus_as(nats, "edge") as edge:
        appender = Appender(edge)
        receipts = await fill(appender, edge)
        with pytest.raises(AuditUnavailable):
            await appender.append(entry())
        await asyncio.to_thread(enlarge, disk)
        async with asyncio.timeout(BACK_WITHIN_S):
            while True:
                try:
                    receipts.append(await appender.append(entry()))
                    break
                except AuditUnavailable:
                    continue
        receipts += await asyncio.gather(*(appender.append(entry()) for _ in range(ADDED)))
        async with asyncio.timeout(BACK_WITHIN_S):
            while True:
                try:
                    page = await edge.call(QUERY, Query(limit=1), by(Role.OPERATOR, seconds=20))
                    if page.integrity_valid and (await health(edge)).healthy:
                        break
                except PlatformError:
                    pass
                await asyncio.sleep(0.1)
    audit.end()

    entries = {index: fingerprint.hex() for index, fingerprint, _, _ in audit.entries()}
    assert len(receipts) > ADDED + 50
    assert [receipt for receipt in receipts if entries.get(receipt.index) != receipt.fingerprint] == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a file system that is small")
@pytest.mark.usefixtures("audit")
async def test_a_disk_that_fills_is_warned_of_in_time(nats: Nats, disk: Path) -> None:
    async with bus_as(nats, "edge") as edge:
        before = await health(edge)
        taken = os.statvfs(disk)
        missing = int(taken.f_blocks * 0.85) - (taken.f_blocks - taken.f_bfree)
        (disk / "other").write_bytes(bytes(missing * taken.f_frsize))
        after = await health(edge)

    assert (before.healthy, before.message) == (True, "")
    assert after.healthy
    assert "full" in after.message
