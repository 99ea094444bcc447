import ssl
from collections.abc import AsyncIterator

import pytest

from shared.http import HttpClient
from tests.unit.shared.http.server import Server, running


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with running() as server:
        yield server


@pytest.fixture(scope="session")
def tls() -> ssl.SSLContext:
    """Reading the system's certificates takes longer than most tests."""
    return ssl.create_default_context()


@pytest.fixture
async def client(tls: ssl.SSLContext) -> AsyncIterator[HttpClient]:
    client = HttpClient(tls)
    yield client
    client.close()
