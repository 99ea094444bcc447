"""A prepared database, an audit log, a well-behaved upstream, one replica and a caller."""

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from orchestrator.prepare import prepare
from shared.bus import Bus
from tests.integration.bus import Nats, bus_as
from tests.integration.orchestrator.cluster import AuditLog, audit_service, replica
from tests.integration.orchestrator.upstreams import Upstream, upstream


@pytest.fixture(autouse=True)
def patient_callers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls are begun late as well: a machine that stands still for more than a second is not what is tested here."""
    monkeypatch.setattr("shared.bus.context.ACCEPT_WITHIN_MS", 10_000)


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("orchestrator") / "orchestrator.db"
    prepare(f"sqlite+aiosqlite:///{file}")
    return file


@pytest.fixture
def data_dir(prepared: Path, tmp_path: Path) -> Path:
    """With a database as a first start leaves it; to make one takes longer than most tests."""
    shutil.copy(prepared, tmp_path / "orchestrator.db")
    return tmp_path


@pytest.fixture
async def audit(nats: Nats) -> AsyncIterator[AuditLog]:
    async with audit_service(nats) as log:
        yield log


@pytest.fixture
async def server() -> AsyncIterator[Upstream]:
    async with upstream() as running:
        yield running


@pytest.fixture
async def edge(nats: Nats, audit: AuditLog, data_dir: Path, server: Upstream) -> AsyncIterator[Bus]:
    """The edge's place on the bus, with one orchestrator and its upstream running."""
    async with (
        replica(nats, data_dir, allowed=f"127.0.0.1:{server.port},localhost:{server.port}"),
        bus_as(nats, "edge") as bus,
    ):
        yield bus
