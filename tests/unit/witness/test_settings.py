from pathlib import Path

import pytest

from shared.settings import load
from shared.tlog.notes import Signer
from witness import prepare
from witness.settings import WitnessSettings

KEY = Signer.generate("peanut.local/audit").verifier


@pytest.fixture
def in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_the_directory_is_beside_the_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))

    assert load(WitnessSettings).directory == tmp_path / "data-witness"


def test_the_log_has_a_key_when_one_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load(WitnessSettings).log is None

    monkeypatch.setenv("WITNESS_LOG_KEY", KEY.text)

    assert load(WitnessSettings).log == KEY


@pytest.mark.parametrize(
    ("name", "value", "line"),
    [
        ("WITNESS_DIR", "data", "must not be inside DATA_DIR"),
        ("WITNESS_DIR", "data/deeper/witness", "must not be inside DATA_DIR"),
        ("WITNESS_DIR", "elsewhere/../data/witness", "must not be inside DATA_DIR"),
        ("WITNESS_NAME", "a b", "WITNESS_NAME: Value error, must be a name"),
        ("AUDIT_ORIGIN", "a+b", "AUDIT_ORIGIN: Value error, must be a name"),
        ("AUDIT_ORIGIN", "peanut.local/other", "must be the key of AUDIT_ORIGIN"),
        pytest.param("WITNESS_LOG_KEY", KEY.text[:-1], "must be the public key of a log", id="cut off"),
    ],
)
@pytest.mark.usefixtures("in_a_folder")
def test_a_bad_setting_is_refused_with_one_line(
    name: str, value: str, line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WITNESS_LOG_KEY", KEY.text)
    monkeypatch.setenv(name, value)

    with pytest.raises(SystemExit):
        load(WitnessSettings)
    assert line in capsys.readouterr().err


def test_preparing_says_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WITNESS_DIR", str(tmp_path / "witness"))

    prepare.main()

    assert capsys.readouterr().out == ""
    assert (tmp_path / "witness/witness.pub").read_text().startswith("peanut.local/witness+")


@pytest.mark.parametrize("broken", ["witness.key", ""])
def test_preparing_fails_with_one_line(broken: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "witness"
    if broken:
        place.mkdir()
        (place / broken).write_text("no key")
    else:
        place.write_text("a file")
    monkeypatch.setenv("WITNESS_DIR", str(place))

    with pytest.raises(SystemExit) as ended:
        prepare.main()
    assert str(place) in str(ended.value)
