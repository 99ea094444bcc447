"""A log of its own for each test."""

import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.unit.audit.logs import Threads, new_log


@pytest.fixture(scope="session")
def empty_log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return new_log(tmp_path_factory.mktemp("log") / "audit.db")


@pytest.fixture
def log_file(empty_log: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(empty_log, tmp_path / "audit.db"))


@pytest.fixture
def workshop() -> Iterator[Threads]:
    with ThreadPoolExecutor(3) as executor:
        yield Threads(executor)
