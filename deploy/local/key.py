"""`make key`: an API key for trying things, made by whoever may read the local operator's bus identity."""

import asyncio
import getpass
import logging
import os
from pathlib import Path

from pydantic import ValidationError

from deploy.local import environment, settings
from deploy.local.problem import Problem
from deploy.local.settings import Settings
from shared.bus import call_context, connect
from shared.contracts.auth import ISSUE_KEY, IssueKey
from shared.errors import PlatformError
from shared.principal import Caller, Principal, PrincipalKind, Role

_WITHIN_S = 3.0


def main(root: Path | None = None) -> int:
    """Prints a new key, and nothing else, on standard output. Raises `Problem` when there is none to be had."""
    ours = settings.read(root or Path.cwd(), environment.read(root or Path.cwd()))
    logging.disable()  # what the bus says while it tries becomes one line in the end
    try:
        print(asyncio.run(_issued(ours, _wish(ours))))
    except PlatformError as error:
        raise Problem(f"{error.detail} (`make up` starts everything)") from None
    finally:
        logging.disable(logging.NOTSET)
    return 0


def _wish(ours: Settings) -> IssueKey:
    wanted = ours.environment
    role = wanted.get("ROLE", Role.OPERATOR.value)
    if role not in set(Role):
        raise Problem(f"ROLE is {role!r}: there are {', '.join(Role)}")
    try:
        return IssueKey(
            owner_email=wanted.get("OWNER", "admin@peanut.local"), name=wanted.get("NAME", "make key"), role=Role(role)
        )
    except ValidationError:
        raise Problem("NAME has to have 1 to 64 characters") from None


async def _issued(ours: Settings, wish: IssueKey) -> str:
    async with connect(
        ours.environment.get("NATS_URL", "nats://127.0.0.1:4222"),
        service="operator",
        instance=f"operator-{os.getpid()}",
        nkey_file=ours.nats_dir / "operator.nk",
        on_lost=lambda: None,
        within=_WITHIN_S,
    ) as bus:
        issued = await bus.call(ISSUE_KEY, wish, call_context(seconds=ISSUE_KEY.kind.seconds, caller=_local_operator()))
    return issued.key.get_secret_value()


def _local_operator() -> Caller:
    return Caller(
        principal=Principal(
            kind=PrincipalKind.LOCAL_OPERATOR,
            user_id=PrincipalKind.LOCAL_OPERATOR.value,
            email="",
            role=Role.ADMIN,
            credential_id=_os_user(),
        )
    )


def _os_user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # in a container the user id may have no name
        return str(os.getuid())
