import asyncio
import fcntl
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from shared.audit import outbox as module
from shared.audit.appender import AuditUnavailable, EntryRefused
from shared.audit.encoding import Recordable, encode
from shared.audit.outbox import InstanceTaken, Outbox
from tests.unit.shared.audit.logs import entry
from tests.waiting import until


class Destination:
    """Where entries are delivered to."""

    def __init__(self) -> None:
        self.delivered: list[str] = []
        self.away = False
        self.error: Exception | None = None

    async def append(self, new: Recordable) -> None:
        await asyncio.sleep(0)
        if self.error is not None:
            raise self.error
        if self.away:
            raise AuditUnavailable("no")
        if new.user_id == "bad":
            raise EntryRefused("never")
        self.delivered.append(new.id)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "DELIVER_EVERY_S", 0.02)


@pytest.fixture
def there() -> Destination:
    return Destination()


def waiting_in(directory: Path) -> list[Path]:
    return sorted(directory.glob("*.json"))


async def test_what_is_put_is_delivered_and_gone(tmp_path: Path, there: Destination) -> None:
    outbox = Outbox(tmp_path, "auth-1")
    async with outbox.delivering(there.append):
        await outbox.put(entry(id="e1"))
        await until(lambda: there.delivered == ["e1"] and not waiting_in(tmp_path / "auth-1"))


async def test_what_cannot_be_delivered_waits_in_order_for_the_log(tmp_path: Path, there: Destination) -> None:
    outbox = Outbox(tmp_path, "auth-1")
    there.away = True
    async with outbox.delivering(there.append):
        for name in ("e1", "e2", "e3"):
            await outbox.put(entry(id=name))
        await asyncio.sleep(0.1)
        assert len(waiting_in(tmp_path / "auth-1")) == 3

        there.away = False
        await until(lambda: there.delivered == ["e1", "e2", "e3"])


async def test_it_waits_across_a_restart_and_is_only_readable_by_its_owner(tmp_path: Path, there: Destination) -> None:
    there.away = True
    first = Outbox(tmp_path / "outbox", "auth-1")
    async with first.delivering(there.append):
        await first.put(entry(id="e1"))
    there.away = False

    async with Outbox(tmp_path / "outbox", "auth-1").delivering(there.append):
        await until(lambda: there.delivered == ["e1"])

    assert (tmp_path / "outbox" / "auth-1").stat().st_mode & 0o077 == 0


async def test_the_end_delivers_what_just_came(tmp_path: Path, there: Destination) -> None:
    outbox = Outbox(tmp_path, "auth-1")
    async with outbox.delivering(there.append):
        await outbox.put(entry(id="e1"))

    assert there.delivered == ["e1"]


async def test_the_outbox_of_a_dead_process_is_adopted_and_that_of_a_living_one_is_not(
    tmp_path: Path, there: Destination
) -> None:
    for name in ("dead", "living"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.json").write_bytes(encode(entry(id=name)))
    with (tmp_path / "living" / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)

        async with Outbox(tmp_path, "auth-1").delivering(there.append):
            await until(lambda: there.delivered == ["dead"])
            await asyncio.sleep(0.1)

    assert there.delivered == ["dead"]
    assert not waiting_in(tmp_path / "dead")


async def test_poison_is_set_aside_loudly_and_blocks_nobody(
    tmp_path: Path, there: Destination, caplog: pytest.LogCaptureFixture
) -> None:
    own = tmp_path / "auth-1"
    own.mkdir()
    (own / "0.json").write_bytes(b"no entry")
    (own / "1.json").write_bytes(encode(entry(id="refused", user_id="bad")))
    (own / "2.json").write_bytes(encode(entry(id="good")))

    async with Outbox(tmp_path, "auth-1").delivering(there.append):
        await until(lambda: there.delivered == ["good"] and not waiting_in(own))

    assert [file.name for file in waiting_in(own / "refused")] == ["0.json", "1.json"]
    assert caplog.messages.count("outbox_entry_set_aside") == 2


async def test_a_directory_that_was_removed_is_made_again(tmp_path: Path, there: Destination) -> None:
    outbox = Outbox(tmp_path, "auth-1")
    async with outbox.delivering(there.append):
        for file in (tmp_path / "auth-1").iterdir():
            file.unlink()
        (tmp_path / "auth-1").rmdir()

        await outbox.put(entry(id="e1"))
        await until(lambda: there.delivered == ["e1"])


async def test_what_cannot_be_written_is_kept_in_memory_and_said(
    tmp_path: Path, there: Destination, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "write_durably", full)
    outbox = Outbox(tmp_path, "auth-1")
    there.away = True
    async with outbox.delivering(there.append):
        await outbox.put(entry(id="bad", user_id="bad"))
        await outbox.put(entry(id="e1"))
        await asyncio.sleep(0.05)
        there.away = False
        await until(lambda: there.delivered == ["e1"])

    assert "outbox_not_written" in caplog.messages
    assert "audit_entry_refused" in caplog.messages


async def test_an_unexpected_failure_does_not_end_the_delivery(
    tmp_path: Path, there: Destination, caplog: pytest.LogCaptureFixture
) -> None:
    outbox = Outbox(tmp_path, "auth-1")
    there.error = RuntimeError("a mistake of ours")
    async with outbox.delivering(there.append):
        await outbox.put(entry(id="e1"))
        await until(lambda: "outbox_failed" in caplog.messages)
        there.error = None
        await until(lambda: there.delivered == ["e1"])


async def test_a_name_that_another_process_has_is_refused(
    tmp_path: Path, there: Destination, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "OWN_LOCK_WITHIN_S", 0.1)
    async with Outbox(tmp_path, "auth-1").delivering(there.append):
        with pytest.raises(InstanceTaken):
            async with Outbox(tmp_path, "auth-1").delivering(there.append):
                pass


async def test_a_start_waits_for_who_is_just_delivering_for_it(tmp_path: Path, there: Destination) -> None:
    (tmp_path / "auth-1").mkdir()
    adopter = (tmp_path / "auth-1" / "lock").open("w")
    fcntl.flock(adopter, fcntl.LOCK_EX)
    asyncio.get_running_loop().call_later(0.1, adopter.close)

    async with Outbox(tmp_path, "auth-1").delivering(there.append):
        pass


async def test_a_log_that_hangs_does_not_hold_up_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LAST_DELIVERY_S", 0.05)
    never: Callable[[Recordable], Awaitable[object]] = lambda _: asyncio.Event().wait()  # noqa: E731
    outbox = Outbox(tmp_path, "auth-1")

    async with asyncio.timeout(2), outbox.delivering(never):
        await outbox.put(entry(id="e1"))
        await asyncio.sleep(0.05)

    assert len(waiting_in(tmp_path / "auth-1")) == 1
