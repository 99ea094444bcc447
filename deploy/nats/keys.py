"""The identities of the bus: one Ed25519 nkey per user, made once and kept as a file that only its owner reads."""

import os
from collections.abc import Iterable
from pathlib import Path

import nkeys

from deploy.local.private_files import private_directory, write_new


def public_keys(folder: Path, users: Iterable[str]) -> dict[str, str]:
    """Each user's public key. A user without a seed (`<user>.nk`, mode 600) gets one; one that is there stays.

    Raises `ValueError` for a file that holds no seed of a user.
    """
    private_directory(folder)
    return {user: _public_key(folder / f"{user}.nk") for user in users}


def _public_key(path: Path) -> str:
    if not path.exists():
        write_new(path, _new_seed())
    try:
        key = nkeys.from_seed(path.read_bytes()).public_key.decode()
    except nkeys.NkeysError as error:
        raise ValueError(f"{path} holds no nkey seed") from error
    if not key.startswith("U"):
        raise ValueError(f"{path} holds the seed of something other than a user")
    return str(key)


def _new_seed() -> str:
    seed: bytes = nkeys.encode_seed(os.urandom(32), nkeys.PREFIX_BYTE_USER)
    return seed.decode()  # no newline: clients read the whole file as the seed
