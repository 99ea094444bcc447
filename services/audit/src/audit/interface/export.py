"""Exports, and following the log, on the bus."""

from audit.application.exporting import Exports, Wish
from audit.application.following import Follows
from audit.interface.bus import entry_of
from shared.bus import CallContext, Endpoint, Outlet, read, write
from shared.contracts.audit import Entry
from shared.contracts.audit_export import EXPORT, FOLLOW, Export, Exported, Follow, Followed


def export_endpoints(exports: Exports, follows: Follows) -> list[Endpoint]:
    """What this service hands over in bulk."""

    async def export(body: bytes, context: CallContext, outlet: Outlet) -> bytes:
        wanted = read(Export, body)
        count = await exports.export(Wish(wanted.format, wanted.first, wanted.last), context, outlet.write)
        return write(Exported(count=count))

    async def follow(request: Follow, context: CallContext) -> Followed:
        stretch = await follows.after(request.after, context.principal)
        entries: list[Entry] = []
        previous = stretch.previous
        for row in stretch.rows:
            entries.append(entry_of(row, previous))
            previous = row.fingerprint
        return Followed(entries=entries, last_index=stretch.last_index)

    return [EXPORT.streamed_by(export), FOLLOW.answered_by(follow)]
