"""The locks: every package in one version, known by its hashes, and none that this platform must not depend on."""

import re
from pathlib import Path

import pytest

LOCKS = sorted((Path(__file__).parents[3] / "deploy" / "locks").glob("*.txt"))
OTHER_GATEWAYS = {"litellm", "portkey-ai", "any-llm-sdk", "mlflow", "openclaw"}
"""Their faults, and whoever takes over their releases, are not ours."""
_PINNED = re.compile(r"^([a-z0-9][a-z0-9._-]*)==[^ ;\\]+(?: ;[^\\]*)? \\$")


def requirements(lock: Path) -> list[str]:
    """Each requirement with its hashes, as one text."""
    lines = [line for line in lock.read_text(encoding="utf-8").splitlines() if not line.lstrip().startswith("#")]
    return re.split(r"\n(?=\S)", "\n".join(line for line in lines if line.strip()))


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_everything_is_pinned_and_known_by_its_hashes(lock: Path) -> None:
    found = requirements(lock)

    assert found
    assert [each for each in found if not _PINNED.match(each.splitlines()[0])] == []
    assert [each for each in found if "--hash=sha256:" not in each] == []


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_a_lock_names_no_index_and_no_other_gateway(lock: Path) -> None:
    names = {each.partition("==")[0] for each in requirements(lock)}

    assert "://" not in re.sub(r"(?m)#.*$", "", lock.read_text(encoding="utf-8"))
    assert names & OTHER_GATEWAYS == set()
