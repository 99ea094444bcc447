"""The runner with real processes: start, restarts, order of the stop, and what is left after the worst."""

import os
import signal
import subprocess
import time

from deploy.local.processes import birth
from tests.unit.deploy.conftest import Project, all_gone, end, eventually

ORDER_OF_STOP = ["edge-1", "orchestrator-1", "auth-1", "audit-1", "witness-1"]


def test_everything_runs_and_stops_in_reverse_order(project: Project) -> None:
    process = project.up()
    pids = project.pids()

    output = end(process)

    assert process.returncode == 0
    assert list(pids) == ["nats", *reversed(ORDER_OF_STOP)]
    assert [each["instance"] for each in project.records() if each["event"] == "stopping"] == ORDER_OF_STOP
    assert "stopped after" in output
    assert all_gone(list(pids.values()))


def test_any_process_that_is_killed_is_started_again_at_once(project: Project) -> None:
    process = project.up()

    for instance, pid in project.pids().items():
        os.kill(pid, signal.SIGKILL)
        eventually(lambda i=instance, p=pid: project.pids()[i] not in (p, None), within=2)  # type: ignore[misc]

    deaths = [each for each in project.records() if each["event"] == "died"]
    assert [(each["instance"], each["cause"], each["restartIn"]) for each in deaths] == [
        (instance, "SIGKILL", 0.0) for instance in project.pids()
    ]
    assert {each["restarts"] for each in project.state().values()} == {1}
    end(process)


def test_a_second_death_waits_and_a_stop_ends_the_wait(project: Project) -> None:
    process = project.up()
    for _ in range(5):
        pid = project.pids()["auth-1"]
        os.kill(pid, signal.SIGKILL)
        eventually(lambda p=pid: project.pids()["auth-1"] not in (p, None), within=4)  # type: ignore[misc]

    os.kill(project.pids()["auth-1"], signal.SIGKILL)
    eventually(lambda: project.state()["auth-1"]["state"] == "waiting", within=1)
    end(process)

    waits = [each["restartIn"] for each in project.records() if each["event"] == "died"]
    assert waits == [0.0, 0.25, 0.5, 1.0, 2.0, 4.0]


def test_a_killed_supervisor_leaves_nothing_behind(project: Project) -> None:
    process = project.up()
    pids = list(project.pids().values())

    process.kill()

    eventually(lambda: all_gone(pids), within=2)
    process.communicate()


def test_leftovers_of_a_dead_supervisor_are_ended_by_the_next_start(project: Project) -> None:
    end(project.up())
    with subprocess.Popen(["sleep", "60"]) as leftover:
        state = project.run_dir / "state.json"
        born = f'"pid": {leftover.pid}, "birth": "{birth(leftover.pid)}"'
        state.write_text(f'{{"processes": [{{"service": "auth", "instance": "auth-1", {born}}}]}}')

        process = project.up()

        assert leftover.wait(5) == -signal.SIGTERM
    end(process)


def test_a_service_that_refuses_its_settings_stops_the_start_with_its_line(project: Project) -> None:
    result = project.call("up", STAND_IN_EXIT="edge:2")

    assert result.returncode == 1
    assert result.stdout.splitlines()[-1] == "make up: bad setting: EDGE_SETTING: is odd"
    assert "Traceback" not in result.stdout
    assert all_gone([pid for pid in project.pids().values() if pid])


def test_a_service_that_keeps_dying_stops_the_start(project: Project) -> None:
    result = project.call("up", STAND_IN_EXIT="edge:1")

    assert result.returncode == 1
    assert result.stdout.splitlines()[-1].startswith("make up: edge-1 keeps dying: bad setting")


def test_a_witness_that_keeps_dying_stops_nothing(project: Project) -> None:
    process = project.up(STAND_IN_EXIT="witness:1")

    assert process.poll() is None
    end(process)


def test_data_that_cannot_be_prepared_stops_the_start(project: Project) -> None:
    result = project.call("up", STAND_IN_UNPREPARED="audit")

    assert result.returncode == 1
    assert result.stdout.splitlines()[-1] == "make up: audit could not be made ready: bad setting: JWT_SECRET: is odd"


def test_a_second_signal_does_not_wait(project: Project) -> None:
    process = project.up(STAND_IN_STUBBORN="orchestrator")
    pids = list(project.pids().values())
    process.send_signal(signal.SIGTERM)
    eventually(lambda: any(each["event"] == "stopping" for each in project.records()), within=5)
    time.sleep(0.3)

    output = end(process)

    assert "stopped after" in output
    assert all_gone(pids)


def test_replicas_have_names_of_their_own(project: Project) -> None:
    process = project.up(SCALE="edge=2 auth=3")

    assert list(project.pids()) == [
        "nats",
        "witness-1",
        "audit-1",
        *("auth-1", "auth-2", "auth-3"),
        "orchestrator-1",
        *("edge-1", "edge-2"),
    ]
    end(process)


def test_each_secret_goes_to_its_service_alone(project: Project) -> None:
    end(project.up())

    seen = {each["service"]: each["secrets"] for each in project.records() if each["event"] == "started"}
    assert seen == {
        "witness": [],
        "audit": [],
        "auth": ["AUTH_ENCRYPTION_KEY", "JWT_SECRET"],
        "orchestrator": ["AGENT_ENCRYPTION_KEY"],
        "edge": [],
    }
