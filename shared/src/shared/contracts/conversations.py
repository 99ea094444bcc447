"""What the orchestrator answers about stored conversations; over HTTP they are sessions of OpenClaw."""

from typing import Annotated, Literal

from pydantic import Field

from shared.bus import Contract, Kind, Message, Moment, Nothing


class Conversation(Message):
    """A stored conversation as its owner sees it. `agent_id` and `model` are of the last answer."""

    id: str
    agent_id: str
    model: str
    message_count: int
    title: str = Field(description="The first 80 characters of its first message")
    created_at: Moment
    updated_at: Moment = Field(description="When the last answer was stored")
    expires_at: Moment = Field(description="When it is forgotten, unless it goes on")


class StoredMessage(Message):
    """What somebody said."""

    role: Literal["user", "assistant"]
    content: str
    timestamp: Moment


class WholeConversation(Conversation):
    """The same with its messages, the oldest first; those that no longer fitted are gone."""

    messages: list[StoredMessage]


class ListConversations(Message):
    """A page of the caller's conversations, the last used first."""

    limit: Annotated[int, Field(ge=1, le=100)] = 50
    cursor: str | None = None


class Conversations(Message):
    """A page of conversations; `next_cursor` is None on the last one."""

    items: list[Conversation]
    next_cursor: str | None


class NamedConversation(Message):
    """One of the caller's conversations."""

    id: str


LIST_CONVERSATIONS = Contract("orchestrator.conversation.list", ListConversations, Conversations, Kind.READ)
GET_CONVERSATION = Contract("orchestrator.conversation.get", NamedConversation, WholeConversation, Kind.READ)
DELETE_CONVERSATION = Contract("orchestrator.conversation.delete", NamedConversation, Nothing, Kind.CHANGE)
