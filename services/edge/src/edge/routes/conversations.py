"""Stored conversations, which people know as the sessions of OpenClaw: the caller's own."""

from typing import Annotated

from fastapi import APIRouter, Path, Query, Response
from pydantic import ConfigDict

from edge.routes.call import CurrentCall
from edge.routes.replies import json_reply, no_content
from shared.bus import Bus
from shared.contracts.conversations import (
    DELETE_CONVERSATION,
    GET_CONVERSATION,
    LIST_CONVERSATIONS,
    Conversations,
    ListConversations,
    NamedConversation,
    WholeConversation,
)

SessionId = Annotated[str, Path(description="The id as it was given in a dispatch, percent-encoded")]


class ConversationsQuery(ListConversations):
    """The page as text in a query string."""

    model_config = ConfigDict(strict=False, extra="forbid")


def conversation_routes(bus: Bus) -> APIRouter:
    """The routes under /openclaw/sessions."""
    router = APIRouter(prefix="/api/v1/openclaw/sessions", tags=["openclaw"])

    @router.get("", summary="List the own stored conversations", response_model=Conversations)
    async def list_conversations(wanted: Annotated[ConversationsQuery, Query()], call: CurrentCall) -> Response:
        return json_reply(await bus.call(LIST_CONVERSATIONS, wanted, call.reading))

    # `path`: a name may have slashes, which come escaped and are not ends of its part of the path.
    @router.get("/{session_id:path}", summary="One of them with its messages", response_model=WholeConversation)
    async def get(session_id: SessionId, call: CurrentCall) -> Response:
        return json_reply(await bus.call(GET_CONVERSATION, NamedConversation(id=session_id), call.reading))

    @router.delete("/{session_id:path}", summary="Delete one of them", status_code=204)
    async def delete(session_id: SessionId, call: CurrentCall) -> Response:
        await bus.call(DELETE_CONVERSATION, NamedConversation(id=session_id), call.changing)
        return no_content()

    return router
