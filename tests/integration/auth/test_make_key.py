"""`make key`: an API key on standard output and nothing else, or one line that says what is missing."""

import asyncio
from pathlib import Path

import pytest
from pydantic import SecretStr

from deploy.local import key
from deploy.local.problem import Problem
from shared.bus import Bus
from shared.contracts import auth
from shared.principal import Role
from tests.integration.auth.installation import ADMIN, AuditLog, Installation, context
from tests.integration.ports import free_port


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ROLE", "NAME", "OWNER", "SCALE", "PORT"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def root(installation: Installation, tmp_path: Path) -> Path:
    """A project whose .env leads to the installation."""
    (tmp_path / ".env").write_text(f"DATA_DIR={installation.data}\nNATS_URL={installation.nats.url}\n")
    return tmp_path


async def _keys(edge: Bus, text: str) -> auth.Identity:
    return await edge.call(auth.RESOLVE, auth.Credential(api_key=SecretStr(text)), context())


async def test_it_prints_an_operators_key_and_nothing_else(
    edge: Bus, audit: AuditLog, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await asyncio.to_thread(key.main, root) == 0

    printed, said = capsys.readouterr()
    identity = await _keys(edge, printed.rstrip("\n"))
    assert said == ""
    assert (identity.user.email, identity.principal.role) == (ADMIN, Role.OPERATOR)
    assert audit.entries[-1].details["name"] == "make key"
    assert audit.entries[-1].user_id == "local-operator"


async def test_it_takes_role_and_name_from_the_environment(
    edge: Bus, audit: AuditLog, root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROLE", "viewer")
    monkeypatch.setenv("NAME", "mine")

    await asyncio.to_thread(key.main, root)

    assert (await _keys(edge, capsys.readouterr().out.strip())).principal.role is Role.VIEWER
    assert audit.entries[-1].details["name"] == "mine"


@pytest.mark.usefixtures("edge", "audit")
@pytest.mark.parametrize(
    ("name", "value", "says"),
    [("ROLE", "root", "ROLE is 'root'"), ("NAME", "x" * 65, "NAME"), ("OWNER", "nobody@example.org", "no user")],
)
async def test_a_wish_that_cannot_be_met_is_one_line(
    root: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, says: str
) -> None:
    monkeypatch.setenv(name, value)

    with pytest.raises(Problem, match=says) as problem:
        await asyncio.to_thread(key.main, root)

    assert "\n" not in str(problem.value)


def test_without_a_bus_it_says_so(
    root: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NATS_URL", f"nats://127.0.0.1:{free_port()}")
    monkeypatch.setattr(key, "_WITHIN_S", 0.3)

    with pytest.raises(Problem, match="make up"):
        key.main(root)

    assert capfd.readouterr() == ("", "")


def test_without_an_identity_it_says_so(root: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DATA_DIR", str(tmp_path))

    with pytest.raises(Problem, match="holds no identity"):
        key.main(root)


async def test_without_the_auth_service_it_says_so(tmp_path: Path) -> None:
    empty = Installation(tmp_path)
    empty.nats.start()
    (tmp_path / ".env").write_text(f"DATA_DIR={empty.data}\nNATS_URL={empty.nats.url}\n")
    try:
        with pytest.raises(Problem, match="auth service is not running"):
            await asyncio.to_thread(key.main, tmp_path)
    finally:
        empty.nats.kill()
