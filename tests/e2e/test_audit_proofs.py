"""Checkpoints and proofs over HTTP, checked by what an outsider has: hashlib, an Ed25519 key and the documents."""

import asyncio
import base64
import hashlib
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from shared.tlog.notes import CosignatureVerifier, open_note
from tests.e2e.platform import Platform

AUDIT = "/api/v1/audit"


def opened(platform: Platform, note: str) -> tuple[int, bytes]:
    """Size and root of a checkpoint that `note.pub` has signed."""
    name, _, encoded = (platform.root / "data/audit/note.pub").read_text(encoding="utf-8").strip().split("+", 2)
    text, _, signatures = note.partition("\n\n")
    own = next(line.split(" ")[2] for line in signatures.splitlines() if line.split(" ")[1] == name)
    key = Ed25519PublicKey.from_public_bytes(base64.b64decode(encoded)[1:])
    key.verify(base64.b64decode(own)[4:], f"{text}\n".encode())
    origin, size, root = text.split("\n")
    assert origin == name
    return int(size), base64.b64decode(root)


def root_by(proved: dict[str, Any]) -> bytes:
    """The root that an inclusion proof leads to (RFC 9162, 2.1.3.2)."""
    place, last = proved["index"], proved["treeSize"] - 1
    found = hashlib.sha256(b"\0" + bytes.fromhex(proved["fingerprint"])).digest()
    assert base64.b64encode(found).decode() == proved["leafHash"]
    for sibling in map(base64.b64decode, proved["proof"]):
        assert last > 0
        if place & 1 or place == last:
            found = hashlib.sha256(b"\1" + sibling + found).digest()
            while place and not place & 1:
                place, last = place >> 1, last >> 1
        else:
            found = hashlib.sha256(b"\1" + found + sibling).digest()
        place, last = place >> 1, last >> 1
    assert last == 0
    return found


async def covered(operator: httpx.AsyncClient) -> httpx.Response:
    """The proof of the newest entry, when there is one."""
    newest = (await operator.get(AUDIT, params={"limit": 1})).json()["entries"][0]["index"]
    async with asyncio.timeout(30):
        while True:
            answer = await operator.get(f"{AUDIT}/proof/{newest}")
            if answer.status_code == 200:
                return answer
            assert answer.json()["type"] == "/problems/not-covered-yet", answer.text
            await asyncio.sleep(0.1)


async def test_an_entry_is_proved_to_be_in_the_log_that_was_signed(
    platform: Platform, operator: httpx.AsyncClient
) -> None:
    await operator.post("/api/v1/openclaw/dispatch", json={"message": "to be proved"})

    proved = (await covered(operator)).json()
    entry = (await operator.get(AUDIT, params={"limit": 1})).json()

    size, root = opened(platform, proved["checkpoint"])
    assert (size, root) == (proved["treeSize"], root_by(proved))
    assert proved["fingerprint"] in [one["fingerprint"] for one in entry["entries"]]
    assert opened(platform, entry["integrity"]["checkpoint"])[0] >= size


async def test_the_checkpoint_is_a_note_as_text(platform: Platform, operator: httpx.AsyncClient) -> None:
    await covered(operator)

    answer = await operator.get(f"{AUDIT}/checkpoint")

    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/plain; charset=utf-8")
    assert opened(platform, answer.text)[0] > 0


async def test_one_size_of_the_log_is_proved_to_extend_another(operator: httpx.AsyncClient) -> None:
    size = (await covered(operator)).json()["treeSize"]

    whole = await operator.get(f"{AUDIT}/consistency", params={"from": size, "to": size})
    part = await operator.get(f"{AUDIT}/consistency", params={"from": 1, "to": size})

    assert whole.json() == {"from": size, "to": size, "proof": []}
    assert len(part.json()["proof"]) == (size - 1).bit_length()


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("proof/999999999", 404),
        (f"proof/{2**63 - 1}", 404),
        (f"proof/{2**63}", 422),
        ("proof/-1", 422),
        ("proof/x", 422),
        ("proof/0?x=1", 422),
        ("checkpoint?x=1", 422),
        ("consistency?from=1&to=999999999", 404),
        ("consistency?from=2&to=1", 422),
        ("consistency?from=-1&to=1", 422),
        ("consistency?from=1", 422),
        ("consistency?from=1&to=x", 422),
        ("consistency?from=1&to=1&x=1", 422),
        ("consistency?from=1&to=1&to=2", 422),
    ],
)
async def test_what_cannot_be_proved_is_the_clients_mistake(
    path: str, status: int, operator: httpx.AsyncClient
) -> None:
    await covered(operator)

    answer = await operator.get(f"{AUDIT}/{path}")

    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json"), answer.text


@pytest.mark.parametrize("path", ["checkpoint", "proof/0", "consistency?from=0&to=0"])
async def test_proofs_are_for_operators(path: str, platform: Platform, anonymous: httpx.AsyncClient) -> None:
    async with platform.client(platform.key("viewer")) as viewer:
        below = await viewer.get(f"{AUDIT}/{path}")

    assert (below.status_code, below.json()["type"]) == (403, "/problems/forbidden")
    assert (await anonymous.get(f"{AUDIT}/{path}")).status_code == 401


async def key_changes(operator: httpx.AsyncClient) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = (await operator.get(AUDIT, params={"action": "audit.key_changed"})).json()[
        "entries"
    ]
    return entries


async def test_after_a_change_of_the_key_the_new_one_signs(platform: Platform, operator: httpx.AsyncClient) -> None:
    before = (platform.root / "data/audit/note.pub").read_text(encoding="utf-8").strip()

    earlier = await key_changes(operator)

    said = platform.command("audit-key")
    proved = (await covered(operator)).json()

    after = (platform.root / "data/audit/note.pub").read_text(encoding="utf-8").strip()
    assert (said.returncode, before != after) == (0, True), said.stderr
    assert before in said.stdout
    assert after in said.stdout
    assert opened(platform, proved["checkpoint"])[1] == root_by(proved)
    (change,) = [entry for entry in await key_changes(operator) if entry not in earlier]
    assert change["details"]["note"].startswith(f"peanut-audit/key-change/v1\n{before}\n{after}\n\n")
    assert (platform.root / "data/audit/note.key").stat().st_mode & 0o777 == 0o600


async def test_the_witness_cosigns_and_the_newest_checkpoint_stands_in_each_answer(
    platform: Platform, operator: httpx.AsyncClient
) -> None:
    witness = CosignatureVerifier.parse((platform.root / "data-witness" / "witness.pub").read_text().strip())

    note = ""
    async with asyncio.timeout(20):
        while f"— {witness.name} " not in note:
            note = (await covered(operator)).json()["checkpoint"]
            await asyncio.sleep(0.1)
    page = (await operator.get("/api/v1/audit", params={"limit": 1})).json()

    size, _ = opened(platform, page["integrity"]["checkpoint"])
    assert open_note(note, [witness]).splitlines()[0] == "peanut.local/audit"
    assert size > 0
