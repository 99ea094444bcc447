"""`make key`: an API key for trying things, made by whoever may read the local operator's bus identity."""

import asyncio
import getpass
import logging
import os
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from deploy.local import environment, settings
from deploy.local.problem import Problem
from deploy.local.settings import Settings
from shared.bus import Bus, Contract, Message, call_context, connect
from shared.contracts.auth import ISSUE_KEY, IssueKey
from shared.errors import PlatformError
from shared.principal import Caller, Principal, PrincipalKind, Role

_WITHIN_S = 3.0

Q = TypeVar("Q", bound=Message)
A = TypeVar("A", bound=Message)
T = TypeVar("T")


def main(root: Path | None = None) -> int:
    """Prints a new key, and nothing else, on standard output. Raises `Problem` when there is none to be had."""
    ours = settings.read(root or Path.cwd(), environment.read(root or Path.cwd()))
    made = done(asked_by_local_operator(ours, ISSUE_KEY, _wish(ours)))
    print(made.key.get_secret_value())
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


class LocalOperator:
    """The local operator identity on the bus."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    async def ask(self, contract: Contract[Q, A], request: Q) -> A:
        """The answer to a call of its own; raises PlatformError."""
        context = call_context(seconds=contract.kind.seconds, caller=_local_operator())
        return await self._bus.call(contract, request, context)


def done(work: Coroutine[Any, Any, T]) -> T:
    """What comes of work on the bus; raises `Problem` with one line for people."""
    logging.disable()  # what the bus says while it tries becomes that line in the end
    try:
        return asyncio.run(work)
    except PlatformError as error:
        raise Problem(f"{error.detail} (`make up` starts everything)") from None
    finally:
        logging.disable(logging.NOTSET)


async def asked_by_local_operator(ours: Settings, contract: Contract[Q, A], request: Q) -> A:
    """The answer to a single call of the local operator identity; raises PlatformError."""
    async with as_local_operator(ours) as operator:
        return await operator.ask(contract, request)


@asynccontextmanager
async def as_local_operator(ours: Settings) -> AsyncIterator[LocalOperator]:
    """The local operator while the block runs; raises PlatformError without a bus."""
    async with connect(
        ours.nats_url,
        service="operator",
        instance=f"operator-{os.getpid()}",
        nkey_file=ours.nats_dir / "operator.nk",
        on_lost=lambda: None,
        within=_WITHIN_S,
    ) as bus:
        yield LocalOperator(bus)


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
