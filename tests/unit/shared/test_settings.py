from pathlib import Path
from typing import Annotated

import pytest
from pydantic import AfterValidator, Field, SecretStr, model_validator

from shared.settings import ServiceSettings, load, require_key, require_secret

STRONG = "correct horse battery staple, and then some"


class Settings(ServiceSettings):
    jwt_secret: Annotated[SecretStr, AfterValidator(require_secret)]
    key: Annotated[SecretStr | None, AfterValidator(lambda value: value and require_key(value))] = None
    port: int = 3001
    hosts: list[str] = Field(default_factory=list)

    @model_validator(mode="after")
    def _ports(self) -> "Settings":
        if self.port == 1:
            raise ValueError("PORT is not for us")
        return self


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DATA_DIR", "NATS_URL", "INSTANCE", "LOG_LEVEL", "NATS_NKEY_FILE", "PORT", "HOSTS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("JWT_SECRET", STRONG)


def test_defaults_work_and_secrets_stay_hidden() -> None:
    settings = load(Settings)

    assert (settings.port, settings.nats_url, settings.log_level) == (3001, "nats://127.0.0.1:4222", "info")
    assert (settings.instance_of("auth"), settings.nkey_of("auth")) == ("auth-1", Path("data/nats/auth.nk"))
    assert settings.database_of("auth") == f"sqlite+aiosqlite:///{Path('data').resolve()}/auth.db"
    assert STRONG not in repr(settings)


def test_what_is_set_wins_over_what_is_derived(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INSTANCE", "auth-7")
    monkeypatch.setenv("NATS_NKEY_FILE", "/x.nk")

    settings = load(Settings)

    assert settings.instance_of("auth") == "auth-7"
    assert settings.nkey_of("auth") == Path("/x.nk")


@pytest.mark.parametrize("variable", [None, ""], ids=["absent", "empty"])
def test_a_secret_can_be_in_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str | None) -> None:
    monkeypatch.delenv("JWT_SECRET")
    if variable is not None:
        monkeypatch.setenv("JWT_SECRET", variable)
    (tmp_path / "secret").write_text(f"{STRONG}\n")
    monkeypatch.setenv("JWT_SECRET_FILE", str(tmp_path / "secret"))

    assert load(Settings).jwt_secret.get_secret_value() == STRONG


def test_the_environment_wins_over_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JWT_SECRET_FILE", "/nowhere")

    assert load(Settings).jwt_secret.get_secret_value() == STRONG


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("JWT_SECRET", "hunter2"),
        ("JWT_SECRET", "é" * 15),
        ("JWT_SECRET", "ab" * 40),
        ("JWT_SECRET", "x" * 1000),
        ("JWT_SECRET", ""),
        ("KEY", "no hexadecimal digits, but a very long text, longer than 64 bytes"),
        ("KEY", "0123456789abcdef" * 3),
        ("KEY", "ab" * 32),
        ("PORT", "hunter2"),
        ("LOG_LEVEL", "hunter2"),
        ("INSTANCE", "Hunter 2"),
        ("HOSTS", "hunter2"),
    ],
)
def test_a_bad_setting_ends_the_start_with_one_line_that_names_it_and_not_its_value(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)

    with pytest.raises(SystemExit) as caught:
        load(Settings)

    [line] = capsys.readouterr().err.splitlines()
    assert caught.value.code == 2
    assert line.startswith("bad setting: ")
    assert name in line.upper()
    assert value == "" or value not in line


def test_a_bad_combination_is_told_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PORT", "1")

    with pytest.raises(SystemExit):
        load(Settings)

    assert capsys.readouterr().err == "bad setting: settings: Value error, PORT is not for us\n"


@pytest.mark.parametrize("content", [None, b"\xff\xfe" * 40, b"short"], ids=["missing", "no text", "weak"])
def test_a_bad_file_ends_the_start_with_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], content: bytes | None
) -> None:
    monkeypatch.delenv("JWT_SECRET")
    monkeypatch.setenv("JWT_SECRET_FILE", str(tmp_path / "secret"))
    if content is not None:
        (tmp_path / "secret").write_bytes(content)

    with pytest.raises(SystemExit) as caught:
        load(Settings)

    assert caught.value.code == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_key_is_64_hexadecimal_digits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEY", "0123456789abcdef" * 4)

    assert load(Settings).key is not None
