"""Stored conversations on the bus."""

from typing import Any

from orchestrator.application.conversations import Conversations
from orchestrator.domain.conversation import Conversation, Exchange
from shared.bus import NOTHING, CallContext, Endpoint, Nothing
from shared.contracts import conversations as contract


def conversation_endpoints(conversations: Conversations) -> list[Endpoint]:
    """Listing, reading and deleting; turns are taken by dispatches."""

    async def list_(request: contract.ListConversations, context: CallContext) -> contract.Conversations:
        page = await conversations.list(request.limit, request.cursor, context)
        return contract.Conversations(
            items=[contract.Conversation(**_fields(each)) for each in page.items], next_cursor=page.next_cursor
        )

    async def get(request: contract.NamedConversation, context: CallContext) -> contract.WholeConversation:
        conversation, said = await conversations.get(request.id, context)
        messages = [message for exchange in said for message in _messages(exchange)]
        return contract.WholeConversation(**_fields(conversation), messages=messages)

    async def delete(request: contract.NamedConversation, context: CallContext) -> Nothing:
        await conversations.delete(request.id, context)
        return NOTHING

    return [
        contract.LIST_CONVERSATIONS.answered_by(list_),
        contract.GET_CONVERSATION.answered_by(get),
        contract.DELETE_CONVERSATION.answered_by(delete),
    ]


def _fields(conversation: Conversation) -> dict[str, Any]:
    return {
        "id": conversation.id,
        "agent_id": conversation.agent_id,
        "model": conversation.model,
        "message_count": 2 * conversation.exchanges,
        "title": conversation.title,
        "created_at": conversation.created_at,
        "updated_at": conversation.updated_at,
        "expires_at": conversation.expires_at,
    }


def _messages(exchange: Exchange) -> tuple[contract.StoredMessage, contract.StoredMessage]:
    return (
        contract.StoredMessage(role="user", content=exchange.question, timestamp=exchange.asked_at),
        contract.StoredMessage(role="assistant", content=exchange.answer, timestamp=exchange.answered_at),
    )
