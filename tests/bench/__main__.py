"""`python -m tests.bench`, or `make bench`: measures, prints the tables and writes them as JSON."""

import argparse
import sys
from pathlib import Path

from tests.bench.measuring import Options
from tests.bench.processes import end_on_sigterm
from tests.bench.report import to_json, to_text
from tests.bench.rows import NAMES
from tests.bench.run import run

_RESULTS = Path(__file__).parent / "results"
_SLOW = ("login-timing", "leaving", "growth", "scaled", "audit-log")


def main() -> int:
    """Exit code: 0, or 1 when an answer was wrong, an acknowledged dispatch is not recorded or a process failed."""
    arguments = _parser().parse_args()
    if sys.platform != "linux":
        print("bench: CPU and memory are read from /proc, which needs Linux", file=sys.stderr)
        return 2
    end_on_sigterm()
    try:
        report = run(_options(arguments))
    except KeyboardInterrupt:
        return 130
    except (RuntimeError, OSError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    print(to_text(report))
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(to_json(report))
    print(f"\nWritten to {arguments.output}", file=sys.stderr)
    return 1 if report.failures else 0


def _options(arguments: argparse.Namespace) -> Options:
    return Options(
        only=arguments.only or [name for name in NAMES if name not in _SLOW or not arguments.quick],
        warm_up_s=0.1 if arguments.quick else 1.0,
        measured_s=0.4 if arguments.quick else arguments.seconds,
        rounds=1 if arguments.quick else arguments.rounds,
        start_again=not arguments.quick,
        timed_accounts=2 if arguments.quick else 50,
        growth_pairs=1 if arguments.quick else 4,
        leaving_rounds=1 if arguments.quick else 10,
        audit_entries=arguments.audit_entries,
        profiles=arguments.output.parent / "profiles" if arguments.profile else None,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--only", action="append", choices=NAMES, help="measure this row; may be given several times")
    parser.add_argument("--seconds", type=float, default=4.0, help="measured time per row and concurrency (default 4)")
    parser.add_argument(
        "--rounds",
        type=int,
        default=1,
        help="times to measure a row at most, until the cores are at 85 %% of their speed; the quietest counts",
    )
    parser.add_argument(
        "--audit-entries",
        type=int,
        default=1_000_000,
        help="how long the log of the row audit-log is (default 1,000,000)",
    )
    parser.add_argument(
        "--quick", action="store_true", help=f"all but {', '.join(_SLOW)} in about a minute, with rough figures"
    )
    parser.add_argument("--profile", action="store_true", help="profile each Python process under the dispatches at 64")
    parser.add_argument("--output", type=Path, default=_RESULTS / "latest.json", help="the JSON file")
    return parser


if __name__ == "__main__":
    sys.exit(main())
