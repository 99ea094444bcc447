"""Wiring: the only module that knows all parts of the audit service."""

import logging

from audit.application.alarms import Alarms
from audit.application.appends import Appends
from audit.application.concluding import Concluder
from audit.application.erasures import Erasures
from audit.application.health import Health
from audit.application.knowledge import Knowledge
from audit.application.queries import Queries
from audit.application.scrubbing import Scrubber
from audit.infrastructure.sqlite_reader import SqliteLogReader
from audit.infrastructure.sqlite_writer import open_writer
from audit.infrastructure.worker_process import open_worker
from audit.interface.bus import endpoints
from audit.settings import AuditSettings
from shared.bus import connect
from shared.logging import configure_logging
from shared.process import Stop
from shared.settings import load

_log = logging.getLogger(__name__)


async def main(stop: Stop) -> None:
    """Runs one replica until it is told to stop."""
    settings = load(AuditSettings)
    instance = settings.instance_of("audit")
    configure_logging("audit", instance, settings.log_level)
    knowledge = Knowledge()
    reader = SqliteLogReader(settings.log_file)
    with open_worker() as worker:
        async with (
            open_writer(settings.log_file) as writer,
            connect(
                settings.nats_url,
                service="audit",
                instance=instance,
                nkey_file=settings.nkey_of("audit"),
                on_lost=stop.failed,
            ) as bus,
        ):
            appends = Appends(writer, knowledge)
            scrubber = Scrubber(reader, knowledge, worker)
            alarms = Alarms(knowledge, bus.publish)
            async with alarms.running(), scrubber.running(), Concluder(appends, writer).running():
                queries = Queries(reader, knowledge, worker, scrubber)
                erasures = Erasures(reader, writer, appends, worker)
                await bus.serve(*endpoints(appends, queries, erasures, Health(appends, knowledge)))
                _log.info("ready")
                await stop.wait()
