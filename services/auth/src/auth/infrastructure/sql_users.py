"""Users in SQL."""

from datetime import datetime
from typing import Any

from sqlalchemy import func, insert, select, update
from sqlalchemy.engine import Row
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from auth.application.passwords import PasswordReplaced
from auth.domain.session import InvalidSession, SessionId
from auth.domain.user import StaleUser, User, UserId
from auth.infrastructure.sql_versions import raise_version
from auth.infrastructure.tables import sessions, users
from shared.clock import from_unix_ms, to_unix_ms
from shared.database import Database
from shared.principal import Role

USER_COLUMNS = (
    users.c.id.label("user_id"),
    users.c.email,
    users.c.name.label("user_name"),
    users.c.role.label("user_role"),
    users.c.disabled,
    users.c.must_change_password,
    users.c.password_hash,
    users.c.password_version,
    users.c.created_at.label("user_created_at"),
    users.c.last_login_at,
    users.c.version.label("user_version"),
)
_SELECT = select(*USER_COLUMNS)


class SqlUsers:
    """Finds users and keeps their passwords."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def with_email(self, email: str) -> User | None:
        """The user with this normalised e-mail address, or None."""
        return await self._first(users.c.email == email)

    async def with_id(self, id: UserId) -> User | None:
        """The user, or None."""
        return await self._first(users.c.id == id)

    async def is_any(self) -> bool:
        """Whether there is a user at all."""
        async with self._database.reading() as connection:
            return (await connection.execute(select(users.c.id).limit(1))).first() is not None

    async def add_first(self, user: User) -> bool:
        """Adds the user when there is none at all. False when somebody was faster."""
        try:
            async with self._database.writing() as connection:
                if (await connection.execute(select(func.count()).select_from(users))).scalar_one() > 0:
                    return False
                await connection.execute(insert(users).values(_to_row(user)))
                await raise_version(connection)
                return True
        except IntegrityError:  # where transactions that begin do not wait for each other
            return False

    async def replace_password(
        self, user: User, password_hash: str, *, keep: SessionId, now: datetime
    ) -> PasswordReplaced:
        """Stores the hash and ends all other sessions, in one transaction; raises StaleUser or InvalidSession."""
        async with self._database.writing() as connection:
            await require_open(connection, keep)
            changed = await connection.execute(
                update(users)
                .where(users.c.id == user.id, users.c.password_version == user.password_version)
                .values(
                    password_hash=password_hash,
                    password_version=users.c.password_version + 1,
                    must_change_password=False,
                    version=users.c.version + 1,
                )
            )
            if changed.rowcount == 0:
                raise StaleUser("The password was changed elsewhere in the meantime.")
            ended = await connection.execute(
                update(sessions)
                .where(sessions.c.user_id == user.id, sessions.c.id != keep, sessions.c.revoked_at.is_(None))
                .values(revoked_at=to_unix_ms(now))
            )
            return PasswordReplaced(await raise_version(connection), ended.rowcount)

    async def _first(self, condition: Any) -> User | None:
        async with self._database.reading() as connection:
            row = (await connection.execute(_SELECT.where(condition))).one_or_none()
        return None if row is None else to_user(row)


async def require_open(connection: AsyncConnection, id: SessionId) -> None:
    """Raises InvalidSession when the session was closed; for changes that outlive the session they are made in.

    The edge's word for it can be a moment old, and ending the sessions of a thief has to be the end of it.
    """
    is_open = select(sessions.c.id).where(sessions.c.id == id, sessions.c.revoked_at.is_(None))
    if (await connection.execute(is_open)).first() is None:
        raise InvalidSession()


def to_user(row: Row[*tuple[Any, ...]]) -> User:
    """The user in a row that has USER_COLUMNS."""
    return User(
        id=UserId(row.user_id),
        email=row.email,
        name=row.user_name,
        role=Role(row.user_role),
        is_disabled=row.disabled,
        must_change_password=row.must_change_password,
        created_at=from_unix_ms(row.user_created_at),
        last_login_at=None if row.last_login_at is None else from_unix_ms(row.last_login_at),
        password_hash=row.password_hash,
        password_version=row.password_version,
        version=row.user_version,
    )


def _to_row(user: User) -> dict[str, object]:
    return {
        "id": user.id,
        "email": user.email,
        "name": user.name,
        "role": user.role.value,
        "disabled": user.is_disabled,
        "must_change_password": user.must_change_password,
        "password_hash": user.password_hash,
        "password_version": user.password_version,
        "created_at": to_unix_ms(user.created_at),
        "last_login_at": None if user.last_login_at is None else to_unix_ms(user.last_login_at),
        "version": user.version,
    }
