"""Making the environment, with a stand-in for uv."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.deploy.conftest import REPOSITORY

UV = """#!/bin/sh
echo "$@" >> calls
[ ! -e refuse ] || { echo "no such package"; exit 1; }
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A project with an environment that was made by nobody we know."""
    for folder in ("deploy/local", "deploy/locks", "shared", "services/auth", ".venv/bin", _library()):
        (tmp_path / folder).mkdir(parents=True)
    for file in ("deploy/locks/uv.txt", "deploy/locks/dev.txt", "pyproject.toml", "shared/pyproject.toml"):
        (tmp_path / file).touch()
    (tmp_path / "services/auth/pyproject.toml").touch()
    shutil.copy(REPOSITORY / "deploy/local/bootstrap.py", tmp_path / "deploy/local")
    (tmp_path / ".venv/bin/python").symlink_to(sys.executable)
    (tmp_path / ".venv/bin/uv").write_text(UV)
    (tmp_path / ".venv/bin/uv").chmod(0o755)
    return tmp_path


def test_the_environment_is_made_once_and_again_when_a_lock_changes(root: Path) -> None:
    calls = [_calls_of(root), _calls_of(root)]
    (root / "deploy/locks/dev.txt").write_text("# another version")
    calls.append(_calls_of(root))

    assert calls == [2, 0, 2]
    assert "--require-hashes deploy/locks/dev.txt" in (root / "calls").read_text()
    assert "--no-deps --no-build-isolation --editable shared --editable services/auth" in (root / "calls").read_text()


def test_a_failure_shows_why_and_is_tried_again(root: Path) -> None:
    (root / "refuse").touch()

    failed = _bootstrap(root)
    (root / "refuse").unlink()

    assert failed.returncode == 1
    assert failed.stderr.splitlines()[-1] == "environment: `.venv/bin/uv pip sync --python` failed, see above"
    assert "no such package" in failed.stderr
    assert _calls_of(root) == 2


def _library() -> str:
    return f".venv/lib/python{sys.version_info[0]}.{sys.version_info[1]}"


def _calls_of(root: Path) -> int:
    before = _count(root)
    assert _bootstrap(root).returncode == 0
    return _count(root) - before


def _count(root: Path) -> int:
    calls = root / "calls"
    return len(calls.read_text().splitlines()) if calls.exists() else 0


def _bootstrap(root: Path) -> "subprocess.CompletedProcess[str]":
    script = root / "deploy/local/bootstrap.py"
    return subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=False)
