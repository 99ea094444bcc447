"""Measuring one row after the other, and saying on stderr where it is."""

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.bench.core_meter import CoreWork
from tests.bench.linux import Surroundings
from tests.bench.load import Load, Measured, collect, measure, start
from tests.bench.profile import profile
from tests.bench.progress import progress
from tests.bench.report import MeasuredRow, MeasuredStreams, Report
from tests.bench.rows import NAMES, Row, Target
from tests.bench.stream_load import StreamLoad, StreamsMeasured, measure_streams
from tests.bench.stream_rows import KINDS, StreamRow

_KIND_NAMES = [kind.name for kind in KINDS]
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
    """How often to measure a row at most; it is done when its neighbours left the machine to us."""
    start_again: bool
    """Stop and start once more, for the time of a start on a data folder in use."""
    timed_accounts: int
    """How many accounts of each kind the row login-timing tries, eight times each."""
    leaving_rounds: int
    """How often each crowd of the row leaving leaves."""
    audit_entries: int
    """How long the log is that the row audit-log measures."""
    growth_pairs: int
    """How often the row growth measures with and without."""
    profiles: Path | None = None
    """Where to write profiles, if at all."""


class Measuring:
    """Measures rows and puts them into the report."""

    def __init__(self, options: Options, report: Report, upstream: Target) -> None:
        self.options = options
        self.report = report
        self.upstream = upstream

    def measure(self, rows: Sequence[Row]) -> None:
        """Measure the wanted ones among the rows.

        Dispatches and chats come last, those of all targets at one concurrency in a row: what else the machine does
        changes within a minute, and they are to be compared.
        """
        wanted = [
            (row, connections) for row in rows if row.name in self.options.only for connections in row.concurrencies
        ]
        wanted.sort(key=lambda each: each[1] if each[0].goes_last else 0)
        self.report.rows += [
            MeasuredRow(row.name, row.title, self._until_quiet(row, connections)) for row, connections in wanted
        ]

    def measure_streams(self, rows: Sequence[StreamRow]) -> None:
        """Measure the wanted ones among the rows, those of all targets with one kind and number of streams in a row."""
        wanted = [(row, count) for row in rows if row.kind.name in self.options.only for count in row.kind.streams]
        wanted.sort(key=lambda each: (_KIND_NAMES.index(each[0].kind.name), each[1]))
        self.report.streams += [
            MeasuredStreams(
                row.name, row.title, row.kind.offered_per_second(count), self._streams_until_quiet(row, count)
            )
            for row, count in wanted
        ]

    def profile(self, row: Row) -> None:
        """Profile the Python processes of the row's target under its load, when that is wanted."""
        directory = self.options.profiles
        if directory is None or row.name not in self.options.only:
            return
        progress(f"profiling {row.title} at {_PROFILED_AT}")
        pids = {role: pids[0] for role, pids in row.target.pids().items() if pids and role != "nats"}
        print(profile(self._load(row, _PROFILED_AT), pids, directory, prefix=row.name), end="\n\n")

    def _until_quiet(self, row: Row, connections: int) -> tuple[Measured, ...]:
        rounds = [self._measure_one(row, connections)]
        while len(rounds) < self.options.rounds and not _is_quiet(rounds[-1]):
            rounds.append(self._measure_one(row, connections))
        return tuple(rounds)

    def _streams_until_quiet(self, row: StreamRow, count: int) -> tuple[StreamsMeasured, ...]:
        rounds = [self._measure_streams(row, count)]
        while len(rounds) < self.options.rounds and not _is_quiet(rounds[-1]):
            rounds.append(self._measure_streams(row, count))
        return tuple(rounds)

    def _measure_streams(self, row: StreamRow, count: int) -> StreamsMeasured:
        time.sleep(_PAUSE_S)
        load = StreamLoad(
            port=row.target.port,
            requests=row.requests,
            end=row.end,
            streams=count,
            warm_up_s=self.options.warm_up_s,
            measured_s=self.options.measured_s,
            provider_port=self.upstream.port,
            watched={**row.target.pids(), **self.upstream.pids()},
        )
        measured = measure_streams(load)
        progress(
            f"{row.title}, {count} streams: {measured.chunks_per_second:,.0f} chunks/s, {measured.error_count} errors"
        )
        return measured

    def _measure_one(self, row: Row, connections: int) -> Measured:
        time.sleep(_PAUSE_S)
        others = [start(self._load(other, other.concurrencies[-1])) for other in row.beside]
        measured = measure(self._load(row, connections))
        for other in others:
            collect(other)
        progress(f"{row.title} at {connections}: {measured.requests_per_second:,.0f}/s, {measured.error_count} errors")
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


def _is_quiet(measured: Surroundings) -> bool:
    return measured.is_quiet(CoreWork.read().fastest_us)
