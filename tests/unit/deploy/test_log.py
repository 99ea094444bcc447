"""The merged log: one form for every line, on disk and on the screen."""

import io
import re
import threading
from pathlib import Path

import pytest

from deploy.local import records
from deploy.local.log_file import LogFile, follow
from deploy.local.rendering import is_severe, painted, plain, rendered
from deploy.local.terminal import Terminal, paint_for

RECORD = (
    b'{"time":"2026-11-22T10:46:00.123Z","level":"info","service":"auth","instance":"auth-1",'
    b'"event":"session_opened","user":"a b","count":3}'
)


def shown(line: bytes, service: str = "auth") -> str:
    return rendered(records.as_record(line, service=service, instance=f"{service}-1"), plain)


def test_a_record_becomes_time_who_level_event_and_fields() -> None:
    assert re.fullmatch(r'\d\d:46:00\.123 auth-1         info    session_opened user="a b" count=3\n', shown(RECORD))


def test_each_service_has_a_colour_of_its_own() -> None:
    auth, edge = (rendered(RECORD.replace(b"auth", name), painted) for name in (b"auth", b"edge"))

    assert "\x1b[35mauth-1" in auth
    assert "\x1b[36medge-1" in edge


def test_lines_of_nats_server_keep_their_level() -> None:
    line = b"[71] 2026/11/22 10:46:00.123456 [ERR] something is wrong"

    assert " nats-1         error   something is wrong" in shown(line, "nats")
    assert is_severe(records.as_record(line, service="nats", instance="nats"))


@pytest.mark.parametrize(
    ("text", "is_ornament"),
    [
        ("", True),
        (" \\__/|___| |_| |___/ |_| |_|_\\___/_/ \\_\\_|  |_|", True),
        ("-------------------------------------------", True),
        ("Server is ready", False),
        ("---------------- JETSTREAM ----------------", False),
    ],
)
def test_the_banner_of_nats_server_is_left_out(text: str, is_ornament: bool) -> None:
    assert records.is_ornament(f"[7] 2026/11/22 18:24:59.275966 [INF] {text}".encode()) is is_ornament
    assert records.is_ornament(text.encode()) is (text == "")


def test_what_is_no_record_is_shown_as_a_warning() -> None:
    assert ' auth-1         warning   File "x.py", line 1' in shown(b'  File "x.py", line 1')
    assert 'warning {"broken' in shown(b'{"broken": }')


@pytest.mark.asvs("16.4.1")
def test_control_characters_never_reach_the_terminal() -> None:
    record = records.event("a\x1b[2Jb", service="auth", instance="auth-1", field="c\x1b[2Jd", block="e\n\x1b[2Jf")

    assert "\x1b" not in rendered(record, plain)


def test_a_traceback_in_a_field_follows_in_lines_of_its_own() -> None:
    record = records.event("failed", service="auth", instance="auth-1", exception="Traceback:\n  here\n", n=1)

    assert rendered(record, plain).endswith("failed n=1\n    Traceback:\n      here\n")


def test_the_file_stays_bounded_and_is_followed_across_a_rotation(tmp_path: Path) -> None:
    path = tmp_path / "peanut.log"
    file = LogFile(path, limit=1000)
    file.write(b"{first}")
    seen: list[bytes] = []
    is_over = threading.Event()
    reader = threading.Thread(
        target=lambda: seen.extend(follow(path, last=10, goes_on=lambda: not is_over.is_set(), pause=0.01))
    )
    reader.start()

    for number in range(40):
        file.write(b"{%060d}" % number)
        threading.Event().wait(0.005)

    is_over.set()
    reader.join()
    file.close()
    assert seen == [b"{first}", *(b"{%060d}" % number for number in range(40))]
    assert sum(each.stat().st_size for each in tmp_path.iterdir()) <= 2200
    assert sorted(each.name for each in tmp_path.iterdir()) == ["peanut.log", "peanut.log.1"]


class PausedStream(io.StringIO):
    """A terminal after Ctrl-S: writing to it does not return."""

    def __init__(self) -> None:
        super().__init__()
        self.goes_on = threading.Event()

    def write(self, text: str) -> int:
        self.goes_on.wait(10)
        return super().write(text)


def test_a_paused_terminal_does_not_hold_up_whoever_writes() -> None:
    stream = PausedStream()
    terminal = Terminal(stream, plain)

    for number in range(20_000):
        terminal.say(str(number))
    stream.goes_on.set()
    terminal.close()

    assert stream.getvalue().endswith("19999\n")
    assert len(stream.getvalue().splitlines()) < 20_000


def test_no_colour_without_a_terminal_or_when_unwanted() -> None:
    class Screen(io.StringIO):
        def isatty(self) -> bool:
            return True

    assert paint_for(io.StringIO(), {}) is plain
    assert paint_for(Screen(), {"NO_COLOR": "1"}) is plain
    assert paint_for(Screen(), {}) is painted
