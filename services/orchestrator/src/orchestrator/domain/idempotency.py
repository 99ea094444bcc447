"""Idempotency keys: a request that comes again under its key is not done again."""

import hashlib
from dataclasses import dataclass
from datetime import timedelta
from typing import Self

from shared.errors import ErrorCode, FieldError, InvalidFields, PlatformError
from shared.principal import Principal

HEADER = "Idempotency-Key"
KEEP = timedelta(hours=24)
"""How long a key stands for the request it was first sent with."""
MAX_KEYS_OF_USER = 10_000


class IdempotencyKeyReused(InvalidFields):
    """The key was sent with another request before."""

    reason = "idempotency-key-reused"

    def __init__(self) -> None:
        super().__init__(
            "This Idempotency-Key was sent with another request before.",
            errors=(FieldError(HEADER, "take a new one for each request"),),
        )


class OutcomeLost(PlatformError):
    """Who worked on the request is gone: whether it was done is not known, and it is not done again."""

    code = ErrorCode.CONFLICT
    reason = "outcome-unknown"

    def __init__(self) -> None:
        super().__init__(
            "The work on this request broke off; whether it was done is not known. A new key does it anew."
        )


class TooManyKeys(PlatformError):
    """The user has as many keys as may be kept."""

    code = ErrorCode.RATE_LIMITED
    reason = "too-many-idempotency-keys"

    def __init__(self, retry_after: int) -> None:
        super().__init__(
            f"{MAX_KEYS_OF_USER} of your idempotency keys are remembered; the oldest is forgotten in {retry_after} s.",
            retry_after=retry_after,
        )


@dataclass(frozen=True, slots=True)
class KeyedRequest:
    """A request under its key, as far as it is to be recognised. Keys of different credentials never meet."""

    user_id: str
    credential_id: str
    key_hash: str
    fingerprint: str

    @classmethod
    def of(cls, principal: Principal, key: str, subject: str, body: bytes) -> Self:
        """The request with this body to this subject."""
        return cls(
            principal.user_id,
            principal.credential_id,
            hashlib.sha256(key.encode()).hexdigest(),
            hashlib.sha256(subject.encode() + b"\0" + body).hexdigest(),
        )


@dataclass(frozen=True, slots=True)
class Answer:
    """What a request was answered with, and the agent it is of; its id is empty where none was named."""

    body: bytes
    agent: str = ""


@dataclass(frozen=True, slots=True)
class Failure:
    """The failure of a request for which an agent was asked."""

    code: ErrorCode
    reason: str
    detail: str
    errors: tuple[FieldError, ...] = ()
    retry_after: int | None = None
    agent: str = ""


Outcome = Answer | Failure
