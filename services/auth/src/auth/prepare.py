"""`python -m auth.prepare`: migrates the database and, on a first start, makes the first admin.

Prints one line of JSON: `{"adminPassword": "..."}` when it has generated one, else `{}`.
"""

import asyncio
import json
import secrets
import sys
from datetime import datetime

from auth.domain.password import ScryptCost, readable_password
from auth.domain.user import FIRST_ADMIN_EMAIL, User, UserId
from auth.infrastructure.scrypt_passwords import open_passwords
from auth.infrastructure.sql_users import SqlUsers
from auth.settings import PrepareSettings
from shared.clock import utc_now
from shared.database import open_database
from shared.ids import new_id
from shared.migrations import migrate
from shared.principal import Role
from shared.settings import load


def main() -> None:
    """Makes the database ready; as often and by as many at once as may be."""
    settings = load(PrepareSettings)
    migrate(settings.database_of("auth"), "auth")
    generated = asyncio.run(seed(settings))
    sys.stdout.write(json.dumps({"adminPassword": generated} if generated else {}) + "\n")


async def seed(settings: PrepareSettings) -> str | None:
    """Makes the first admin if there is no user; returns the password when it was generated for that."""
    given = settings.default_admin_password
    password = given.get_secret_value() if given else readable_password(secrets.choice)
    async with open_database(settings.database_of("auth")) as database:
        users = SqlUsers(database)
        if await users.is_any():
            return None
        with open_passwords(ScryptCost(p=settings.scrypt_p)) as hashing:
            password_hash = hashing.hash(password)
        is_made = await users.add_first(first_admin(password_hash, must_change_password=given is None, now=utc_now()))
    return password if is_made and given is None else None


def first_admin(password_hash: str, *, must_change_password: bool, now: datetime) -> User:
    """The admin that every installation begins with."""
    return User(
        id=UserId(new_id()),
        email=FIRST_ADMIN_EMAIL,
        name="Admin",
        role=Role.ADMIN,
        must_change_password=must_change_password,
        created_at=now,
        password_hash=password_hash,
    )


if __name__ == "__main__":
    main()
