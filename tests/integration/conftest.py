"""What integration tests share: a real nats-server."""

from collections.abc import Iterator

import pytest

from tests.integration.bus import Nats


@pytest.fixture(scope="session")
def nats(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nats]:
    server = Nats(tmp_path_factory.mktemp("nats"))
    server.start()
    yield server
    server.kill()
