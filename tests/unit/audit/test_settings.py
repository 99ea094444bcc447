from pathlib import Path

import pytest

from audit.settings import AuditSettings
from shared.settings import load


def test_the_log_is_a_file_of_its_own_in_the_data_directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DATA_DIR", str(tmp_path))

    assert load(AuditSettings).log_file == tmp_path / "audit.db"
