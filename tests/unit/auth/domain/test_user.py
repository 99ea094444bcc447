"""E-mail addresses have one form, and refusals one cause."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auth.domain.user import User, UserId, normalised_email, why_refused
from shared.errors import InvalidFields
from shared.principal import Role

ADA = User(
    id=UserId("1"),
    email="ada@example.org",
    name="Ada",
    role=Role.VIEWER,
    created_at=datetime(2026, 1, 1, tzinfo=UTC),
    password_hash="$scrypt$hash",
)


@pytest.mark.parametrize(
    "text",
    [
        "ada@example.org",
        " Ada@Example.ORG\t",
        "ADA@EXAMPLE.ORG",
        "\uff41\uff44\uff41@example.org",
        "\u00a0ada@example.org\u3000",
    ],
)
def test_one_address_in_many_spellings_is_one_address(text: str) -> None:
    assert normalised_email(text) == "ada@example.org"


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_the_normal_form_is_its_own_normal_form(text: str) -> None:
    try:
        once = normalised_email(text)
    except InvalidFields:
        return

    assert normalised_email(once) == once


@pytest.mark.parametrize("text", ["a\x00@b", "a\n@b", "a\u202e@b"])
def test_control_characters_are_refused(text: str) -> None:
    with pytest.raises(InvalidFields) as refused:
        normalised_email(text)

    assert [error.path for error in refused.value.errors] == ["email"]


def test_a_user_is_only_kept_under_the_normal_form() -> None:
    with pytest.raises(ValueError, match="normal form"):
        replace(ADA, email="Ada@example.org")


def test_a_users_repr_does_not_show_the_hash() -> None:
    assert "scrypt" not in repr(ADA)


@pytest.mark.parametrize(
    ("user", "is_right", "cause"),
    [
        (None, False, "unknown-user"),
        (ADA, False, "wrong-password"),
        (replace(ADA, is_disabled=True), True, "disabled"),
        (replace(ADA, is_disabled=True), False, "wrong-password"),
        (ADA, True, None),
    ],
)
def test_the_cause_of_a_refusal_is_known_inside(user: User | None, is_right: bool, cause: str | None) -> None:
    assert why_refused(user, has_right_password=is_right) == cause
