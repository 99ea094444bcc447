"""What a guesser tries first."""

import subprocess
import sys

import pytest

from auth.infrastructure.common_passwords import is_common


@pytest.mark.asvs("6.2.4")
@pytest.mark.parametrize(
    "password",
    [
        "123456789012",
        "passwordpassword",
        "PassWord1234",
        "qwertyuiopas",
        "trustno1trustno1",
        " " * 12,
        "a" * 1024,
        "password password",
    ],
)
def test_a_password_of_the_first_guesses_is_known(password: str) -> None:
    assert is_common(password)


@pytest.mark.asvs("6.1.2", "6.2.11")
@pytest.mark.parametrize(
    "password",
    ["peanutagent1", "administrator", "OpenClaw2026", "ada@example.org", "peanut agent admin", "Peanut_Agent_Admin"],
)
def test_words_of_the_platform_and_names_are_tried_first(password: str) -> None:
    assert is_common(password, ["ada@example.org", "ada"])


@pytest.mark.parametrize("password", ["correct horse battery staple", "peanut butter and jelly", "qhhy5-vadjy-rpgnd"])
def test_others_are_good(password: str) -> None:
    assert not is_common(password)


def test_the_estimator_is_loaded_at_the_first_question() -> None:
    program = "import sys, auth.main; print(any(name.startswith('zxcvbn') for name in sys.modules))"

    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert shown.stdout == "False\n"
