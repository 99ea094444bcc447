"""Sealed secrets open with the same key for the same agent, and in no other way."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.infrastructure.sealed_secrets import SealBroken, SealedSecrets

KEY, OTHER = bytes(range(32)), bytes(range(1, 33))


@given(st.text(min_size=1))
def test_what_is_sealed_can_be_opened(secret: str) -> None:
    secrets = SealedSecrets(KEY)

    assert secrets.open("a-1", secrets.seal("a-1", secret)) == secret


def test_the_form_says_version_and_key_and_each_sealing_is_another() -> None:
    secrets = SealedSecrets(KEY)
    one, two = secrets.seal("a-1", "sk"), secrets.seal("a-1", "sk")

    assert one != two
    assert one.split("|")[:2] == two.split("|")[:2]
    assert one.startswith("v1|")
    assert "sk" not in one


@pytest.mark.parametrize(("key", "agent"), [(OTHER, "a-1"), (KEY, "a-2")])
def test_neither_another_key_nor_another_agent_opens_it(key: bytes, agent: str) -> None:
    sealed = SealedSecrets(KEY).seal("a-1", "sk")

    with pytest.raises(SealBroken):
        SealedSecrets(key).open(agent, sealed)


@given(st.integers(min_value=0), st.characters(exclude_categories=["Cs"]))
def test_an_altered_one_does_not_open(place: int, letter: str) -> None:
    secrets = SealedSecrets(KEY)
    form, kid, nonce, ciphertext = secrets.seal("a-1", "sk-0123456789").split("|")
    place %= len(nonce + ciphertext)
    altered = (nonce + ciphertext)[:place] + letter + (nonce + ciphertext)[place + 1 :]
    if altered == nonce + ciphertext:
        return

    with pytest.raises(SealBroken):
        secrets.open("a-1", "|".join((form, kid, altered[: len(nonce)], altered[len(nonce) :])))


@pytest.mark.parametrize("text", ["", "v1", "v2|k|AAAA|AAAA", "v1|k|!|!", "v1|k||", "v1|a|b|c|d"])
def test_what_was_never_sealed_does_not_open(text: str) -> None:
    with pytest.raises(SealBroken):
        SealedSecrets(KEY).open("a-1", text)
