"""One run of the benchmark: what is started, measured and checked afterwards."""

import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from tests.bench.audit_log import audit_log
from tests.bench.bare.proxy import bare_proxy
from tests.bench.core_meter import CoreWork, core_meter
from tests.bench.growth import growth
from tests.bench.leaving import leaving
from tests.bench.linux import resident_mb
from tests.bench.login_timing import login_timing
from tests.bench.machine import this_machine
from tests.bench.measuring import Measuring, Options
from tests.bench.processes import child, first_line, python_module
from tests.bench.progress import progress
from tests.bench.report import RecordCheck, Report
from tests.bench.rows import Row, Target, bare_row, dispatch_row, system_rows, upstream_row
from tests.bench.scrypt import scrypt_ms
from tests.bench.stream_rows import StreamRow, system_stream_rows, upstream_stream_rows
from tests.bench.system import LAST_AGENT, LOGINS, running_system

_WITHOUT_SYSTEM = {"upstream", "bare", "scaled", "growth", "login-timing", "leaving", "audit-log"}
"""Rows that do not need the system that the others share."""
_STREAM_KEYS = 4
_SCALE = "edge=2 orchestrator=2"
_REST_S = 11.0
"""Until who comes to rest has given back what it does not need; see shared/memory.py."""


@dataclass(frozen=True, slots=True)
class Upstream:
    """The fake model provider."""

    port: int
    pid: int

    def pids(self) -> dict[str, tuple[int, ...]]:
        """Its only process."""
        return {"upstream": (self.pid,)}


def run(options: Options) -> Report:
    """Measure the upstream alone, PeanutAgent, and the bare proxy beside it; says on stderr where it is."""
    report = Report(datetime.now(UTC), this_machine(), options.warm_up_s, options.measured_s, options.rounds)
    scrypt_before = scrypt_ms() if "login" in options.only else None
    with (
        running_upstream() as upstream,
        tempfile.TemporaryDirectory(prefix="peanut-bench-") as scratch,
        core_meter(Path(scratch) / "cores"),
    ):
        with ExitStack() as started:
            measuring = Measuring(options, report, upstream)
            subjects: list[_Subject] = []
            if not set(options.only) <= _WITHOUT_SYSTEM:
                subjects.append(_system(measuring, started, Path(scratch)))
            if "scaled" in options.only:
                subjects.append(_scaled_system(measuring, started, Path(scratch)))
            if "bare" in options.only:
                subjects.append(_bare(measuring, started, Path(scratch)))
            _measure(measuring, subjects)
        if scrypt_before is not None:  # the machine is another one each minute: both ends of the run count
            report.scrypt_ms = (scrypt_before + scrypt_ms()) / 2
        # Last and alone: nothing else of ours is running.
        if "growth" in options.only:
            progress("1,000 open streams, 1,000 agents")
            report.growth = growth(
                Path(scratch) / "growth",
                upstream,
                pairs=options.growth_pairs,
                warm_up_s=options.warm_up_s,
                measured_s=options.measured_s,
            )
        if "leaving" in options.only:
            progress("clients who leave")
            report.leaving = leaving(Path(scratch) / "leaving", rounds=options.leaving_rounds)
        if "audit-log" in options.only:
            progress(f"an audit log of {options.audit_entries:,} entries")
            report.audit_log = audit_log(
                Path(scratch) / "audit-log",
                upstream_port=upstream.port,
                entries=options.audit_entries,
                measured_s=options.measured_s,
                rounds=options.rounds,
            )
        if "login-timing" in options.only:
            progress("log-ins that are refused")
            report.login_timing = login_timing(
                Path(scratch) / "login-timing", accounts=options.timed_accounts, upstream_port=upstream.port
            )
        report.fastest_us = CoreWork.read().fastest_us
    return report


class _Recording(Target, Protocol):
    """A target that keeps a record of its dispatches."""

    def recorded(self) -> int: ...


@dataclass(frozen=True, slots=True)
class _Subject:
    """A started gateway and its rows, of which the last is its dispatch."""

    title: str
    target: _Recording
    rows: Sequence[Row]
    streams: Sequence[StreamRow] = ()

    @property
    def recorded_rows(self) -> set[str]:
        """Names of the rows whose answers it records."""
        return {row.name for row in self.rows if row.goes_last} | {row.name for row in self.streams}


def _measure(measuring: Measuring, subjects: Sequence[_Subject]) -> None:
    """All rows, then what can only be said after the load: the record, the memory, the profiles."""
    report = measuring.report
    pids = [subject.target.pids() for subject in subjects]
    recorded = [subject.target.recorded() for subject in subjects]
    measuring.measure([upstream_row(measuring.upstream), *(row for subject in subjects for row in subject.rows)])
    measuring.measure_streams(
        [*upstream_stream_rows(measuring.upstream), *(row for subject in subjects for row in subject.streams)]
    )
    for subject, before in zip(subjects, recorded, strict=True):
        acknowledged = report.acknowledged(subject.recorded_rows)
        report.records.append(RecordCheck(subject.title, acknowledged, subject.target.recorded() - before))
        if subject.streams:
            report.memory_mb = _memory_mb(subject.target)
            time.sleep(_REST_S)
            report.rested_memory_mb = _memory_mb(subject.target)
        measuring.profile(subject.rows[-1])
    for subject, before_load in zip(subjects, pids, strict=True):
        now = subject.target.pids()
        report.restarted += [f"{subject.title}: {role}" for role in now if now[role] != before_load[role]]


def _system(measuring: Measuring, started: ExitStack, scratch: Path) -> _Subject:
    progress("starting PeanutAgent")
    starts_s = measuring.report.starts_s
    system = started.enter_context(running_system(scratch / "data", upstream_port=measuring.upstream.port))
    starts_s["first"] = system.started_in_s
    if measuring.options.start_again:
        system.restart()
        starts_s["again"] = system.started_in_s
    system.register_agents()
    system.add_users()
    rows = system_rows(system, system.api_key, last_agent=LAST_AGENT, logins=LOGINS)
    return _Subject("PeanutAgent", system, rows, system_stream_rows(system, system.api_keys(_STREAM_KEYS)))


def _scaled_system(measuring: Measuring, started: ExitStack, scratch: Path) -> _Subject:
    progress("starting PeanutAgent with two replicas")
    starting = running_system(scratch / "scaled", upstream_port=measuring.upstream.port, SCALE=_SCALE)
    system = started.enter_context(starting)
    system.register_agents()
    title = "POST /openclaw/dispatch, 2 edges and 2 orchestrators"
    return _Subject("PeanutAgent with two replicas", system, [dispatch_row("scaled", title, system, system.api_key)])


def _bare(measuring: Measuring, started: ExitStack, scratch: Path) -> _Subject:
    proxy = started.enter_context(bare_proxy(scratch, upstream_port=measuring.upstream.port))
    return _Subject("the bare proxy", proxy, [bare_row(proxy, proxy.api_key)])


def _memory_mb(target: Target) -> dict[str, float]:
    return {role: max(map(resident_mb, pids)) for role, pids in target.pids().items() if pids}


@contextmanager
def running_upstream() -> Iterator[Upstream]:
    """The fake model provider, ready to answer."""
    with child(python_module("tests.bench.upstream")) as process:
        yield Upstream(int(first_line(process)), process.pid)
