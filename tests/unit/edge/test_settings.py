import pytest

from edge.settings import EdgeSettings
from shared.settings import load


def test_the_defaults_know_the_local_names(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PORT", "HOST", "PUBLIC_URL", "CORS_ORIGIN", "TRUSTED_PROXIES"):
        monkeypatch.delenv(name, raising=False)

    settings = load(EdgeSettings)

    assert settings.origins == {"http://localhost:3000", "http://localhost:3001"}
    assert settings.hosts == {"localhost:3001", "127.0.0.1:3001", "[::1]:3001"}


def test_public_url_adds_its_own_host_and_origin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PUBLIC_URL", "https://Peanut.example/")
    monkeypatch.setenv("CORS_ORIGIN", "https://a.example, https://b.example")
    monkeypatch.setenv("TRUSTED_PROXIES", "10.0.0.0/8, 127.0.0.1")

    settings = load(EdgeSettings)

    assert "peanut.example" in settings.hosts
    assert settings.origins == {"https://a.example", "https://b.example", "https://peanut.example"}
    assert [str(network) for network in settings.trusted_proxies] == ["10.0.0.0/8", "127.0.0.1/32"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PUBLIC_URL", "ftp://x"),
        ("PUBLIC_URL", "https://x/path"),
        ("CORS_ORIGIN", "*"),
        ("CORS_ORIGIN", "https://user@x"),
        ("PORT", "0"),
        ("PORT", "many"),
        ("TRUSTED_PROXIES", "everyone"),
        ("INSTANCE", "../x"),
        ("LOG_LEVEL", "loud"),
    ],
)
def test_a_bad_setting_ends_with_a_line_that_names_it(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(name, value)

    with pytest.raises(SystemExit) as ended:
        load(EdgeSettings)

    assert ended.value.code == 2
    assert name in capsys.readouterr().err
