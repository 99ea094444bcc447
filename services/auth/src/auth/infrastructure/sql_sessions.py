"""Sessions in SQL."""

from datetime import datetime

from sqlalchemy import case, delete, insert, select, update

from auth.domain.session import Session, SessionId
from auth.domain.user import InvalidCredentials, User
from auth.infrastructure.sql_users import USER_COLUMNS, to_user
from auth.infrastructure.sql_versions import raise_version
from auth.infrastructure.tables import sessions, users
from shared.clock import to_unix_ms
from shared.database import Database


class SqlSessions:
    """Opens, closes and removes sessions."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def open(self, session: Session, user: User, rehashed: str | None) -> tuple[User, int]:
        """Adds the session if the user is still as verified; raises InvalidCredentials otherwise."""
        now = to_unix_ms(session.created_at)
        async with self._database.writing() as connection:
            updated = await connection.execute(
                update(users)
                .where(
                    users.c.id == user.id,
                    users.c.password_version == user.password_version,
                    users.c.disabled.is_(False),
                )
                .values(
                    last_login_at=now,
                    version=users.c.version + 1,
                    # Another log-in may have hashed the same password anew already: then that one stays.
                    password_hash=case(
                        (users.c.password_hash == user.password_hash, rehashed or user.password_hash),
                        else_=users.c.password_hash,
                    ),
                )
                .returning(*USER_COLUMNS)
            )
            row = updated.one_or_none()
            if row is None:
                raise InvalidCredentials()
            await connection.execute(
                insert(sessions).values(
                    id=session.id,
                    user_id=session.user_id,
                    created_at=now,
                    expires_at=to_unix_ms(session.expires_at),
                    last_active_at=now,
                    ip_address=session.ip_address,
                    user_agent=session.user_agent,
                )
            )
            return to_user(row), await raise_version(connection)

    async def close(self, id: SessionId, *, now: datetime) -> int | None:
        """Revokes the session; None when it is not open."""
        async with self._database.writing() as connection:
            closed = await connection.execute(
                update(sessions)
                .where(sessions.c.id == id, sessions.c.revoked_at.is_(None))
                .values(revoked_at=to_unix_ms(now))
            )
            return None if closed.rowcount == 0 else await raise_version(connection)

    async def remove_expired(self, *, now: datetime, limit: int) -> int:
        """Removes at most `limit` sessions that have expired; they opened nothing any more. Returns how many."""
        expired = select(sessions.c.id).where(sessions.c.expires_at <= to_unix_ms(now)).limit(limit)
        async with self._database.writing() as connection:
            return (await connection.execute(delete(sessions).where(sessions.c.id.in_(expired)))).rowcount
