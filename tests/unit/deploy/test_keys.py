"""The identities of the bus."""

import stat
from pathlib import Path

import nkeys
import pytest

from deploy.nats.keys import public_keys


def test_each_user_gets_a_private_seed_that_stays(tmp_path: Path) -> None:
    folder = tmp_path / "nats"

    first = public_keys(folder, ["edge", "auth"])
    second = public_keys(folder, ["edge", "auth", "audit"])

    assert first.items() <= second.items()
    assert len(set(second.values())) == 3
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
    assert nkeys.from_seed((folder / "edge.nk").read_bytes()).public_key.decode() == first["edge"]


@pytest.mark.parametrize("content", ["", "nonsense", "SAADAJQDAMBQGAYDAMBQGAYDAMBQGAYDAMBQGAYDAMBQGAYDAMBQGAYDAM"])
def test_a_damaged_seed_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "edge.nk").write_text(content)

    with pytest.raises(ValueError, match=r"edge\.nk"):
        public_keys(tmp_path, ["edge"])
