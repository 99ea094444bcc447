"""One person's e-mail address, IP addresses and user agents leave the audit log, and the log stays valid."""

from typing import Any

import httpx
import pytest

from tests.e2e.platform import Platform

ERASURES = "/api/v1/audit/erasures"
PASSWORD = "seven quiet lighthouses at noon"


async def made_user(admin: httpx.AsyncClient, email: str) -> str:
    user = {"email": email, "name": "Ada", "role": "operator", "password": PASSWORD}
    made = await admin.post("/api/v1/users", json=user)
    assert made.status_code == 201, made.text
    return str(made.json()["id"])


async def entries(admin: httpx.AsyncClient, **filters: str) -> list[dict[str, Any]]:
    page = (await admin.get("/api/v1/audit", params={**filters, "limit": "100"})).json()
    assert page["integrityValid"] is True, page["integrity"]
    found: list[dict[str, Any]] = page["entries"]
    return found


async def test_a_person_is_erased_from_the_log_and_its_files(admin: httpx.AsyncClient, platform: Platform) -> None:
    email, agent = "ada.erased@example.org", "Adas-Own-Browser/7.3"
    user = await made_user(admin, email)
    async with platform.client() as ada:
        ada.headers["User-Agent"] = agent
        for password in (PASSWORD, "a wrong one of her"):
            await ada.post("/api/v1/auth/login", json={"email": email, "password": password})
    before = await entries(admin, userId=user)

    erased = await admin.post(ERASURES, json={"userId": user, "email": email})
    again = await admin.post(ERASURES, json={"userId": user, "email": email})
    after = await entries(admin, userId=user)
    [told] = await entries(admin, action="audit.personal_erased", resourceId=user)

    assert {entry["userAgent"] for entry in before} == {agent}
    assert erased.status_code == again.status_code == 200, erased.text
    assert erased.json()["entries"] >= len(before) > 0
    assert erased.json()["fields"] > erased.json()["entries"]
    assert again.json() == {"entries": 0, "fields": 0, "left": 0, "receipts": []}
    assert [receipt["index"] for receipt in erased.json()["receipts"]] == [told["index"]]
    assert {(entry["userEmail"], entry["ipAddress"], entry["userAgent"]) for entry in after} == {("", "", "")}
    assert {tuple(entry["erased"]) for entry in after} == {("ipAddress", "userAgent", "userEmail")}
    assert told["userEmail"] == "admin@peanut.local"
    assert told["details"]["fields"] == ["ipAddress", "userAgent", "userEmail"]
    assert told["erased"] == []
    files = b"".join(path.read_bytes() for path in (platform.root / "data").glob("audit.db*"))
    assert email.encode() not in files


async def test_failed_log_ins_without_a_user_are_found_by_the_address(
    admin: httpx.AsyncClient, anonymous: httpx.AsyncClient
) -> None:
    email = "nobody.known@example.org"
    await anonymous.post("/api/v1/auth/login", json={"email": email, "password": "wrong"})
    [failed] = [entry for entry in await entries(admin, action="auth.login_failed") if entry["userEmail"] == email]

    erased = await admin.post(ERASURES, json={"email": "Nobody.Known@Example.org"})

    assert (erased.status_code, erased.json()["left"]) == (200, 0)
    [shown] = [entry for entry in await entries(admin, action="auth.login_failed") if entry["index"] == failed["index"]]
    assert (shown["userEmail"], "userEmail" in shown["erased"]) == ("", True)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"userId": ""},
        {"email": ""},
        {"userId": 7},
        {"userId": None, "email": None},
        {"userId": "x" * 257},
        {"userId": "x", "everything": True},
        ["userId"],
        None,
    ],
)
async def test_an_erasure_that_does_not_say_whose_is_refused(admin: httpx.AsyncClient, body: object) -> None:
    answer = await admin.post(ERASURES, json=body)

    assert answer.status_code == 422


async def test_only_admins_erase(
    platform: Platform, operator: httpx.AsyncClient, anonymous: httpx.AsyncClient, admin: httpx.AsyncClient
) -> None:
    body = {"userId": "somebody"}
    async with platform.client(platform.key("viewer")) as viewer, platform.client(platform.key("admin")) as key:
        statuses = [(await client.post(ERASURES, json=body)).status_code for client in (anonymous, viewer, operator)]
        by_key = await key.post(ERASURES, json=body)

    assert statuses == [401, 403, 403]
    assert (by_key.status_code, by_key.json()["entries"]) == (200, 0)


async def test_a_site_of_somebody_else_cannot_have_an_admin_erase(admin: httpx.AsyncClient) -> None:
    answer = await admin.post(ERASURES, json={"userId": "x"}, headers={"Origin": "https://elsewhere.example"})

    assert answer.status_code == 403
