"""The context of a call: who asks, in which trace and until when. It travels in headers, never in a body."""

import random
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from shared.clock import unix_ms
from shared.errors import Malformed
from shared.ids import new_id
from shared.principal import Caller, Principal, decode_caller

CALLER = "Peanut-Principal"
REQUEST_ID = "Peanut-Request-Id"
EVENT_ID = "Peanut-Event-Id"
DEADLINE = "Peanut-Deadline"
ACCEPT_BY = "Peanut-Accept-By"
TRACEPARENT = "traceparent"
IDEMPOTENCY_KEY = "Peanut-Idempotency-Key"

ACCEPT_WITHIN_MS = 1000
MILLISECOND_DIGITS = 15
NOBODY = Caller()
KEY_FORM = re.compile(r"[!-~]{1,255}")
"""What an idempotency key may look like: visible ASCII characters."""
_NOT_ZERO = 1 << 64 | 1
_TRACEPARENT = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


class NobodyAsks(Malformed):
    """A call that only an identified caller may make arrived without one."""

    reason = "no-principal"


def new_traceparent(given: str | None = None) -> str:
    """A W3C `traceparent`: a new span in the given trace when that is valid, in a new one otherwise."""
    if given is not None and _TRACEPARENT.fullmatch(given):
        return f"{given[:36]}{random.getrandbits(64) or 1:016x}{given[52:]}"
    bits = f"{random.getrandbits(192) | _NOT_ZERO:048x}"  # uniqueness, not secrecy
    return f"00-{bits[:32]}-{bits[32:]}-00"


@dataclass(frozen=True, slots=True, kw_only=True)
class CallContext:
    """What every hop of one request shares. `deadline` is in Unix milliseconds.

    `event_id` is the edge's own and names the request in the audit log; `request_id` may be the client's.
    `idempotency_key` is the client's, empty without one: the same call once more, if it has the same key.
    """

    caller: Caller = NOBODY
    event_id: str = field(default_factory=new_id)
    request_id: str = ""
    deadline: int
    traceparent: str = field(default_factory=new_traceparent)
    idempotency_key: str = ""

    def __post_init__(self) -> None:
        if not self.request_id:
            object.__setattr__(self, "request_id", self.event_id)

    @property
    def principal(self) -> Principal:
        """The authenticated caller; raises NobodyAsks when there is none."""
        if self.caller.principal is None:
            raise NobodyAsks("This call needs an authenticated caller.")
        return self.caller.principal

    @property
    def trace_id(self) -> str:
        """The trace's id, 32 hex digits."""
        return self.traceparent[3:35]

    def remaining(self) -> float:
        """Seconds until the deadline; negative when it has passed."""
        return (self.deadline - unix_ms()) / 1000

    def until(self, seconds: float) -> "CallContext":
        """The same call with a deadline at most `seconds` from now."""
        return replace(self, deadline=min(self.deadline, unix_ms() + int(seconds * 1000)))


def call_context(*, seconds: float, caller: Caller | None = None) -> CallContext:
    """A context for a call that starts here, with a deadline `seconds` from now."""
    return CallContext(caller=caller or NOBODY, deadline=unix_ms() + int(seconds * 1000))


def to_headers(context: CallContext, now_ms: int) -> dict[str, str]:
    """The context as headers of a call that is sent at `now_ms`, in Unix milliseconds; all values are ASCII."""
    headers = {
        CALLER: context.caller.header,
        REQUEST_ID: context.request_id,
        EVENT_ID: context.event_id,
        DEADLINE: str(context.deadline),
        ACCEPT_BY: str(now_ms + ACCEPT_WITHIN_MS),
        TRACEPARENT: context.traceparent,
    }
    if context.idempotency_key:
        headers[IDEMPOTENCY_KEY] = context.idempotency_key
    return headers


def from_headers(headers: Mapping[str, str]) -> CallContext:
    """The reverse of `to_headers`; raises Malformed when a header is missing or not understood."""
    try:
        return CallContext(
            caller=decode_caller(headers[CALLER]),
            event_id=headers[EVENT_ID],
            request_id=headers[REQUEST_ID],
            deadline=_milliseconds(headers[DEADLINE]),
            traceparent=_valid_traceparent(headers[TRACEPARENT]),
            idempotency_key=_valid_key(headers[IDEMPOTENCY_KEY]) if IDEMPOTENCY_KEY in headers else "",
        )
    except (KeyError, ValueError) as error:
        raise Malformed("The call's headers are not those of a bus call.") from error


def accept_by(headers: Mapping[str, str]) -> int:
    """The Unix milliseconds after which the call is not to be begun; raises Malformed when that is not said."""
    try:
        return _milliseconds(headers[ACCEPT_BY])
    except (KeyError, ValueError) as error:
        raise Malformed("The call's headers are not those of a bus call.") from error


def _milliseconds(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= MILLISECOND_DIGITS):
        raise ValueError("not a time in milliseconds")
    return int(text)


def _valid_traceparent(text: str) -> str:
    if not _TRACEPARENT.fullmatch(text):
        raise ValueError("not a traceparent")
    return text


def _valid_key(text: str) -> str:
    if not KEY_FORM.fullmatch(text):
        raise ValueError("not an idempotency key")
    return text
