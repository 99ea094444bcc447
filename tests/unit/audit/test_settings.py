from pathlib import Path

import pytest

from audit.settings import AuditSettings
from shared.settings import load


def test_the_log_is_a_file_of_its_own_in_the_data_directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    monkeypatch.delenv("DATABASE_URL", raising=False)

    assert load(AuditSettings).log_file == tmp_path / "audit.db"


def test_another_file_can_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "sqlite:////srv/log.db")

    assert load(AuditSettings).log_file == Path("/srv/log.db")


@pytest.mark.parametrize("url", ["postgresql://db/audit", "nonsense", "sqlite://", "sqlite:///x?mode=ro"])
def test_a_database_of_another_kind_stops_the_start_with_one_line(
    url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DATABASE_URL", url)

    with pytest.raises(SystemExit) as end:
        load(AuditSettings)

    assert end.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1
