"""An edge on a port of its own whose every route is one handler, and which knows nobody; or with routes of its own."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

from edge.http.addresses import ClientAddresses
from edge.http.origins import Origins
from edge.http.pipeline import Handler, HotRoutes, NoSuchRoute, Pipeline
from edge.http.request import Request
from edge.http.response import Response, policy_headers
from edge.http.server import serving
from edge.identities import Known
from edge.metrics import Meter
from shared.contracts.auth import Identity, User
from shared.errors import ErrorCode, PlatformError
from shared.principal import Principal, PrincipalKind, Role
from tests.integration.ports import free_port


class InvalidApiKey(PlatformError):
    code = ErrorCode.UNAUTHENTICATED
    reason = "invalid-api-key"


class Door:
    """Identities of those who show `key-<user>`, or `session-<user>`, until they are shut out."""

    def __init__(self) -> None:
        self.shut: set[str] = set()

    async def of(self, shown: Any) -> Known:
        return await self.still(shown)

    async def still(self, shown: Any) -> Known:
        kind, _, user_id = shown.value.decode().partition("-")
        if kind not in {"key", "session"} or user_id in self.shut or shown.is_key != (kind == "key"):
            raise InvalidApiKey("No.")
        return known(user_id, PrincipalKind.KEY if shown.is_key else PrincipalKind.SESSION)


def known(user_id: str = "01", kind: PrincipalKind = PrincipalKind.KEY) -> Known:
    user = User(
        id=user_id,
        email="ada@example.org",
        name="Ada",
        role=Role.VIEWER,
        totp_enabled=False,
        backup_codes_left=0,
        must_change_password=False,
        created_at=datetime(2026, 11, 22, tzinfo=UTC),
        last_login_at=None,
    )
    principal = Principal(kind=kind, user_id=user_id, email=user.email, role=user.role, credential_id=f"c-{user_id}")
    return Known(Identity(principal=principal, user=user, expires_at=None, version=1))


async def nowhere(_request: Request) -> Response:
    raise NoSuchRoute("Nothing is served here.")


@asynccontextmanager
async def edge(
    handler: Handler = nowhere,
    *,
    public_url: str = "http://localhost:3001",
    hot: HotRoutes | None = None,
    door: Door | None = None,
) -> AsyncIterator[int]:
    """Its port."""

    class NoRefusals:
        def note(self, _request: Request, _response: Response) -> None: ...

    identities: Any = door
    refusals: Any = NoRefusals()
    policy = policy_headers(https=public_url.startswith("https://"))
    pipeline = Pipeline(
        hot=hot or {},
        rest=handler,
        identities=identities,
        origins=Origins(hosts=frozenset({"localhost"}), origins=frozenset({public_url})),
        addresses=ClientAddresses(()),
        refusals=refusals,
        meter=Meter("edge-1"),
        policy=policy,
    )
    port = free_port()
    async with serving(pipeline, host="127.0.0.1", port=port, is_proxy=lambda _peer: False, policy=policy):
        yield port
