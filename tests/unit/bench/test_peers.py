"""The table of the peers."""

from tests.bench.peers.comparison import Cell, to_text

OURS = Cell(rate=1_000, p50_ms=2.0, p99_ms=9.0, cpu_us=500, error_count=0, first_error=None, stolen_percent=0)
THEIRS = Cell(rate=50, p50_ms=20.0, p99_ms=90.0, cpu_us=10_000, error_count=0, first_error=None, stolen_percent=0)
BROKEN = Cell(rate=0, p50_ms=None, p99_ms=None, cpu_us=None, error_count=3, first_error="status 500", stolen_percent=0)


def test_ratios_are_ours_to_theirs() -> None:
    text = to_text({("chat", 16): {"ours": OURS, "theirs": THEIRS}}, "ours")

    line = next(line for line in text.splitlines() if "theirs" in line)
    assert line.split()[-6:] == ["20.00", "x", "0.10", "x", "0.05", "x"]


def test_one_that_answers_nothing_has_no_ratios_and_its_error_is_told() -> None:
    text = to_text({("chat", 16): {"ours": OURS, "theirs": BROKEN}}, "ours")

    line = next(line for line in text.splitlines() if "theirs" in line)
    assert line.split()[-3:] == ["-", "-", "-"]
    assert text.endswith("theirs, chat, at 16: 3 errors; first: status 500")
