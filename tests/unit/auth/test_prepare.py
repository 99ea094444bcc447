"""The first start: one admin, however many prepare, however often."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from auth import prepare
from auth.domain.password import ScryptCost
from auth.infrastructure.scrypt_passwords import open_passwords
from auth.infrastructure.sql_users import SqlUsers
from shared.database import open_database
from shared.principal import Role
from tests.unit.auth.world import NOW


def _start(data: Path, **variables: str) -> "subprocess.Popen[str]":
    environment = {"PATH": os.environ["PATH"], "DATA_DIR": str(data), **variables}
    environment |= {name: value for name, value in os.environ.items() if name.startswith("COVERAGE")}
    return subprocess.Popen(
        [sys.executable, "-m", "auth.prepare"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


async def _opens(data: Path, password: str) -> tuple[bool, bool]:
    """Whether the only user is the first admin with that password, and whether it has to be changed."""
    async with open_database(f"sqlite+aiosqlite:///{data / 'auth.db'}") as database:
        user = await SqlUsers(database).with_email("admin@peanut.local")
    assert user is not None
    assert user.role is Role.ADMIN
    with open_passwords(ScryptCost()) as passwords:
        return passwords.is_right(password, user.password_hash), user.must_change_password


async def test_the_first_start_shows_a_password_and_the_second_does_not(tmp_path: Path) -> None:
    first, _ = _start(tmp_path).communicate()
    second, _ = _start(tmp_path).communicate()

    assert second == "{}\n"
    assert first.count("\n") == 1
    assert await _opens(tmp_path, json.loads(first)["adminPassword"]) == (True, True)
    assert (tmp_path / "auth.db").stat().st_mode & 0o077 == 0


async def test_prepared_by_several_at_once_there_is_one_admin_with_the_password_that_was_shown(tmp_path: Path) -> None:
    processes = [_start(tmp_path) for _ in range(3)]
    outputs = [process.communicate() for process in processes]

    shown = [json.loads(out)["adminPassword"] for out, _ in outputs if out != "{}\n"]
    assert [process.returncode for process in processes] == [0, 0, 0], outputs
    assert len(shown) == 1
    assert await _opens(tmp_path, shown[0]) == (True, True)


async def test_a_given_password_is_taken_and_not_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import asyncio

    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    monkeypatch.setenv("DEFAULT_ADMIN_PASSWORD", "a given first password")

    for _ in range(2):
        await asyncio.to_thread(prepare.main)

    assert capsys.readouterr().out == "{}\n{}\n"
    assert await _opens(tmp_path, "a given first password") == (True, False)


def test_the_published_default_stops_it(tmp_path: Path) -> None:
    process = _start(tmp_path, DEFAULT_ADMIN_PASSWORD="PeanutAdmin@2024!")

    out, err = process.communicate()

    assert (process.returncode, out) == (2, "")
    assert err.startswith("bad setting: DEFAULT_ADMIN_PASSWORD: ")
    assert err.count("\n") == 1
    assert not (tmp_path / "auth.db").exists()


async def test_of_two_that_add_a_first_user_one_does(file: Path) -> None:
    async with open_database(f"sqlite+aiosqlite:///{file}") as database:
        users = SqlUsers(database)
        admin = prepare.first_admin("$scrypt$", must_change_password=True, now=NOW)

        assert await users.add_first(admin)
        assert not await users.add_first(admin)
