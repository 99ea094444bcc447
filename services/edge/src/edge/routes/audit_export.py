"""Exports of the audit log, as files that come as fast as they are read, and the log as it grows."""

from contextlib import AbstractAsyncContextManager
from urllib.parse import parse_qsl

from pydantic import ConfigDict, ValidationError

from edge.audit_feed import AuditFeed
from edge.http.pipeline import HotRoutes
from edge.http.request import Request
from edge.http.response import Response, Source, Streamed
from edge.identities import Known
from shared.bus import Bus, Kind, write
from shared.bus.messages import invalid_fields
from shared.contracts import audit_export
from shared.contracts.audit_export import EXPORT, ExportFormat
from shared.errors import FieldError, InvalidFields

EXPORT_PATH = "/api/v1/audit/export"
STREAM_PATH = "/api/v1/audit/stream"
LAST_EVENT_ID = b"last-event-id"
MAX_ID_DIGITS = 15

_KINDS = {
    ExportFormat.JSONL: (b"application/x-ndjson", "jsonl"),
    ExportFormat.OCSF: (b"application/x-ndjson", "ocsf.jsonl"),
    ExportFormat.CSV: (b"text/csv; charset=utf-8", "csv"),
}


class ExportQuery(audit_export.Export):
    """The same as text in a query string."""

    model_config = ConfigDict(strict=False, extra="forbid")


def audit_export_routes(bus: Bus, feed: AuditFeed) -> HotRoutes:
    """The handlers by method and path: the routes of FastAPI answer in one piece."""

    async def export(request: Request, _known: Known) -> Response | Streamed:
        wanted = _wanted(request)
        context = request.context(Kind.STREAM)

        def opened() -> AbstractAsyncContextManager[Source]:
            return bus.stream(EXPORT, write(wanted), context)

        content_type, ending = _KINDS[wanted.format]
        name = f'attachment; filename="peanut-audit-{wanted.first}.{ending}"'
        headers = ((b"content-disposition", name.encode()),)
        return Streamed(opened, None, headers, content_type, comment=b"")

    async def follow(request: Request, known: Known) -> Streamed:
        if request.scope["query_string"]:
            raise InvalidFields("This route takes no parameters.", errors=(FieldError("query", "leave it out"),))
        return feed.followed_by(request, known, _last_event_id(request))

    return {("GET", EXPORT_PATH): export, ("GET", STREAM_PATH): follow}


def _wanted(request: Request) -> ExportQuery:
    fields = dict(parse_qsl(request.scope["query_string"].decode("latin-1"), keep_blank_values=True))
    try:
        return ExportQuery.model_validate(fields, by_alias=True, by_name=False)
    except ValidationError as error:
        raise invalid_fields(error.errors(include_url=False, include_input=False)) from error


def _last_event_id(request: Request) -> int | None:
    given = request.headers.get(LAST_EVENT_ID)
    if not given:
        return None
    if not given.isdigit() or len(given) > MAX_ID_DIGITS:
        error = FieldError("Last-Event-ID", "must be the index of an entry")
        raise InvalidFields("It is not understood where to go on.", errors=(error,))
    return int(given)
