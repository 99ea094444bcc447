"""What is open to somebody who has still to do something: a new password first, then a second factor."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from edge.http.addresses import ClientAddresses
from edge.http.exchange import EXTENSION
from edge.http.origins import Origins
from edge.http.pipeline import Pipeline
from edge.http.request import Request
from edge.http.response import Response
from edge.identities import Known
from edge.metrics import Meter
from shared.contracts.auth import Identity, User
from shared.principal import Principal, PrincipalKind, Role
from tests.unit.edge.requests import request

ORIGIN = "http://localhost:3000"
ALWAYS = {
    ("GET", "/api/v1/auth/me"),
    ("POST", "/api/v1/auth/password"),
    ("POST", "/api/v1/auth/logout"),
    ("GET", "/health"),
}
TOTP = {("POST", "/api/v1/auth/totp/setup"), ("POST", "/api/v1/auth/totp/confirm")}
OTHERS = {
    ("GET", "/api/v1/agents"),
    ("GET", "/metrics"),
    ("DELETE", "/api/v1/auth/totp"),
    ("POST", "/api/v1/auth/totp/backup-codes"),
    ("GET", "/api/v1/auth/totp/setup"),
    ("DELETE", "/api/v1/auth/sessions"),
    ("POST", "/api/v1/openclaw/dispatch"),
}


def _known(kind: PrincipalKind, *, password: bool, factor: bool) -> Known:
    user = User(
        id="01",
        email="ada@example.org",
        name="Ada",
        role=Role.ADMIN,
        totp_enabled=False,
        backup_codes_left=0,
        must_change_password=password,
        must_enable_totp=factor,
        created_at=datetime(2026, 11, 22, tzinfo=UTC),
        last_login_at=None,
    )
    principal = Principal(kind=kind, user_id="01", email=user.email, role=user.role, credential_id="02")
    return Known(Identity(principal=principal, user=user, expires_at=None, version=1))


class Answered:
    """An exchange that keeps its answer."""

    status = 0
    body = b""

    async def answer(self, status: int, _common: bytes, _headers: object, body: bytes) -> None:
        self.status, self.body = status, body


async def _no_body() -> dict[str, Any]:
    return {"type": "http.request", "body": b"", "more_body": False}


async def _closed(known: Known) -> dict[tuple[str, str], str]:
    """The reasons of the routes that are not open to them."""

    class OneIdentity:
        async def of(self, _shown: object) -> Known:
            return known

    class NoRefusals:
        def note(self, _request: Request, _response: Response) -> None: ...

    async def rest(_request: Request) -> Response:
        return Response(200, b"{}")

    identities: Any = OneIdentity()
    refusals: Any = NoRefusals()
    pipeline = Pipeline(
        hot={},
        rest=rest,
        identities=identities,
        origins=Origins(hosts=frozenset({"localhost"}), origins=frozenset({ORIGIN})),
        addresses=ClientAddresses(()),
        refusals=refusals,
        meter=Meter("edge-1"),
        policy=(),
    )
    shown = ("authorization", "Bearer peanut_x") if known.used.is_key else ("cookie", "__Host-session=a.b.c")
    closed = {}
    for method, path in ALWAYS | TOTP | OTHERS:
        answered = Answered()
        asked = request(method, path, [("host", "localhost"), ("origin", ORIGIN), shown])
        asked.scope.update(type="http", extensions={EXTENSION: answered})
        await pipeline(asked.scope, _no_body, None)
        if answered.status != 200:
            closed[method, path] = json.loads(answered.body)["type"].removeprefix("/problems/")
    return closed


@pytest.mark.asvs("6.3.3")
@pytest.mark.parametrize("kind", [PrincipalKind.SESSION, PrincipalKind.KEY])
async def test_without_a_required_second_factor_only_setting_it_up_is_open(kind: PrincipalKind) -> None:
    closed = await _closed(_known(kind, password=False, factor=True))

    assert closed == dict.fromkeys(OTHERS, "totp-required")


async def test_the_password_has_to_be_changed_before() -> None:
    closed = await _closed(_known(PrincipalKind.SESSION, password=True, factor=True))

    assert closed == dict.fromkeys(OTHERS | TOTP, "password-change-required")


async def test_a_key_does_not_wait_for_its_owners_new_password() -> None:
    assert await _closed(_known(PrincipalKind.KEY, password=True, factor=False)) == {}


async def test_who_has_nothing_to_do_is_not_held_up() -> None:
    assert await _closed(_known(PrincipalKind.SESSION, password=False, factor=False)) == {}
