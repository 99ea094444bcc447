"""Which services a changed file concerns."""

from pathlib import Path

from deploy.local.watching import affected

ROOT = Path("/project")


def test_a_service_is_concerned_by_its_own_sources() -> None:
    changed = [ROOT / "services/auth/src/auth/domain.py", ROOT / "services/edge/src/edge/notes.txt"]

    assert affected(changed, ROOT) == ["auth"]


def test_all_are_concerned_by_what_they_share() -> None:
    assert affected([ROOT / "shared/src/shared/ids.py"], ROOT) == ["witness", "audit", "auth", "orchestrator", "edge"]
