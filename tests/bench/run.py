"""One run of the benchmark: what is started, in which order it is measured, and what is checked afterwards."""

import sys
import tempfile
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tests.bench.bare.proxy import bare_proxy
from tests.bench.linux import resident_mb
from tests.bench.load import Load, Measured, measure
from tests.bench.machine import this_machine
from tests.bench.processes import child, first_line, python_module
from tests.bench.profile import profile
from tests.bench.report import MeasuredRow, RecordCheck, Report
from tests.bench.rows import NAMES, Row, Target, bare_row, system_rows, upstream_row
from tests.bench.system import LAST_AGENT, System, running_system

_PAUSE_S = 0.2  # lets one row's connections and late work go before the next begins
_PROFILED_AT = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the caller wants of a run."""

    only: Collection[str] = NAMES
    """Names of rows."""
    warm_up_s: float
    measured_s: float
    rounds: int = 1
    """How often to go through all the rows of one target."""
    start_again: bool
    """Stop and start once more, for the time of a start on a data folder in use."""
    profiles: Path | None = None
    """Where to write profiles, if at all."""


@dataclass(frozen=True, slots=True)
class Upstream:
    """The fake model provider."""

    port: int
    pid: int

    def pids(self) -> dict[str, tuple[int, ...]]:
        """Its only process."""
        return {"upstream": (self.pid,)}


def run(options: Options) -> Report:
    """Measure the upstream alone, the bare proxy and PeanutAgent, one after another; says on stderr where it is."""
    report = Report(datetime.now(UTC), this_machine(), options.warm_up_s, options.measured_s, options.rounds)
    with _upstream() as upstream, tempfile.TemporaryDirectory(prefix="peanut-bench-") as scratch:
        session = _Session(options, report, upstream)
        session.measure([upstream_row(upstream)])
        if "bare" in options.only:
            _measure_bare(session, Path(scratch))
        if not set(options.only) <= {"upstream", "bare"}:
            _measure_system(session, Path(scratch))
    return report


class _Session:
    def __init__(self, options: Options, report: Report, upstream: Upstream) -> None:
        self.options = options
        self.report = report
        self.upstream = upstream

    def measure(self, rows: Sequence[Row]) -> int:
        """Measure the wanted ones among the rows; returns how many dispatches were acknowledged."""
        wanted = [
            (row, connections) for row in rows if row.name in self.options.only for connections in row.concurrencies
        ]
        rounds = [[self._measure_one(*each) for each in wanted] for _ in range(self.options.rounds)]
        measured = [
            MeasuredRow(row.name, row.title, of_row)
            for (row, _), of_row in zip(wanted, zip(*rounds, strict=True), strict=True)
        ]
        self.report.rows += measured
        return sum(row.acknowledged for row in measured if row.name in ("bare", "dispatch"))

    def profile(self, row: Row, target: Target) -> None:
        """Profile the target's Python processes under the row's load, when that is wanted."""
        directory = self.options.profiles
        if directory is None or row.name not in self.options.only:
            return
        _progress(f"profiling {row.title} at {_PROFILED_AT}")
        pids = {role: pids[0] for role, pids in target.pids().items() if role != "nats"}
        print(profile(self._load(row, _PROFILED_AT), pids, directory, prefix=row.name), end="\n\n")

    def _measure_one(self, row: Row, connections: int) -> Measured:
        time.sleep(_PAUSE_S)
        measured = measure(self._load(row, connections))
        _progress(f"{row.title} at {connections}: {measured.requests_per_second:,.0f}/s, {measured.error_count} errors")
        return measured

    def _load(self, row: Row, connections: int) -> Load:
        return Load(
            port=row.target.port,
            request=row.request,
            expected=row.expected,
            connections=connections,
            warm_up_s=self.options.warm_up_s,
            measured_s=self.options.measured_s,
            watched={**row.target.pids(), **self.upstream.pids()},
        )


def _measure_bare(session: _Session, scratch: Path) -> None:
    with bare_proxy(scratch, upstream_port=session.upstream.port) as proxy:
        row = bare_row(proxy, proxy.api_key)
        acknowledged = session.measure([row])
        session.report.records.append(RecordCheck("the bare proxy", acknowledged, proxy.recorded()))
        session.profile(row, proxy)


def _measure_system(session: _Session, scratch: Path) -> None:
    _progress("starting PeanutAgent")
    report = session.report
    with running_system(scratch / "data", upstream_port=session.upstream.port) as system:
        report.starts_s["first"] = system.started_in_s
        if session.options.start_again:
            system.restart()
            report.starts_s["again"] = system.started_in_s
        system.register_agents()
        before = system.pids()
        rows = system_rows(system, system.api_key, last_agent=LAST_AGENT)
        _measure_dispatches(session, system, rows)
        report.memory_mb = {role: max(resident_mb(pid) for pid in pids) for role, pids in system.pids().items()}
        session.profile(rows[-1], system)
        report.restarted = [role for role, pids in system.pids().items() if pids != before.get(role)]


def _measure_dispatches(session: _Session, system: System, rows: Sequence[Row]) -> None:
    recorded = system.recorded()
    acknowledged = session.measure(rows)
    session.report.records.append(RecordCheck("PeanutAgent", acknowledged, system.recorded() - recorded))


@contextmanager
def _upstream() -> Iterator[Upstream]:
    with child(python_module("tests.bench.upstream")) as process:
        yield Upstream(int(first_line(process)), process.pid)


def _progress(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
