"""Users, for admins."""

from typing import Annotated

from fastapi import APIRouter, Query, Response, status
from pydantic import ConfigDict

from edge.routes.call import CurrentCall
from edge.routes.etags import IfMatch, tagged, wanted_version
from edge.routes.replies import json_reply, no_content
from shared.bus import Bus
from shared.contracts.users import (
    CREATE_USER,
    DELETE_USER,
    END_SESSIONS,
    GET_USER,
    LIST_USERS,
    RESET_TOTP,
    UPDATE_USER,
    CreatedUser,
    ListUsers,
    ManagedUser,
    NewUser,
    UpdateUser,
    UserChanges,
    UserOf,
    Users,
)


class UsersQuery(ListUsers):
    """The page as text in a query string."""

    model_config = ConfigDict(strict=False, extra="forbid")


def user_routes(bus: Bus) -> APIRouter:
    """The routes under /users."""
    router = APIRouter(prefix="/api/v1/users", tags=["users"])

    @router.get("", summary="List the users", response_model=Users)
    async def list_users(wanted: Annotated[UsersQuery, Query()], call: CurrentCall) -> Response:
        return json_reply(await bus.call(LIST_USERS, wanted, call.reading))

    @router.post("", summary="Add a user", status_code=201, response_model=CreatedUser)
    async def create(body: NewUser, call: CurrentCall) -> Response:
        user = await bus.call(CREATE_USER, body, call.changing)
        reply = tagged(user, user.version, status_code=status.HTTP_201_CREATED)
        reply.headers["location"] = f"/api/v1/users/{user.id}"
        return reply

    @router.get("/{user_id}", summary="One user", response_model=ManagedUser)
    async def get(user_id: str, call: CurrentCall) -> Response:
        user = await bus.call(GET_USER, UserOf(id=user_id), call.reading)
        return tagged(user, user.version)

    @router.put("/{user_id}", summary="Change a user", response_model=ManagedUser)
    async def update(user_id: str, body: UserChanges, call: CurrentCall, if_match: IfMatch = None) -> Response:
        request = UpdateUser(id=user_id, if_version=wanted_version(if_match, "user"), changes=body)
        user = await bus.call(UPDATE_USER, request, call.changing)
        return tagged(user, user.version)

    @router.delete("/{user_id}", summary="Delete a user", status_code=204)
    async def delete(user_id: str, call: CurrentCall) -> Response:
        await bus.call(DELETE_USER, UserOf(id=user_id), call.changing)
        return no_content()

    @router.delete("/{user_id}/sessions", summary="End all sessions of a user", status_code=204)
    async def end_sessions(user_id: str, call: CurrentCall) -> Response:
        await bus.call(END_SESSIONS, UserOf(id=user_id), call.changing)
        return no_content()

    @router.delete("/{user_id}/totp", summary="Reset the second factor of a user", status_code=204)
    async def reset_totp(user_id: str, call: CurrentCall) -> Response:
        await bus.call(RESET_TOTP, UserOf(id=user_id), call.changing)
        return no_content()

    return router
