"""What the audit log has of a dispatch: how it ended, sizes, hashes and tokens, and nothing that was said."""

import asyncio
import hashlib

import orjson

from orchestrator.application.orders import Answer, ChatOrder, Order
from orchestrator.domain.chat import Completion
from shared.contracts.audit import Details, Outcome
from shared.errors import PlatformError


class Sent:
    """How much has left of a stream, and its hash."""

    __slots__ = ("hash", "size")

    def __init__(self) -> None:
        self.hash = hashlib.sha256()
        self.size = 0

    def add(self, sent: bytes) -> None:
        """More of it has left."""
        self.hash.update(sent)
        self.size += len(sent)

    @property
    def details(self) -> Details:
        """The same for the log."""
        return {"streamed": True, "answerBytes": self.size, "answerSha256": self.hash.hexdigest()}


def sizes(request: bytes) -> Details:
    """Of what was asked."""
    return {"requestBytes": len(request), "requestSha256": hashlib.sha256(request).hexdigest()}


def details_of(answer: Answer, order: Order) -> Details:
    """Of what was answered."""
    details: Details = {"promptTokens": answer.prompt_tokens, "completionTokens": answer.completion_tokens}
    if isinstance(answer, Completion):
        said = _said(answer, order)
        details |= {"answerBytes": len(said), "answerSha256": hashlib.sha256(said).hexdigest()}
    return details


def outcome_of(error: BaseException) -> tuple[str, Outcome]:
    """Why a dispatch failed, in a word. Of one that is cut off nobody knows what the agent made of it."""
    if isinstance(error, asyncio.CancelledError):
        return "cancelled", Outcome.UNKNOWN
    return (error.reason if isinstance(error, PlatformError) else "internal"), Outcome.FAILURE


def _said(answer: Completion, order: Order) -> bytes:
    """The text, or where more than that is answered, all of it."""
    if isinstance(order, ChatOrder) and order.chat.passes_through:
        return answer.body or orjson.dumps(answer.choices)
    return answer.text.encode()
