import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import SecretStr

from shared.logging import configure_logging, trace_id_of_call

_log = logging.getLogger("shared.test")


@pytest.fixture(autouse=True)
def _root_logger_as_before() -> Iterator[None]:
    root, nats = logging.getLogger(), logging.getLogger("nats")
    before = (root.level, list(root.handlers), nats.level)
    yield
    root.setLevel(before[0])
    root.handlers[:] = before[1]
    nats.setLevel(before[2])


class Lines:
    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys
        configure_logging("auth", "auth-1", "info")

    def only(self) -> dict[str, Any]:
        [line] = self._capsys.readouterr().out.splitlines()
        event: dict[str, Any] = json.loads(line)
        return event


@pytest.mark.asvs("16.2.1", "16.2.3", "16.2.4", "16.4.1")
def test_an_event_is_one_line_of_json(capsys: pytest.CaptureFixture[str]) -> None:
    lines = Lines(capsys)
    _log.info("session_opened", extra={"user": "zoë\n", "count": 3, "nothing": None})

    event = lines.only()
    assert event.pop("time").endswith("Z")
    assert event == {
        "level": "info",
        "service": "auth",
        "instance": "auth-1",
        "event": "session_opened",
        "user": "zoë\n",
        "count": 3,
        "nothing": None,
    }


@pytest.mark.asvs("16.2.5")
def test_a_secret_stays_hidden(capsys: pytest.CaptureFixture[str]) -> None:
    lines = Lines(capsys)
    _log.info("login", extra={"password": SecretStr("hunter2")})

    assert lines.only()["password"] == "**********"


def test_an_exception_comes_with_its_traceback_on_the_same_line(capsys: pytest.CaptureFixture[str]) -> None:
    lines = Lines(capsys)
    try:
        raise LookupError("nothing there")
    except LookupError:
        _log.exception("failed")

    assert "LookupError: nothing there" in lines.only()["exception"]


@pytest.mark.asvs("16.2.1")
def test_the_trace_of_the_call_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    lines = Lines(capsys)
    token = trace_id_of_call.set("a" * 32)
    _log.warning("slow")
    trace_id_of_call.reset(token)

    assert lines.only()["traceId"] == "a" * 32


@pytest.mark.parametrize(
    "value",
    [2**70, "half \ud800", {1: {2: object()}}, b"\xff", float("nan")],
    ids=["large", "half", "object", "bytes", "nan"],
)
def test_no_value_is_a_reason_to_lose_an_event(capsys: pytest.CaptureFixture[str], value: object) -> None:
    lines = Lines(capsys)
    _log.info("odd", extra={"value": value})

    event = lines.only()
    assert (event["event"].strip("'"), event["service"], "value" in event) == ("odd", "auth", True)


def test_what_is_below_the_level_is_not_told(capsys: pytest.CaptureFixture[str]) -> None:
    Lines(capsys)
    _log.debug("detail")
    logging.getLogger("nats.aio.client").error("said elsewhere")

    assert capsys.readouterr().out == ""
