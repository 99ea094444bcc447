"""Files that are there as a whole or not at all, and survive a power failure."""

import os
import secrets
from pathlib import Path


def write_durably(path: Path, body: bytes) -> None:
    """Writes a file that only its owner may read, in place of the one that is there; raises OSError.

    Returns once it would survive a power failure. The folder must exist.
    """
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(body)
            file.flush()
            os.fsync(file.fileno())
        draft.rename(path)
    except OSError:
        draft.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def _sync_folder(path: Path) -> None:
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
