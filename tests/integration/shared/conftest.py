"""A nats-server for those who kill it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.bus import Nats


@pytest.fixture
def own_nats(tmp_path: Path) -> Iterator[Nats]:
    server = Nats(tmp_path)
    server.start()
    yield server
    server.kill()
