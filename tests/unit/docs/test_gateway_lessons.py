"""docs/gateway-lessons.md: every complaint about others has its tests here, and those exist."""

import re
from pathlib import Path

import pytest

from tests.asvs.mapping import TESTED

PROJECT = Path(__file__).parents[3]
LESSONS = PROJECT / "docs" / "gateway-lessons.md"
PROXIES = PROJECT / "docs" / "front-proxy.md"


def rows() -> dict[str, list[str]]:
    """The tests that each complaint names."""
    lines = [line for line in LESSONS.read_text(encoding="utf-8").splitlines() if line.startswith("| ")][1:]
    cells = [line.strip("|").split("|") for line in lines]
    return {row[0].strip(): re.findall(r"`([^`]+)`", row[3]) for row in cells}


def test_every_complaint_names_tests() -> None:
    assert len(rows()) > 20
    assert [complaint for complaint, tests in rows().items() if not tests] == []


@pytest.mark.parametrize("test", sorted({test for tests in rows().values() for test in tests}))
def test_a_test_that_is_named_is_there_and_run(test: str) -> None:
    path, _, name = test.partition("::")
    file = PROJECT / "tests" / path

    assert path.partition("/")[0] in TESTED
    assert file.name.startswith("test_")
    assert re.search(rf"(?m)^(?:async )?def {name}\(", file.read_text(encoding="utf-8")), "gone, or renamed"


@pytest.mark.parametrize(
    "line",
    [
        "proxy_buffering off;",
        "proxy_http_version 1.1;",
        "proxy_set_header X-Forwarded-For $remote_addr;",
        "proxy_read_timeout 620s;",
        "option http-no-delay",
        "option abortonclose",
        "option forwardfor",
        "timeout server 620s",
    ],
)
def test_the_proxies_are_told_to_hold_nothing_back(line: str) -> None:
    configurations = re.findall(r"(?s)```(?:nginx|haproxy)\n(.*?)```", PROXIES.read_text(encoding="utf-8"))

    assert any(re.search(rf"(?m)^\s*{re.escape(line)}", each) for each in configurations)
