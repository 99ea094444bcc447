"""The public keys of bus agents: a file for each, named by the agent's id. Their seeds are with the agents alone."""

import os
import re
from collections.abc import Collection
from pathlib import Path

import nkeys

from deploy.local.private_files import private_directory, replace
from shared.ids import is_id

FOLDER = "agents"
"""Where they are, beside the keys of the platform itself."""

_PUBLIC_KEY = re.compile("U[A-Z2-7]{55}")


def new_pair() -> tuple[str, str]:
    """A seed, and the public key that belongs to it."""
    seed = nkeys.encode_seed(os.urandom(32), nkeys.PREFIX_BYTE_USER)
    return seed.decode(), str(nkeys.from_seed(bytearray(seed)).public_key.decode())


def known(nats_dir: Path) -> dict[str, str]:
    """Each agent's public key, by its id. Raises `ValueError` for a file that holds none."""
    return {path.stem: _read(path) for path in files(nats_dir)}


def files(nats_dir: Path) -> list[Path]:
    """The files that hold them."""
    return sorted((nats_dir / FOLDER).glob("*.pub"))


def keep(nats_dir: Path, agent_id: str, public_key: str) -> None:
    """Makes this the agent's one key."""
    if not is_id(agent_id) or not _PUBLIC_KEY.fullmatch(public_key):
        raise ValueError("not an agent's id and public key")
    replace(private_directory(nats_dir / FOLDER) / f"{agent_id}.pub", public_key)


def drop_others(nats_dir: Path, ids: Collection[str]) -> list[str]:
    """Forgets the keys of all agents but these; returns whose they were."""
    dropped = [path for path in files(nats_dir) if path.stem not in ids]
    for path in dropped:
        path.unlink(missing_ok=True)
    return [path.stem for path in dropped]


def _read(path: Path) -> str:
    text = path.read_text(encoding="utf-8").strip()
    if not is_id(path.stem) or not _PUBLIC_KEY.fullmatch(text):
        raise ValueError(f"{path} holds no public key of an agent")
    return text
