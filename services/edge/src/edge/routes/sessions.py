"""The caller's own sessions: one for each device."""

from typing import Annotated

from fastapi import APIRouter, Query, Response
from pydantic import ConfigDict

from edge.http.credentials import no_cookie
from edge.routes.call import CurrentCall
from edge.routes.replies import json_reply, no_content
from shared.bus import NOTHING, Bus
from shared.contracts.sessions import (
    LIST_SESSIONS,
    REVOKE_OTHER_SESSIONS,
    REVOKE_SESSION,
    Devices,
    ListDevices,
    RevokeSession,
)


class DevicesQuery(ListDevices):
    """The page as text in a query string."""

    model_config = ConfigDict(strict=False, extra="forbid")


def session_routes(bus: Bus) -> APIRouter:
    """The routes under /auth/sessions."""
    router = APIRouter(prefix="/api/v1/auth/sessions", tags=["auth"])

    @router.get("", summary="List the own sessions", response_model=Devices)
    async def list_sessions(wanted: Annotated[DevicesQuery, Query()], call: CurrentCall) -> Response:
        return json_reply(await bus.call(LIST_SESSIONS, wanted, call.reading))

    @router.delete("", summary="End all other sessions", status_code=204)
    async def revoke_others(call: CurrentCall) -> Response:
        await bus.call(REVOKE_OTHER_SESSIONS, NOTHING, call.changing)
        return no_content()

    @router.delete("/{session_id}", summary="End one of the own sessions", status_code=204)
    async def revoke(session_id: str, call: CurrentCall) -> Response:
        context = call.changing
        await bus.call(REVOKE_SESSION, RevokeSession(id=session_id), context)
        reply = no_content()
        if session_id == context.principal.credential_id:
            reply.raw_headers.append(no_cookie())
        return reply

    return router
