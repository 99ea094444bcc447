"""Wiring: the only module that knows all parts of the witness."""

import logging
import time

from shared.bus import connect
from shared.logging import configure_logging
from shared.process import Stop
from shared.settings import load
from witness.application import Witnessing
from witness.infrastructure import WitnessDirectory
from witness.interface import endpoints
from witness.settings import WitnessSettings

_log = logging.getLogger(__name__)


async def main(stop: Stop) -> None:
    """Runs the witness until it is told to stop."""
    settings = load(WitnessSettings)
    instance = settings.instance_of("witness")
    configure_logging("witness", instance, settings.log_level)
    directory = WitnessDirectory(settings.directory)
    with directory.held():
        witnessing = Witnessing(
            directory,
            directory.load(settings.audit_origin),
            directory.signer(),
            origin=settings.audit_origin,
            log=settings.log,
            now=lambda: int(time.time()),
        )
        async with connect(
            settings.nats_url,
            service="witness",
            instance=instance,
            nkey_file=settings.nkey_of("witness"),
            on_lost=stop.failed,
        ) as bus:
            await bus.serve(*endpoints(witnessing))
            _log.info("ready")
            await stop.wait()
