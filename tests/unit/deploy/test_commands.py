"""The commands as a person uses them."""

import signal
import socket
import stat
import time

import pytest

from tests.unit.deploy.conftest import Project, all_gone, end, eventually


def test_the_first_start_makes_private_secrets_and_shows_the_password_once(project: Project) -> None:
    first = project.call("up", "--detach")
    made = (project.root / ".env").read_text()
    project.call("down")
    second = project.call("up", "--detach")

    assert (first.returncode, second.returncode) == (0, 0)
    assert first.stdout.count("only-shown-once") == 1
    assert "only-shown-once" not in second.stdout
    assert "only-shown-once" not in (project.run_dir / "peanut.log").read_text()
    assert (project.root / ".env").read_text() == made
    private = [project.root / ".env", *(project.root / "data" / "nats").iterdir(), *project.run_dir.iterdir()]
    modes = {(path.is_dir(), stat.S_IMODE(path.stat().st_mode)) for path in private}
    assert modes <= {(False, 0o600), (True, 0o700)}
    assert stat.S_IMODE((project.root / "data" / "nats").stat().st_mode) == 0o700


def test_the_password_is_shown_even_when_the_start_fails(project: Project) -> None:
    result = project.call("up", STAND_IN_EXIT="edge:2")

    assert "only-shown-once" in result.stdout


def test_detached_it_goes_on_until_down(project: Project) -> None:
    project.call("up", "--detach")
    up = project.call("status")
    pids = list(project.pids().values())

    down = project.call("down")

    assert up.returncode == 0
    assert [line.split()[1] for line in up.stdout.splitlines()[1:7]] == list(project.pids())
    assert f"http://localhost:{project.port} is ready" in up.stdout
    assert (down.returncode, down.stdout) == (0, "stopped\n")
    assert all_gone(pids)
    assert project.call("status").returncode == 3
    assert project.call("down").stdout == "nothing is running\n"


def test_a_start_that_fails_detached_says_why(project: Project) -> None:
    result = project.call("up", "--detach", STAND_IN_EXIT="edge:2")

    assert result.returncode == 1
    assert result.stdout.splitlines()[-1] == "make up: bad setting: EDGE_SETTING: is odd"


def test_a_second_start_says_so_in_one_line(project: Project) -> None:
    project.call("up", "--detach")

    again = project.call("up")

    assert again.returncode == 0
    assert again.stdout.startswith("PeanutAgent is up already")
    assert again.stdout.count("\n") == 1


@pytest.mark.parametrize("setting", ["PORT", "NATS_URL"])
def test_a_busy_port_ends_with_one_line(project: Project, setting: str) -> None:
    with socket.create_server(("127.0.0.1", project.port if setting == "PORT" else project.nats_port)) as taken:
        result = project.call("up")
        port = taken.getsockname()[1]

    assert result.returncode == 1
    assert result.stdout.splitlines()[-1].startswith(f"make up: port {port} is in use: stop the program")
    assert setting in result.stdout.splitlines()[-1]


def test_a_bad_setting_ends_with_one_line(project: Project) -> None:
    result = project.call("up", SCALE="edge=many")

    assert result.returncode == 1
    assert result.stdout.splitlines()[-1].startswith("make up: SCALE says 'edge=many'")
    assert "Traceback" not in result.stdout


def test_logs_follow_one_service(project: Project) -> None:
    project.call("up", "--detach")
    logs = project.start("logs", "auth")
    assert logs.stdout is not None
    first = logs.stdout.readline()

    project.call("down")

    rest, _ = logs.communicate(timeout=5)
    assert "auth-1" in first
    assert "started" in first
    assert "stopping" in rest
    assert "edge" not in rest
    assert project.call("logs", "nobody").returncode == 1


def test_logs_without_a_log_say_what_to_do(project: Project) -> None:
    assert project.call("logs").stdout == "make logs: there is no log yet: make up\n"


def test_one_service_runs_in_the_foreground_beside_the_others(project: Project) -> None:
    project.call("up", "--detach")
    process = project.start("run", "edge")
    assert process.stdout is not None
    line = process.stdout.readline()

    end(process)

    assert "edge-2" in line
    assert process.returncode == 0
    assert project.call("run", "nobody").returncode == 1


def test_a_changed_source_starts_its_service_anew(project: Project) -> None:
    (project.root / "shared").mkdir()
    process = project.start("dev")
    assert process.stdout is not None
    while "is up" not in process.stdout.readline():
        pass
    before = project.pids()
    eventually(lambda: {each["instance"] for each in project.records()} >= set(before), within=20)

    def is_anew_when_touched() -> bool:  # it begins to watch some moments after it says that all is up
        (project.root / "services" / "auth" / "rules.py").touch()
        time.sleep(1.0)
        return project.pids()["auth-1"] not in (before["auth-1"], None)

    eventually(is_anew_when_touched, within=20)
    one = project.pids()
    (project.root / "shared" / "rules.py").touch()
    eventually(
        lambda: all(project.pids()[name] not in (pid, None) for name, pid in one.items() if name != "nats"), within=20
    )

    assert {name for name, pid in one.items() if pid != before[name]} == {"auth-1"}
    assert {each["restarts"] for each in project.state().values()} == {0}
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=10)
