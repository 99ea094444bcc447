"""A running audit service for each test."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.audit.installation import Installation, running
from tests.integration.bus import Nats


@pytest.fixture
def audit(nats: Nats, tmp_path: Path) -> Iterator[Installation]:
    with running(nats, tmp_path) as installation:
        yield installation
