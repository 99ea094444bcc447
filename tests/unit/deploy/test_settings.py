"""What the runner reads of the environment, and what it refuses."""

from pathlib import Path

import pytest

from deploy.local import settings
from deploy.local.network import check_free
from deploy.local.problem import Problem

ROOT = Path("/project")


def test_defaults_work() -> None:
    ours = settings.read(ROOT, {})

    assert (ours.host, ours.port, ours.nats_port) == ("127.0.0.1", 3001, 4222)
    assert ours.public_url == "http://localhost:3001"
    assert ours.replicas == {"witness": 1, "audit": 1, "auth": 1, "orchestrator": 1, "edge": 1}
    assert ours.environment == {"DATA_DIR": "/project/data", "WITNESS_DIR": "/project/data-witness"}


def test_scale_names_what_runs_more_than_once() -> None:
    ours = settings.read(ROOT, {"SCALE": "edge=2 auth=3"})

    assert ours.replicas == {"witness": 1, "audit": 1, "auth": 3, "orchestrator": 1, "edge": 2}


@pytest.mark.parametrize(
    ("name", "value", "line"),
    [
        ("PORT", "99999", "PORT is '99999': it has to be a number from 1 to 65535"),
        ("PORT", "\u0663", "PORT is"),
        ("SCALE", "edge=0", "SCALE says 'edge=0'"),
        ("SCALE", "edge", "SCALE says 'edge'"),
        ("SCALE", "nats=2", "SCALE names 'nats'"),
        ("SCALE", "witness=2", "SCALE says 'witness=2': .* up to 1 of witness"),
        ("NATS_URL", "nats://far.example:4222", "NATS_URL names no bus on this machine"),
        ("NATS_URL", "nats://127.0.0.1:much", "NATS_URL is no address"),
    ],
)
def test_a_bad_value_is_refused_with_what_to_do(name: str, value: str, line: str) -> None:
    with pytest.raises(Problem, match=line):
        settings.read(ROOT, {name: value})


@pytest.mark.parametrize(
    ("host", "line"),
    [("no.such.host.invalid", "HOST is 'no.such.host.invalid'"), ("192.0.2.1", "cannot listen on 192.0.2.1 port 3999")],
)
def test_an_address_of_another_machine_is_refused(host: str, line: str) -> None:
    with pytest.raises(Problem, match=line):
        check_free(host, 3999, setting="PORT")
