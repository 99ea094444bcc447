"""Making the environment, with a stand-in for uv."""

import sys
from pathlib import Path

import pytest

from deploy.local import bootstrap

UV = """#!/bin/sh
echo "$@" >> calls
[ ! -e refuse ] || { echo "no such package"; exit 1; }
"""


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with an environment that was made by nobody we know."""
    for folder in ("deploy/locks", "shared", "services/auth", ".venv/bin", _library()):
        (tmp_path / folder).mkdir(parents=True)
    for file in ("deploy/locks/uv.txt", "deploy/locks/dev.txt", "pyproject.toml", "shared/pyproject.toml"):
        (tmp_path / file).touch()
    (tmp_path / "services/auth/pyproject.toml").touch()
    (tmp_path / ".venv/bin/python").symlink_to(sys.executable)
    (tmp_path / ".venv/bin/uv").write_text(UV)
    (tmp_path / ".venv/bin/uv").chmod(0o755)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_environment_is_made_once_and_again_when_a_lock_changes(root: Path) -> None:
    calls = [_calls_of(root), _calls_of(root)]
    (root / "deploy/locks/dev.txt").write_text("# another version")
    calls.append(_calls_of(root))

    assert calls == [2, 0, 2]
    assert "--require-hashes deploy/locks/dev.txt" in (root / "calls").read_text()
    assert "--no-deps --no-build-isolation --editable shared --editable services/auth" in (root / "calls").read_text()


def test_a_failure_shows_why_and_is_tried_again(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root / "refuse").touch()

    with pytest.raises(SystemExit, match="uv pip sync --python` failed, see above"):
        bootstrap.main(root)

    (root / "refuse").unlink()
    assert "no such package" in capsys.readouterr().err
    assert _calls_of(root) == 2


@pytest.mark.parametrize("wheel", [Path("pip.whl"), None])
def test_a_missing_environment_is_created_without_installing_pip_first(
    root: Path, monkeypatch: pytest.MonkeyPatch, wheel: Path | None
) -> None:
    commands: list[list[str]] = []
    monkeypatch.setattr(bootstrap, "_run", lambda command, **_: commands.append(command[1:4]))
    monkeypatch.setattr(bootstrap, "_bundled_pip", lambda: wheel)
    (root / ".venv/bin/python").unlink()

    bootstrap.main(root)

    ensured = [] if wheel else [["-m", "ensurepip"]]
    created = [["-m", "venv", "--clear"], *ensured, ["-m", "pip", "install"]]
    assert commands == [*created, ["pip", "sync", "--python"], ["pip", "install", "--python"]]


def test_a_python_without_venv_says_what_to_install(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / ".venv/bin/uv").unlink()
    monkeypatch.setitem(sys.modules, "ensurepip", None)

    with pytest.raises(SystemExit, match="has no venv: install it"):
        bootstrap.main(root)


def test_this_python_brings_a_pip() -> None:
    wheel = bootstrap._bundled_pip()

    assert wheel is None or wheel.suffix == ".whl"


def _library() -> str:
    return f".venv/lib/python{sys.version_info[0]}.{sys.version_info[1]}"


def _calls_of(root: Path) -> int:
    before = _count(root)
    bootstrap.main(root)
    return _count(root) - before


def _count(root: Path) -> int:
    calls = root / "calls"
    return len(calls.read_text().splitlines()) if calls.exists() else 0
