"""One platform for all end-to-end tests that leave it whole."""

from collections.abc import AsyncIterator, Iterator

import httpx
import pytest

from tests.e2e.platform import Platform

PASSWORD = "orange bicycle under the bridge"


@pytest.fixture(scope="session")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    running = Platform(tmp_path_factory.mktemp("platform"), DEFAULT_ADMIN_PASSWORD=PASSWORD)
    running.admin_password = PASSWORD
    running.up()
    yield running
    running.down()


@pytest.fixture(scope="session")
def operator_key(platform: Platform) -> str:
    return platform.key("operator")


@pytest.fixture
async def operator(platform: Platform, operator_key: str) -> AsyncIterator[httpx.AsyncClient]:
    async with platform.client(operator_key) as client:
        yield client


@pytest.fixture
async def admin(platform: Platform) -> AsyncIterator[httpx.AsyncClient]:
    async with platform.signed_in() as client:
        yield client


@pytest.fixture
async def anonymous(platform: Platform) -> AsyncIterator[httpx.AsyncClient]:
    async with platform.client() as client:
        yield client
