"""Logging in and out."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from auth.application.passwords import Announce, Hashing, HashingPlace, require_session
from auth.domain.password import require_size
from auth.domain.session import Session, SessionId, open_session
from auth.domain.user import InvalidCredentials, User, UserId, normalised_email, why_refused
from shared.audit import AuditTrail, Change, Resource
from shared.bus import CallContext
from shared.contracts.audit import Action
from shared.ids import new_id
from shared.principal import Principal, PrincipalKind


@dataclass(frozen=True, slots=True)
class Opened:
    """A session that was opened, with the token that names it."""

    user: User
    session: Session
    token: str = field(repr=False)


class UserFinder(Protocol):
    """Where users are found."""

    async def with_email(self, email: str) -> User | None:
        """The user with this (normalised) e-mail address, or None."""


class SessionStore(Protocol):
    """Where sessions are kept."""

    async def open(self, session: Session, user: User, rehashed: str | None) -> tuple[User, int]:
        """Adds the session; returns the user as of now and the new version. `rehashed` replaces the password's hash.

        Raises InvalidCredentials when the user was disabled or got another password since `user` was read.
        """

    async def close(self, id: SessionId, *, now: datetime) -> int | None:
        """Revokes the session; returns the new version, or None when it is not open."""


class Tokens(Protocol):
    """Names sessions to browsers."""

    def issue(self, session: Session) -> str:
        """The token of a session."""


class Sessions:
    """Opens and closes sessions."""

    def __init__(
        self,
        users: UserFinder,
        store: SessionStore,
        hashing: Hashing,
        tokens: Tokens,
        audit: AuditTrail,
        *,
        announce: Announce,
        now: Callable[[], datetime],
    ) -> None:
        self._users = users
        self._store = store
        self._hashing = hashing
        self._tokens = tokens
        self._audit = audit
        self._announce = announce
        self._now = now

    async def log_in(self, email: str, password: str, context: CallContext) -> Opened:
        """Opens a session; raises InvalidCredentials in the same time whatever was wrong."""
        email = normalised_email(email)
        require_size("password", password)
        with self._hashing.place() as place:
            user = await self._users.with_email(email)
            resource = Resource("user", user.id if user else "")
            async with self._audit.change(Action.AUTH_LOGIN, resource, context, email=email) as change:
                change.action = Action.AUTH_LOGIN_FAILED  # until it has not failed
                verified = await _verified(user, password, place, change)
                opened = await self._open(verified, password, place, context)
                change.action = Action.AUTH_LOGIN
                change.who = _principal(opened)
                change.details["sessionId"] = opened.session.id
                return opened

    async def log_out(self, context: CallContext) -> None:
        """Closes the caller's session, whether the audit log can be written or not. Raises Forbidden for a key."""
        caller = require_session(context, "log out")
        number = await self._store.close(SessionId(caller.credential_id), now=self._now())
        if number is None:
            return  # somebody was faster, and has it recorded
        await self._announce(number, caller.user_id)
        await self._audit.defend(Action.AUTH_LOGOUT, Resource("session", caller.credential_id), context)

    async def _open(self, user: User, password: str, place: HashingPlace, context: CallContext) -> Opened:
        rehashed = await place.hash(password) if place.is_outdated(user.password_hash) else None
        origin = context.caller.origin
        session = open_session(
            SessionId(new_id()),
            UserId(user.id),
            now=self._now(),
            ip_address=origin.ip_address,
            user_agent=origin.user_agent,
        )
        user, number = await self._store.open(session, user, rehashed)
        await self._announce(number, user.id)
        return Opened(user, session, self._tokens.issue(session))


async def _verified(user: User | None, password: str, place: HashingPlace, change: Change) -> User:
    is_right = await place.is_right(password, user.password_hash if user else None)
    cause = why_refused(user, has_right_password=is_right)
    if user is None or cause is not None:
        change.details["cause"] = cause
        raise InvalidCredentials()
    return user


def _principal(opened: Opened) -> Principal:
    user = opened.user
    return Principal(
        kind=PrincipalKind.SESSION,
        user_id=user.id,
        email=user.email,
        role=user.role,
        credential_id=opened.session.id,
    )
