"""Makes `.venv` from the hash-pinned locks, when it is missing or they have changed.

Runs on a bare Python, with the standard library only. An old Python 3 has to get as far as its one clear line: no
syntax here is newer than 3.6.
"""

import sys

if sys.version_info < (3, 11):  # noqa: UP036 - this script is what says so
    sys.exit(
        f"PeanutAgent needs Python 3.11 or newer and {sys.executable} is {sys.version_info[0]}.{sys.version_info[1]}: "
        "install one and name it, for example PYTHON=python3.13 make up"
    )

import contextlib
import fcntl
import hashlib
import importlib.util
import os
import subprocess
import sysconfig
import time
from collections.abc import Iterator
from pathlib import Path

_ENVIRONMENT = Path(".venv")
_UV_LOCK = Path("deploy/locks/uv.txt")
_LOCK = Path("deploy/locks/dev.txt")
_VERSION = f"{sys.version_info[0]}.{sys.version_info[1]}"


def main(root: Path = Path(__file__).parents[2]) -> None:
    """Ends with one line when it cannot be done."""
    os.chdir(root)
    with _alone():
        wanted = _fingerprint()
        stamp = _ENVIRONMENT / ".made-from"
        if _is_usable() and stamp.exists() and stamp.read_text() == wanted:
            return
        _make()
        stamp.write_text(wanted)


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """Lets `make up` and `make test`, started together, make the environment once."""
    folder = os.open(".", os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _fingerprint() -> str:
    sources = [Path(__file__), _UV_LOCK, _LOCK, Path("pyproject.toml"), *(p / "pyproject.toml" for p in _packages())]
    return hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()


def _packages() -> list[Path]:
    return [Path("shared"), *sorted(found.parent for found in Path("services").glob("*/pyproject.toml"))]


def _is_usable() -> bool:
    """False when there is none, its Python has left the machine or is of another version than this one."""
    library = _ENVIRONMENT / "lib" / f"python{_VERSION}"
    return _python().exists() and _uv().exists() and library.is_dir()


def _make() -> None:
    started = time.monotonic()
    print("environment: installing the locked packages into .venv ...", flush=True)
    if not _is_usable():
        _create()
    _run([str(_uv()), "pip", "sync", "--python", str(_python()), "--require-hashes", str(_LOCK)])
    editables = [argument for package in _packages() for argument in ("--editable", str(package))]
    install = ["pip", "install", "--python", str(_python()), "--no-deps", "--no-build-isolation"]
    _run([str(_uv()), *install, *editables])
    print(f"environment: ready after {time.monotonic() - started:.1f} s", flush=True)


def _create() -> None:
    """An environment with nothing but uv in it.

    `python -m venv` alone takes 5-7 s, nearly all of it for installing a pip that would be used once; the wheel it is
    installed from also runs as it is.
    """
    if importlib.util.find_spec("venv") is None or importlib.util.find_spec("ensurepip") is None:
        sys.exit(f"{sys.executable} has no venv: install it (sudo apt install python{_VERSION}-venv)")
    _run([sys.executable, "-m", "venv", "--clear", "--without-pip", str(_ENVIRONMENT)])
    wheel = _bundled_pip()
    if wheel is None:
        _run([str(_python()), "-m", "ensurepip"])
    install = ["-m", "pip", "install", "--no-deps", "--no-compile", "--require-hashes", "--requirement", str(_UV_LOCK)]
    _run([str(_python()), *install], PYTHONPATH=str(wheel or ""), PIP_USER="0")  # whatever pip.conf says


def _bundled_pip() -> Path | None:
    """The wheel that ensurepip would install; Debian keeps it in a folder of its own (PEP 453, WHEEL_PKG_DIR)."""
    folders = [sysconfig.get_config_var("WHEEL_PKG_DIR"), sysconfig.get_path("stdlib") + "/ensurepip/_bundled"]
    wheels = [wheel for folder in folders if folder for wheel in sorted(Path(folder).glob("pip-*.whl"))]
    return wheels[-1] if wheels else None


def _python() -> Path:
    return _ENVIRONMENT / "bin" / "python"


def _uv() -> Path:
    return _ENVIRONMENT / "bin" / "uv"


def _run(command: list[str], **environment: str) -> None:
    """Runs quietly; a failure shows what the tool said and ends with one line."""
    result = subprocess.run(
        command,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if result.returncode != 0:
        sys.stderr.write(result.stdout)
        sys.exit(f"environment: `{' '.join(command[:4])}` failed, see above")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
