"""The second factor: the second step of a log-in, and what people do with their own."""

from fastapi import APIRouter, Response

from edge.http.credentials import session_cookie
from edge.routes.call import CurrentCall
from edge.routes.earlier_session import end_earlier_session
from edge.routes.replies import json_reply, no_content
from shared.bus import Bus
from shared.contracts.second_factor import (
    CONFIRM_TOTP,
    DISABLE_TOTP,
    RENEW_BACKUP_CODES,
    SET_UP_TOTP,
    VERIFY_TOTP,
    BackupCodes,
    ConfirmTotp,
    ProveTotp,
    SetUpTotp,
    TotpSetup,
    Verified,
    VerifyTotp,
)


def second_factor_routes(bus: Bus) -> APIRouter:
    """The routes under /auth/totp."""
    router = APIRouter(prefix="/api/v1/auth/totp", tags=["auth"])

    @router.post("/verify", summary="Complete a log-in", response_model=Verified)
    async def verify(body: VerifyTotp, call: CurrentCall) -> Response:
        session = await bus.call(VERIFY_TOTP, body, call.changing)
        reply = json_reply(Verified(user=session.user, expires_at=session.expires_at))
        reply.raw_headers.append(session_cookie(session))
        await end_earlier_session(bus, call)
        return reply

    @router.post("/setup", summary="Set up a second factor", response_model=TotpSetup)
    async def set_up(body: SetUpTotp, call: CurrentCall) -> Response:
        return json_reply(await bus.call(SET_UP_TOTP, body, call.changing))

    @router.post("/confirm", summary="Enable the second factor", response_model=BackupCodes)
    async def confirm(body: ConfirmTotp, call: CurrentCall) -> Response:
        return json_reply(await bus.call(CONFIRM_TOTP, body, call.changing))

    @router.delete("", summary="Disable the second factor", status_code=204)
    async def disable(body: ProveTotp, call: CurrentCall) -> Response:
        await bus.call(DISABLE_TOTP, body, call.changing)
        return no_content()

    @router.post("/backup-codes", summary="Make new backup codes", response_model=BackupCodes)
    async def renew(body: ProveTotp, call: CurrentCall) -> Response:
        return json_reply(await bus.call(RENEW_BACKUP_CODES, body, call.changing))

    return router
