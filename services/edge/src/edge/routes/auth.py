"""Signing in and out, passwords and API keys."""

from typing import Annotated

from fastapi import APIRouter, Query, Response, status
from pydantic import ConfigDict

from edge.http.credentials import no_cookie, session_cookie
from edge.routes.call import CurrentCall
from edge.routes.earlier_session import end_earlier_session
from edge.routes.replies import json_reply, no_content
from shared.bus import NOTHING, Bus
from shared.contracts.auth import (
    CHANGE_PASSWORD,
    CREATE_KEY,
    LIST_KEYS,
    LOG_IN,
    LOG_OUT,
    REVOKE_KEY,
    Challenge,
    ChangePassword,
    CreatedKey,
    Keys,
    ListKeys,
    LoggedIn,
    LogIn,
    NewKey,
    RevokeKey,
)


class KeysQuery(ListKeys):
    """The page as text in a query string."""

    model_config = ConfigDict(strict=False, extra="forbid")


def auth_routes(bus: Bus) -> APIRouter:
    """The routes under /auth and /keys but `GET /auth/me`, which is hot."""
    router = APIRouter(prefix="/api/v1")

    @router.post("/auth/login", tags=["auth"], summary="Log in", response_model=LoggedIn | Challenge)
    async def log_in(body: LogIn, call: CurrentCall) -> Response:
        answer = await bus.call(LOG_IN, body, call.changing)
        if answer.challenge is not None:
            return json_reply(answer.challenge)
        assert answer.session is not None  # the contract's word: exactly one of the two
        reply = json_reply(LoggedIn(user=answer.session.user, expires_at=answer.session.expires_at))
        reply.raw_headers.append(session_cookie(answer.session))
        await end_earlier_session(bus, call)
        return reply

    @router.post("/auth/logout", tags=["auth"], summary="Log out", status_code=status.HTTP_204_NO_CONTENT)
    async def log_out(call: CurrentCall) -> Response:
        await bus.call(LOG_OUT, NOTHING, call.changing)
        reply = no_content()
        reply.raw_headers.append(no_cookie())
        return reply

    @router.post("/auth/password", tags=["auth"], summary="Change the password", status_code=204)
    async def change_password(body: ChangePassword, call: CurrentCall) -> Response:
        await bus.call(CHANGE_PASSWORD, body, call.changing)
        return no_content()

    @router.get("/keys", tags=["keys"], summary="List the own API keys", response_model=Keys)
    async def list_keys(wanted: Annotated[KeysQuery, Query()], call: CurrentCall) -> Response:
        return json_reply(await bus.call(LIST_KEYS, wanted, call.reading))

    @router.post("/keys", tags=["keys"], summary="Make an API key", status_code=201, response_model=CreatedKey)
    async def create_key(body: NewKey, call: CurrentCall) -> Response:
        return json_reply(await bus.call(CREATE_KEY, body, call.changing), status_code=status.HTTP_201_CREATED)

    @router.delete("/keys/{key_id}", tags=["keys"], summary="Revoke an API key", status_code=204)
    async def revoke_key(key_id: str, call: CurrentCall) -> Response:
        await bus.call(REVOKE_KEY, RevokeKey(id=key_id), call.changing)
        return no_content()

    return router
