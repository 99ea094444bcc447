"""Expected failures: a closed list of codes, open reasons, and one wire form that survives any number of hops."""

from dataclasses import dataclass
from enum import StrEnum


class ErrorCode(StrEnum):
    """Coarse and closed: what kind of failure it is. The edge alone maps these to HTTP statuses."""

    MALFORMED = "malformed"
    TOO_LARGE = "too_large"
    UNSUPPORTED_MEDIA_TYPE = "unsupported_media_type"
    INVALID = "invalid"
    UNAUTHENTICATED = "unauthenticated"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not_found"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    MISDIRECTED = "misdirected"
    CONFLICT = "conflict"
    PRECONDITION_FAILED = "precondition_failed"
    RATE_LIMITED = "rate_limited"
    BAD_GATEWAY = "bad_gateway"
    UNAVAILABLE = "unavailable"
    TIMEOUT = "timeout"
    INTERNAL = "internal"


@dataclass(frozen=True, slots=True)
class FieldError:
    """One field of a request that was refused: where it is (`tags.0`) and what it should be."""

    path: str
    message: str


class PlatformError(Exception):
    """An expected failure. `detail` is safe to show to the end user.

    `reason` is a stable slug; `retry_after` is in seconds.
    """

    code = ErrorCode.INTERNAL
    reason = "internal"

    def __init__(
        self,
        detail: str,
        *,
        errors: tuple[FieldError, ...] = (),
        retry_after: int | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.errors = errors
        self.retry_after = retry_after


class RemoteFailure(PlatformError):
    """A failure of another service, raised again here with its code and reason kept."""

    def __init__(
        self,
        code: ErrorCode,
        reason: str,
        detail: str,
        *,
        errors: tuple[FieldError, ...] = (),
        retry_after: int | None = None,
    ) -> None:
        super().__init__(detail, errors=errors, retry_after=retry_after)
        self.code = code
        self.reason = reason


class Malformed(PlatformError):
    """The bytes are not what their media type says they are."""

    code = ErrorCode.MALFORMED
    reason = "malformed-json"


class InvalidFields(PlatformError):
    """Well-formed, but a field is missing, unknown, of the wrong type or out of range."""

    code = ErrorCode.INVALID
    reason = "invalid-fields"


class TooLarge(PlatformError):
    """More bytes than this platform accepts in one message."""

    code = ErrorCode.TOO_LARGE
    reason = "too-large"


class Forbidden(PlatformError):
    """The caller is known, and may not do this."""

    code = ErrorCode.FORBIDDEN
    reason = "forbidden"


class Unavailable(PlatformError):
    """A part this call needs does not answer; nothing was done. Trying again later is right."""

    code = ErrorCode.UNAVAILABLE
    reason = "service-unavailable"

    def __init__(self, detail: str, *, retry_after: int = 1) -> None:
        super().__init__(detail, retry_after=retry_after)


class Overloaded(Unavailable):
    """More is under way here than there may be; this was not begun."""

    reason = "overloaded"


class DeadlinePassed(PlatformError):
    """No answer by the time the caller had given; whether it was done is not known."""

    code = ErrorCode.TIMEOUT
    reason = "deadline-passed"
