"""Wiring: the only module that knows all parts of the audit service."""

import logging
from functools import partial

from audit.application.alarms import Alarms
from audit.application.appends import Appends
from audit.application.checkpointing import Checkpointer
from audit.application.concluding import Concluder
from audit.application.erasures import Erasures
from audit.application.exporting import Exports
from audit.application.following import Follows, Herald
from audit.application.health import Health
from audit.application.key_changes import KeyChanges
from audit.application.knowledge import Knowledge
from audit.application.ports import KeysUnusable
from audit.application.queries import Queries
from audit.application.room import Room
from audit.application.scrubbing import Scrubber
from audit.application.tree import Tree
from audit.application.witnessing import Witnessing
from audit.infrastructure.bus_witness import BusWitness
from audit.infrastructure.disk_space import used_share
from audit.infrastructure.note_keys import NoteKeys
from audit.infrastructure.sqlite_reader import SqliteLogReader
from audit.infrastructure.sqlite_writer import open_writer
from audit.infrastructure.worker_process import open_worker
from audit.interface.bus import endpoints
from audit.interface.export import export_endpoints
from audit.interface.tree import tree_endpoints
from audit.settings import AuditSettings
from shared.bus import connect, write
from shared.contracts.audit_export import ENTRIES_COMMITTED, EntriesCommitted
from shared.logging import configure_logging
from shared.process import Stop
from shared.settings import load
from shared.tlog.notes import Verifier

_log = logging.getLogger(__name__)


async def main(stop: Stop) -> None:
    """Runs one replica until it is told to stop."""
    settings = load(AuditSettings)
    instance = settings.instance_of("audit")
    configure_logging("audit", instance, settings.log_level)
    keys = NoteKeys(settings.key_folder, settings.audit_origin)
    knowledge = Knowledge(_verifiers(keys))
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
            tree = Tree(reader, writer, keys, worker, knowledge, origin=settings.audit_origin)
            witnessing = Witnessing(
                BusWitness(bus), tree, origin=settings.audit_origin, contradicted=knowledge.contradicted
            )
            tree.told = witnessing.checkpoint_made
            exports = Exports(reader, worker, tree, appends, origin=settings.audit_origin)

            async def tell_growth(last_index: int) -> None:
                await bus.publish(ENTRIES_COMMITTED.subject, write(EntriesCommitted(last_index=last_index)))

            async with (
                Alarms(knowledge, bus.publish).running(),
                scrubber.running(),
                Concluder(appends, writer).running(),
                Checkpointer(tree, knowledge).running(),
                witnessing.running(),
                exports.running(),
                Herald(knowledge, tell_growth).running(),
            ):
                queries = Queries(reader, knowledge, worker, scrubber)
                erasures = Erasures(reader, writer, appends, worker)
                state = Health(
                    appends, knowledge, Room(partial(used_share, settings.log_file.parent)), tree, witnessing
                )
                await bus.serve(
                    *endpoints(appends, queries, erasures, state),
                    *tree_endpoints(tree, KeyChanges(tree, keys, appends)),
                    *export_endpoints(exports, Follows(reader, worker)),
                )
                _log.info("ready")
                await stop.wait()


def _verifiers(keys: NoteKeys) -> list[Verifier]:
    """Whose checkpoints count. Without keys none does: the log cannot be called valid, and goes on recording."""
    try:
        return [keys.current().verifier, *keys.retired()]
    except KeysUnusable as error:
        _log.error("keys_unusable", extra={"cause": error.detail})
        return []
