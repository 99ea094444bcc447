"""The list of passwords everybody tries first."""

import subprocess
import sys

import pytest

from auth.infrastructure.common_passwords import is_common


@pytest.mark.parametrize("password", ["123456", "password", "PassWord", "QWERTYUIOP", "trustno1"])
def test_a_common_password_is_known_in_any_case(password: str) -> None:
    assert is_common(password)


@pytest.mark.parametrize("password", ["correct horse battery staple", "", "peanut butter and jelly"])
def test_others_are_not_on_the_list(password: str) -> None:
    assert not is_common(password)


def test_the_list_is_loaded_at_the_first_question_and_without_the_rest_of_its_package() -> None:
    program = (
        "import sys, auth.main\n"
        "from auth.infrastructure import common_passwords as c\n"
        "before = c._list.cache_info().currsize\n"
        "c.is_common('x')\n"
        "print(before, c._list.cache_info().currsize, sorted(m for m in sys.modules if m.startswith('zxcvbn')))"
    )

    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert shown.stdout == "0 1 []\n"
