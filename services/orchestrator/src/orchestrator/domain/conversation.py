"""Stored conversations: exchanges of a person with agents, within bounds."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from shared.errors import ErrorCode, PlatformError

NEW = "new"
"""The id by which a caller asks for a conversation with an id of ours."""
MAX_EXCHANGES = 100
"""Of one conversation: 200 messages."""
MAX_TEXT_BYTES = 256 * 1024
"""Of one conversation, in UTF-8."""
MAX_OF_OWNER = 1000
KEEP = timedelta(days=30)
"""How long a conversation is kept after its last exchange."""
TITLE_CHARACTERS = 80


class ConversationNotFound(PlatformError):
    """The caller has no such conversation; whether somebody else has one is not said."""

    code = ErrorCode.NOT_FOUND
    reason = "session-not-found"

    def __init__(self, id: str) -> None:
        super().__init__(f"You have no session {id}.")


class ConversationBusy(PlatformError):
    """Another turn of the same conversation is under way; its answer would be missing in this one's history."""

    code = ErrorCode.CONFLICT
    reason = "session-busy"

    def __init__(self) -> None:
        super().__init__("Another message of this session is being answered; wait for that answer.")


class ConversationOvertaken(PlatformError):
    """Who answered was held up for so long that it was taken for dead, and another turn has begun without it."""

    code = ErrorCode.CONFLICT
    reason = "session-overtaken"

    def __init__(self) -> None:
        super().__init__("Another message of this session came first; this one and its answer are not part of it.")


class ConversationUnreadable(PlatformError):
    """What is stored of it was sealed with another key."""

    code = ErrorCode.CONFLICT
    reason = "session-unreadable"

    def __init__(self) -> None:
        super().__init__("This session was stored with another key and cannot be read any more; delete it.")


@dataclass(frozen=True, slots=True)
class Exchange:
    """What a person said, and what an agent answered."""

    question: str
    answer: str
    asked_at: datetime
    answered_at: datetime

    @property
    def size(self) -> int:
        """The bytes of both texts."""
        return _size(self.question) + _size(self.answer)

    def fitted(self) -> "Exchange":
        """The same with the end of a text cut off, so that it fits into a conversation alone; each text has half."""
        if self.size <= MAX_TEXT_BYTES:
            return self
        half = MAX_TEXT_BYTES // 2
        question = _cut(self.question, max(half, MAX_TEXT_BYTES - _size(self.answer)))
        return replace(self, question=question, answer=_cut(self.answer, MAX_TEXT_BYTES - _size(question)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """A conversation that has at least one exchange. `agent_id` and `model` are of the last answer."""

    id: str
    agent_id: str
    model: str
    title: str
    exchanges: int
    created_at: datetime
    updated_at: datetime
    expires_at: datetime


def title_of(first_message: str) -> str:
    """By what people recognise a conversation."""
    return first_message[:TITLE_CHARACTERS]


def fitting(sizes: Iterable[int]) -> int:
    """How many exchanges of these sizes, the newest first, a conversation keeps: the older ones are dropped."""
    count = total = 0
    for size in sizes:
        total += size
        if count == MAX_EXCHANGES or total > MAX_TEXT_BYTES:
            break
        count += 1
    return count


def _size(text: str) -> int:
    return len(text.encode())


def _cut(text: str, size: int) -> str:
    return text.encode()[:size].decode(errors="ignore")
