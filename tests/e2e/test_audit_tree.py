"""Checkpoints and proofs over HTTP, checked as an outsider would, and a new key for them."""

import asyncio
import base64
from typing import Any

import httpx
import pytest

from shared.tlog.checkpoints import Checkpoint, open_checkpoint
from shared.tlog.merkle import leaf_hash, verify_consistency, verify_inclusion
from shared.tlog.notes import CosignatureVerifier, Verifier, open_note
from tests.e2e.platform import Platform

WITHIN_S = 20.0


def log_key(platform: Platform) -> Verifier:
    return Verifier.parse((platform.root / "data" / "audit" / "note.pub").read_text().strip())


async def covering(client: httpx.AsyncClient, platform: Platform, size: int) -> tuple[Checkpoint, str]:
    """The first checkpoint of at least so many entries."""
    async with asyncio.timeout(WITHIN_S):
        while True:
            answer = await client.get("/api/v1/audit/checkpoint")
            if answer.status_code == 200:
                assert answer.headers["content-type"] == "text/plain; charset=utf-8"
                checkpoint = open_checkpoint(answer.text, log_key(platform))
                if checkpoint.size >= size:
                    return checkpoint, answer.text
            await asyncio.sleep(0.1)


async def recorded(client: httpx.AsyncClient) -> dict[str, Any]:
    """An entry that was made just now."""
    made = await client.post("/api/v1/keys", json={"name": "x", "role": "viewer"})
    assert made.status_code == 201, made.text
    page = (await client.get("/api/v1/audit", params={"resourceId": made.json()["id"]})).json()
    entry: dict[str, Any] = page["entries"][0]
    return entry


def hashes(encoded: list[str]) -> list[bytes]:
    return [base64.b64decode(hash, validate=True) for hash in encoded]


async def test_an_entry_is_proved_to_be_in_the_log_that_was_signed(
    admin: httpx.AsyncClient, operator: httpx.AsyncClient, platform: Platform
) -> None:
    entry = await recorded(admin)
    await covering(operator, platform, entry["index"] + 1)

    answer = await operator.get(f"/api/v1/audit/proof/{entry['index']}")

    proof = answer.json()
    checkpoint = open_checkpoint(proof["checkpoint"], log_key(platform))
    leaf = leaf_hash(bytes.fromhex(entry["fingerprint"]))
    assert (answer.status_code, proof["fingerprint"]) == (200, entry["fingerprint"])
    assert (base64.b64decode(proof["leafHash"]), proof["treeSize"]) == (leaf, checkpoint.size)
    verify_inclusion(entry["index"], checkpoint.size, leaf, hashes(proof["proof"]), checkpoint.root)


async def test_a_later_checkpoint_extends_an_earlier_one(
    admin: httpx.AsyncClient, operator: httpx.AsyncClient, platform: Platform
) -> None:
    first = await recorded(admin)
    earlier, _ = await covering(operator, platform, first["index"] + 1)
    second = await recorded(admin)
    later, _ = await covering(operator, platform, max(second["index"], earlier.size) + 1)

    answer = await operator.get("/api/v1/audit/consistency", params={"from": earlier.size, "to": later.size})

    proof = answer.json()
    assert (answer.status_code, proof["from"], proof["to"]) == (200, earlier.size, later.size)
    verify_consistency(earlier.size, later.size, earlier.root, later.root, hashes(proof["proof"]))


async def test_a_checkpoint_is_cosigned_by_the_witness_and_stands_in_each_answer(
    admin: httpx.AsyncClient, operator: httpx.AsyncClient, platform: Platform
) -> None:
    entry = await recorded(admin)
    witness_key = ((platform.root / "data-witness") / "witness.pub").read_text().strip()
    witness = CosignatureVerifier.parse(witness_key)

    async with asyncio.timeout(WITHIN_S):
        while True:
            checkpoint, note = await covering(operator, platform, entry["index"] + 1)
            if f"— {witness.name} " in note:
                break
            await asyncio.sleep(0.1)
    page = (await operator.get("/api/v1/audit", params={"limit": 1})).json()

    assert open_note(note, [witness]) == checkpoint.text
    assert open_checkpoint(page["integrity"]["checkpoint"], log_key(platform)).size >= checkpoint.size


@pytest.mark.parametrize(
    ("path", "status", "reason"),
    [
        ("/api/v1/audit/proof/99999999", 404, "not-covered-yet"),
        ("/api/v1/audit/proof/-1", 422, "invalid-fields"),
        ("/api/v1/audit/proof/x", 422, "invalid-fields"),
        (f"/api/v1/audit/proof/{2**63}", 422, "invalid-fields"),
        ("/api/v1/audit/consistency?from=1&to=99999999", 404, "not-covered-yet"),
        ("/api/v1/audit/consistency?from=2&to=1", 422, "invalid-fields"),
        ("/api/v1/audit/consistency?from=1", 422, "invalid-fields"),
        ("/api/v1/audit/consistency?from=0&to=1&x=1", 422, "invalid-fields"),
        ("/api/v1/audit/consistency?from=-1&to=1", 422, "invalid-fields"),
    ],
)
async def test_what_cannot_be_proved_is_refused_in_words(
    operator: httpx.AsyncClient, path: str, status: int, reason: str
) -> None:
    answer = await operator.get(path)

    assert (answer.status_code, answer.json()["type"]) == (status, f"/problems/{reason}")


@pytest.mark.asvs("8.2.1")
@pytest.mark.parametrize("path", ["checkpoint", "proof/0", "consistency?from=0&to=1"])
async def test_a_viewer_sees_nothing_of_it(anonymous: httpx.AsyncClient, platform: Platform, path: str) -> None:
    async with platform.client(platform.key("viewer")) as viewer:
        refused = await viewer.get(f"/api/v1/audit/{path}")
    unknown = await anonymous.get(f"/api/v1/audit/{path}")

    assert (refused.status_code, unknown.status_code) == (403, 401)


async def test_a_new_key_signs_what_comes_after_the_entry_that_hands_over(
    admin: httpx.AsyncClient, operator: httpx.AsyncClient, platform: Platform
) -> None:
    old = log_key(platform)

    said = platform.command("audit-key", within=60).stdout
    entry = await recorded(admin)
    checkpoint, _ = await covering(operator, platform, entry["index"] + 1)

    new = log_key(platform)
    entries = (await operator.get("/api/v1/audit", params={"action": "audit.key_changed"})).json()["entries"]
    assert new != old
    assert [old.text in said, new.text in said] == [True, True]
    assert entries[0]["details"]["note"].startswith(f"peanut-audit/key-change/v1\n{old.text}\n{new.text}\n")
    assert checkpoint.size > entries[0]["index"]
    assert (platform.root / "data" / "audit" / "retired.pub").read_text().splitlines()[-1] == old.text
