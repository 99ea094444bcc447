"""The warning before the disk is full."""

from pathlib import Path

import pytest

from audit.application.room import Room
from audit.infrastructure.disk_space import used_share


@pytest.mark.parametrize(("used", "warning"), [(0.0, ""), (0.799, ""), (0.8, "80%"), (0.996, "100%"), (1.0, "100%")])
def test_it_warns_from_four_fifths_on(used: float, warning: str) -> None:
    assert warning in Room(lambda: used).warning()
    assert bool(Room(lambda: used).warning()) == bool(warning)


def test_it_is_logged_once_each_time(caplog: pytest.LogCaptureFixture) -> None:
    shares = iter([0.7, 0.85, 0.9, 0.7, 0.95])
    room = Room(lambda: next(shares))

    for _ in range(5):
        room.warning()

    assert [record.message for record in caplog.records] == ["disk_is_filling"] * 2


def test_what_cannot_be_told_is_no_warning() -> None:
    assert Room(lambda: used_share(Path("/nowhere"))).warning() == ""


def test_a_disk_is_used_in_part(tmp_path: Path) -> None:
    assert 0 <= used_share(tmp_path) <= 1
