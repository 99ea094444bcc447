"""Sealed secrets open with the same key for the same agent at the same origin, and in no other way."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.infrastructure.sealed_secrets import SealBroken, SealedSecrets

KEY, OTHER = bytes(range(32)), bytes(range(1, 33))
ORIGIN = "https://example.org:443"


@given(st.text(min_size=1))
def test_what_is_sealed_can_be_opened(secret: str) -> None:
    secrets = SealedSecrets(KEY)

    assert secrets.open("a-1", ORIGIN, secrets.seal("a-1", ORIGIN, secret)) == secret


def test_the_form_says_version_and_key_and_each_sealing_is_another() -> None:
    secrets = SealedSecrets(KEY)
    one, two = secrets.seal("a-1", ORIGIN, "sk"), secrets.seal("a-1", ORIGIN, "sk")

    assert one != two
    assert one.split("|")[:2] == two.split("|")[:2]
    assert one.startswith("v2|")
    assert "sk" not in one


@pytest.mark.parametrize(
    ("key", "agent", "origin"),
    [
        (OTHER, "a-1", ORIGIN),
        (KEY, "a-2", ORIGIN),
        (KEY, "a-1", "https://example.com:443"),
        (KEY, "a-1", "http://example.org:443"),
        (KEY, "a-1", "https://example.org:444"),
        (KEY, "a-1", ""),
    ],
)
def test_no_other_key_agent_or_origin_opens_it(key: bytes, agent: str, origin: str) -> None:
    sealed = SealedSecrets(KEY).seal("a-1", ORIGIN, "sk")

    with pytest.raises(SealBroken):
        SealedSecrets(key).open(agent, origin, sealed)


@given(st.integers(min_value=0), st.characters(exclude_categories=["Cs"]))
def test_an_altered_one_does_not_open(place: int, letter: str) -> None:
    secrets = SealedSecrets(KEY)
    form, kid, nonce, ciphertext = secrets.seal("a-1", ORIGIN, "sk-0123456789").split("|")
    place %= len(nonce + ciphertext)
    altered = (nonce + ciphertext)[:place] + letter + (nonce + ciphertext)[place + 1 :]
    if altered == nonce + ciphertext:
        return

    with pytest.raises(SealBroken):
        secrets.open("a-1", ORIGIN, "|".join((form, kid, altered[: len(nonce)], altered[len(nonce) :])))


@pytest.mark.parametrize("text", ["", "v2", "v1|k|AAAA|AAAA", "v2|k|!|!", "v2|k||", "v2|a|b|c|d"])
def test_what_was_never_sealed_does_not_open(text: str) -> None:
    with pytest.raises(SealBroken):
        SealedSecrets(KEY).open("a-1", ORIGIN, text)
