"""Settings: allowed places in their canonical spelling, and bad ones refused by name."""

import pytest

from orchestrator.settings import OrchestratorSettings
from shared.settings import load

KEY = "00112233445566778899aabbccddeeff0123456789abcdeffedcba9876543210"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in ("AGENT_ALLOWED_HOSTS", "OLLAMA_URL", "OLLAMA_HOST", "DISPATCH_PER_MINUTE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AGENT_ENCRYPTION_KEY", KEY)
    return monkeypatch


def test_by_default_a_person_dispatches_once_a_second() -> None:
    assert load(OrchestratorSettings).dispatch_per_minute == 60


@pytest.mark.parametrize("value", ["0", "-1", "1000000001", "many"])
def test_a_limit_of_dispatch_is_a_number_that_lets_something_through(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], value: str
) -> None:
    environment.setenv("DISPATCH_PER_MINUTE", value)

    with pytest.raises(SystemExit):
        load(OrchestratorSettings)

    assert capsys.readouterr().err.startswith("bad setting: DISPATCH_PER_MINUTE: ")


def test_by_default_a_local_ollama_is_allowed() -> None:
    assert load(OrchestratorSettings).allowed_hosts() == {"localhost:11434", "127.0.0.1:11434"}


@pytest.mark.parametrize(
    ("variable", "value", "entry"),
    [
        ("OLLAMA_URL", "http://gpu-1:11434", "gpu-1:11434"),
        ("OLLAMA_URL", "http://GPU-1", "gpu-1:80"),
        ("OLLAMA_URL", "https://gpu-1/", "gpu-1:443"),
        ("OLLAMA_HOST", "gpu-1", "gpu-1:11434"),
        ("OLLAMA_HOST", "gpu-1:1234", "gpu-1:1234"),
        ("OLLAMA_HOST", ":1234", "127.0.0.1:1234"),
        ("OLLAMA_HOST", "[::1]:1234", "[::1]:1234"),
        ("AGENT_ALLOWED_HOSTS", " Ollama:11434 , 10.0.0.7:80,", "ollama:11434"),
        ("AGENT_ALLOWED_HOSTS", "[0:0::1]:80", "[::1]:80"),
    ],
)
def test_an_allowed_place_is_kept_as_endpoints_spell_it(
    environment: pytest.MonkeyPatch, variable: str, value: str, entry: str
) -> None:
    environment.setenv(variable, value)

    assert entry in load(OrchestratorSettings).allowed_hosts()


@pytest.mark.parametrize(
    ("value", "ports"),
    [
        ("nats://127.0.0.1:15222", {15222}),
        ("nats://one:4222,nats://[::1]:5222/", {4222, 5222}),
        ("nats://nats", set()),
    ],
)
def test_the_ports_of_the_bus_are_known(environment: pytest.MonkeyPatch, value: str, ports: set[int]) -> None:
    environment.setenv("NATS_URL", value)

    assert load(OrchestratorSettings).own_ports() == ports


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("AGENT_ALLOWED_HOSTS", "localhost"),
        ("AGENT_ALLOWED_HOSTS", "http://localhost:80"),
        ("AGENT_ALLOWED_HOSTS", "localhost:99999"),
        ("OLLAMA_URL", "http://gpu-1:port"),
        ("AGENT_ENCRYPTION_KEY", "short"),
        ("AGENT_ENCRYPTION_KEY", "0" * 64),
    ],
)
def test_a_bad_setting_stops_the_start_with_its_name_and_not_its_secret(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], variable: str, value: str
) -> None:
    environment.setenv(variable, value)

    with pytest.raises(SystemExit) as stopped:
        load(OrchestratorSettings)

    said = capsys.readouterr().err
    assert stopped.value.code == 2
    assert said.startswith(f"bad setting: {variable}: ")
    assert said.count("\n") == 1
