import asyncio
import gc
import signal
import sys
from asyncio.subprocess import PIPE
from collections.abc import Iterator

import pytest

from shared.process import MAX_OPEN_FILES, Stop

PROGRAM = """
import asyncio, resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (256, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
from shared.errors import PlatformError
from shared.process import run
from shared.settings import load, ServiceSettings

async def waits(stop):
    print("ready", flush=True)
    await stop.wait()
    print("ended", flush=True)

async def starts_slowly(stop):
    print("ready", flush=True)
    try:
        await asyncio.sleep(60)
    finally:
        print("ended", flush=True)

async def fails(stop):
    raise PlatformError("The bus is on fire.")

async def loses_its_bus(stop):
    stop.failed()
    await stop.wait()

async def reads_settings(stop):
    load(ServiceSettings)

async def counts_files(stop):
    print(*resource.getrlimit(resource.RLIMIT_NOFILE))

async def cancels_itself(stop):
    raise asyncio.CancelledError

run(globals()[sys.argv[1]])
"""


@pytest.fixture(autouse=True)
def _collector_as_before() -> Iterator[None]:
    before = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*before)


async def ended(main: str, number: signal.Signals | None = None, **environment: str) -> tuple[int | None, str, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PROGRAM, main, stdout=PIPE, stderr=PIPE, env=environment
    )
    assert process.stdout is not None
    output = b""
    if number is not None:
        output = await process.stdout.readline()
        process.send_signal(number)
    rest, errors = await asyncio.wait_for(process.communicate(), 15)
    return process.returncode, (output + rest).decode(), errors.decode()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("main", ["waits", "starts_slowly"])
async def test_a_signal_ends_it_in_an_orderly_way_whenever_it_comes(main: str, number: signal.Signals) -> None:
    assert await ended(main, number) == (0, "ready\nended\n", "")


async def test_an_expected_failure_ends_it_with_one_line() -> None:
    assert await ended("fails") == (1, "", "The bus is on fire.\n")


async def test_a_lost_connection_ends_it_with_status_1() -> None:
    assert await ended("loses_its_bus") == (1, "", "")


async def test_a_bad_setting_ends_it_with_status_2_and_one_line() -> None:
    status, output, errors = await ended("reads_settings", LOG_LEVEL="loud")

    assert (status, output, len(errors.splitlines())) == (2, "", 1)
    assert errors.startswith("bad setting: LOG_LEVEL: ")


async def test_a_cancellation_that_nobody_asked_for_is_an_error() -> None:
    status, _, errors = await ended("cancels_itself")

    assert (status, "CancelledError" in errors) == (1, True)


async def test_it_may_open_as_many_files_as_the_system_allows_within_reason() -> None:
    _, output, _ = await ended("counts_files")

    soft, hard = (int(number) for number in output.split())
    assert soft == (MAX_OPEN_FILES if hard < 0 else min(hard, MAX_OPEN_FILES))


async def test_waiting_ends_when_it_is_said_to() -> None:
    stop = Stop()
    stop.now()
    await asyncio.wait_for(stop.wait(), 1)

    assert (stop.asked_for, stop.exit_status) == (True, 0)
