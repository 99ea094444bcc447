"""What the audit service answers: appends with receipts, and queries."""

from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from shared.bus import Contract, HttpMessage, Kind, Message, Moment


class Action(StrEnum):
    """Everything that is recorded; a closed list, `noun.past_participle`."""

    AUTH_LOGIN = "auth.login"
    AUTH_LOGOUT = "auth.logout"
    AUTH_LOGIN_FAILED = "auth.login_failed"
    AUTH_PASSWORD_CHANGED = "auth.password_changed"  # noqa: S105  # an action's name
    AUTH_TOTP_REQUIRED = "auth.totp_required"
    AUTH_TOTP_FAILED = "auth.totp_failed"
    AUTH_TOTP_SET_UP = "auth.totp_set_up"
    AUTH_TOTP_ENABLED = "auth.totp_enabled"
    AUTH_TOTP_DISABLED = "auth.totp_disabled"
    AUTH_TOTP_LOCKED = "auth.totp_locked"
    AUTH_BACKUP_CODES_RENEWED = "auth.backup_codes_renewed"
    SESSION_REVOKED = "session.revoked"
    USER_CREATED = "user.created"
    USER_UPDATED = "user.updated"
    USER_DELETED = "user.deleted"
    USER_SESSIONS_ENDED = "user.sessions_ended"
    USER_TOTP_RESET = "user.totp_reset"
    KEY_CREATED = "key.created"
    KEY_REVOKED = "key.revoked"
    AGENT_CREATED = "agent.created"
    AGENT_UPDATED = "agent.updated"
    AGENT_DELETED = "agent.deleted"
    AGENT_KEY_CREATED = "agent.key_created"
    AGENT_MAINTENANCE_BEGUN = "agent.maintenance_begun"
    AGENT_MAINTENANCE_ENDED = "agent.maintenance_ended"
    AGENT_REQUEST = "agent.request"
    CONVERSATION_DELETED = "conversation.deleted"
    REQUEST_REFUSED = "request.refused"
    AUDIT_PERSONAL_ERASED = "audit.personal_erased"
    AUDIT_KEY_CHANGED = "audit.key_changed"
    AUDIT_EXPORTED = "audit.exported"


class Phase(StrEnum):
    """An intent is recorded before an effect, an outcome after it."""

    INTENT = "intent"
    OUTCOME = "outcome"


class Outcome(StrEnum):
    """How it ended. `unknown` is written by the audit service for an intent that nobody concluded."""

    SUCCESS = "success"
    FAILURE = "failure"
    DENIED = "denied"
    UNKNOWN = "unknown"


Details = dict[str, Any]
Short = Annotated[str, Field(max_length=256)]


class NewEntry(Message):
    """An entry as a service sends it. `id` is the edge's event id: once per (id, phase)."""

    id: Annotated[str, Field(min_length=1, max_length=64)]
    request_id: Short
    phase: Phase = Field(strict=False)
    action: Action = Field(strict=False)
    outcome: Outcome | None = Field(default=None, strict=False)
    user_id: Short = ""
    user_email: Annotated[str, Field(max_length=1024)] = ""
    ip_address: Short = ""
    user_agent: Annotated[str, Field(max_length=1024)] = ""
    resource_type: Short = ""
    resource_id: Short = ""
    details: Details = Field(default_factory=dict)
    timestamp: Moment
    conclude_by: Annotated[int, Field(ge=0, lt=2**53)] | None = None
    """For an intent: the Unix milliseconds by which its outcome is due."""


class Append(Message):
    """Entries that are committed together. None at all asks only whether the log can be written."""

    entries: Annotated[list[NewEntry], Field(max_length=512)]


class Receipt(Message):
    """Proof that an entry is committed: its place in the log and the fingerprint that covers all before it."""

    index: int
    fingerprint: str


class Receipts(Message):
    """One receipt per entry, in the order they were sent."""

    receipts: list[Receipt]


def append_contract(service: str) -> Contract[Append, Receipts]:
    """The append of one service: the bus lets nobody else publish there, so the subject says who wrote."""
    return Contract(f"audit.entry.append.{service}", Append, Receipts, Kind.CHANGE)


class Query(Message):
    """Filters and a page of the log, newest first."""

    page: Annotated[int, Field(ge=1, le=1_000_000)] = 1
    limit: Annotated[int, Field(ge=1, le=100)] = 50
    user_id: str | None = None
    action: Action | None = Field(default=None, strict=False)
    resource_type: str | None = None
    resource_id: str | None = None
    outcome: Outcome | None = Field(default=None, strict=False)
    request_id: str | None = None
    start_date: Moment | None = None
    end_date: Moment | None = None
    verify: Literal["full"] | None = None


PersonalField = Literal["ipAddress", "userAgent", "userEmail"]


class Entry(Message):
    """An entry as it stands in the log, forged or not. The first one's `previous_fingerprint` is GENESIS."""

    index: int
    id: str
    request_id: str
    source: str
    phase: str
    action: str
    outcome: str | None
    user_id: str
    user_email: str
    ip_address: str
    user_agent: str
    resource_type: str
    resource_id: str
    details: Details
    timestamp: str
    previous_fingerprint: str
    fingerprint: str
    erased: list[PersonalField] = Field(default_factory=list)
    """Personal fields whose values are gone: erased, as long as the log is valid."""


class Integrity(Message):
    """What stands behind `integrity_valid`. `scrub_age_seconds` is the age of the last check of the whole log."""

    status: Literal["valid", "invalid", "verifying"]
    verified_entries: int
    checkpoint: str | None
    scrub_age_seconds: float | None
    first_bad_index: int | None = None


class Page(Message):
    """A page of the log, and whether the whole log is what was written."""

    entries: list[Entry]
    total: int
    page: int
    limit: int
    pages: int
    integrity_valid: bool
    integrity: Integrity


class Erase(HttpMessage):
    """Whose e-mail address, IP addresses and user agents are to be erased from all entries until now.

    By `user_id` the entries of that user; by `email`, in whatever case, those that name this address, such as failed
    log-ins, which have no user. Both together: either.
    """

    user_id: Annotated[str, Field(min_length=1, max_length=256)] | None = None
    email: Annotated[str, Field(min_length=1, max_length=1024)] | None = Field(
        default=None, examples=["ada@example.org"]
    )

    @model_validator(mode="after")
    def _names_somebody(self) -> Self:
        if self.user_id is None and self.email is None:
            raise ValueError("give userId, email or both")
        return self


class Erased(Message):
    """What was erased: `fields` values in `entries` entries, and the receipts of the entries that say so.

    `left` entries were not touched: what stands in them is not what was written, and is evidence.
    """

    entries: int
    fields: int
    left: int
    receipts: list[Receipt]


QUERY = Contract("audit.entry.query", Query, Page, Kind.READ)
ERASE = Contract("audit.personal.erase", Erase, Erased, Kind.CHANGE)
