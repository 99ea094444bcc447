"""Files that only their owner may read, from the first byte on."""

import os
import secrets
from pathlib import Path


def private_directory(path: Path) -> Path:
    """Makes the directory if need be; others cannot look into it."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return path


def write_new(path: Path, content: str) -> bool:
    """Writes a file that is not there yet, whole or not at all, mode 600. False when it was there: it stays as it is.

    Linking, unlike renaming, fails when somebody else was faster, so of two writers the second sees the first's file.
    """
    scratch = _scratch(path, content)
    try:
        os.link(scratch, path)
    except FileExistsError:
        return False
    finally:
        scratch.unlink()
    return True


def replace(path: Path, content: str) -> None:
    """Writes a file, mode 600; a reader sees the old content or the new one, never a part."""
    _scratch(path, content).rename(path)


def _scratch(path: Path, content: str) -> Path:
    scratch = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "w", encoding="utf-8") as file:
        file.write(content)
    return scratch
