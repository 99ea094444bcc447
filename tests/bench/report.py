"""What a run found, as a table for people and as JSON for everything else."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime

from tests.bench.goals import Figures, Standing, standings
from tests.bench.leaving import Leaving
from tests.bench.load import Measured
from tests.bench.login_timing import Kind, LoginTiming
from tests.bench.machine import Machine

_QUIET_PERCENT = 5


@dataclass(frozen=True, slots=True)
class MeasuredRow:
    """A row at one concurrency, measured in one round or, while the machine was not quiet, in several."""

    name: str
    title: str
    rounds: tuple[Measured, ...]

    @property
    def measured(self) -> Measured:
        """The quietest round: chosen by what the hypervisor withheld, never by the result."""
        return min(self.rounds, key=lambda measured: measured.stolen_percent)

    @property
    def error_count(self) -> int:
        """Errors of all rounds."""
        return sum(measured.error_count for measured in self.rounds)


@dataclass(frozen=True, slots=True)
class RecordCheck:
    """Whether everything that was acknowledged is in the record."""

    name: str
    acknowledged: int
    recorded: int

    @property
    def complete(self) -> bool:
        return self.acknowledged == self.recorded


@dataclass(slots=True)
class Report:
    """A run, filled in as it goes on."""

    began_at: datetime
    machine: Machine
    warm_up_s: float
    measured_s: float
    rounds: int
    rows: list[MeasuredRow] = field(default_factory=list)
    records: list[RecordCheck] = field(default_factory=list)
    memory_mb: dict[str, float] = field(default_factory=dict)
    """Resident memory after the load by role, of its largest process."""
    starts_s: dict[str, float] = field(default_factory=dict)
    """Time until every service answers: "first" on an empty data folder, "again" on one that is in use."""
    scrypt_ms: float | None = None
    """One password's scrypt alone, p50."""
    login_timing: LoginTiming | None = None
    leaving: Leaving | None = None
    restarted: list[str] = field(default_factory=list)
    """Roles whose processes did not live through the run."""

    @property
    def standings(self) -> list[Standing]:
        figures = Figures(
            rows={(row.name, row.measured.connections): row.measured for row in self.rows},
            memory_mb=self.memory_mb,
            start_s=self.starts_s.get("again", self.starts_s.get("first")),
            scrypt_ms=self.scrypt_ms,
            leaving_ms=self.leaving.times_ms if self.leaving else {},
        )
        return standings(figures)

    def acknowledged(self, name: str) -> int:
        """Right answers to a row over all concurrencies and rounds, warm-up included."""
        return sum(measured.acknowledged for row in self.rows if row.name == name for measured in row.rounds)

    @property
    def disturbances(self) -> list[str]:
        """What makes the figures lower than they would be on a quiet machine."""
        every = [row.measured for row in self.rows]
        others = max((measured.others_percent for measured in every), default=0)
        stolen = max((measured.stolen_percent for measured in every), default=0)
        return [
            text
            for share, text in (
                (others, f"other processes took up to {others:.0f} % of the machine's CPU time"),
                (stolen, f"the hypervisor withheld up to {stolen:.0f} % of it"),
            )
            if share > _QUIET_PERCENT
        ]

    @property
    def failures(self) -> list[str]:
        """What makes the figures worthless: wrong answers, unrecorded ones, dead processes."""
        wrong = [
            f"{row.title} at {measured.connections}: {measured.errors}; first: {measured.first_error}"
            for row in self.rows
            for measured in row.rounds
            if measured.error_count
        ]
        lost = [
            f"{check.name}: {check.acknowledged:,} dispatches acknowledged, {check.recorded:,} recorded"
            for check in self.records
            if not check.complete
        ]
        if self.leaving is not None and not self.leaving.complete:
            lost.append(_leaving_counts(self.leaving))
        wrong_answers = self.login_timing.wrong_answers if self.login_timing else []
        return [
            *wrong,
            *lost,
            *(f"{role} died under the load" for role in self.restarted),
            *(f"refused log-ins are not answered alike: {answer}" for answer in wrong_answers),
        ]


def to_json(report: Report) -> str:
    """The whole run. Units are in the names; a row has every figure of its quietest round, and all rounds."""
    content = {
        "began_at": report.began_at.isoformat(),
        "machine": report.machine.to_json(),
        "warm_up_s": report.warm_up_s,
        "measured_s": report.measured_s,
        "round_count": report.rounds,
        "rows": [_row_content(row) for row in report.rows],
        "records": [asdict(check) | {"complete": check.complete} for check in report.records],
        "memory_mb": report.memory_mb,
        "starts_s": report.starts_s,
        "scrypt_ms": report.scrypt_ms,
        "login_timing": None if report.login_timing is None else _timing_content(report.login_timing),
        "leaving": None if report.leaving is None else asdict(report.leaving),
        "standings": [asdict(standing) | {"verdict": standing.verdict} for standing in report.standings],
        "failures": report.failures,
    }
    return json.dumps(content, indent=2) + "\n"


def _row_content(row: MeasuredRow) -> dict[str, object]:
    rounds = [measured.to_json() for measured in row.rounds]
    return {"name": row.name, "title": row.title, **row.measured.to_json(), "rounds": rounds}


def _timing_content(timing: LoginTiming) -> dict[str, object]:
    kinds = {
        kind.name.lower(): {
            "count": len(timing.times_ms[kind]),
            "median_ms": timing.median_ms(kind),
            "beside_unknown": None if kind is Kind.UNKNOWN else asdict(timing.difference(kind)),
        }
        for kind in timing.times_ms
    }
    return {"kinds": kinds, "stolen_percent": timing.stolen_percent}


def to_text(report: Report) -> str:
    """The tables."""
    parts = [_head(report), _rows(report.rows)]
    if report.disturbances:
        parts.append(f"Not a quiet machine, so too low: {'; '.join(report.disturbances)}.")
    if report.memory_mb:
        parts.append(f"Memory after load, MB: {_listed(report.memory_mb.items(), '.0f')}")
    if report.starts_s:
        parts.append(f"Start to all ready, s: {_listed(report.starts_s.items(), '.1f')}")
    if report.scrypt_ms is not None:
        parts.append(f"scrypt alone, p50: {report.scrypt_ms:.1f} ms")
    if report.login_timing is not None:
        parts.append(_timing(report.login_timing))
    if report.leaving is not None:
        parts.append(f"{_leaving(report.leaving)}\n{_leaving_counts(report.leaving)}")
    for check in report.records:
        parts.append(f"Recorded by {check.name}: {check.recorded:,} of {check.acknowledged:,} acknowledged dispatches")
    parts.append(_standings(report.standings))
    parts.extend(f"FAILURE: {failure}" for failure in report.failures)
    return "\n\n".join(parts)


def _head(report: Report) -> str:
    machine = report.machine
    versions = ", ".join(f"{name} {version}" for name, version in machine.packages.items())
    return (
        f"PeanutAgent {machine.commit}, {report.began_at:%Y-%m-%d %H:%M} UTC; "
        f"{report.warm_up_s:g} s warm-up and {report.measured_s:g} s measured per row, "
        f"the quietest of up to {report.rounds} round(s)\n"
        f"{machine.cpu}, {machine.cores} cores, {machine.memory_mb:,.0f} MB, {machine.system}; "
        f"load average before: {machine.load_average:.2f}\n"
        f"{machine.python}; nats-server {machine.nats_server}; {versions}"
    )


def _rows(rows: Sequence[MeasuredRow]) -> str:
    head = ["", "at", "req/s", "p50 ms", "p99 ms", "errors", "stolen", "others", "CPU us/request by process"]
    return _table(head, [_row(row) for row in rows], left=(0, 8))


def _row(row: MeasuredRow) -> list[str]:
    measured = row.measured
    return [
        row.title,
        str(measured.connections),
        f"{measured.requests_per_second:,.0f}",
        _number(measured.latency_ms.get("p50"), ".2f"),
        _number(measured.latency_ms.get("p99"), ".2f"),
        str(row.error_count),
        f"{measured.stolen_percent:.0f} %",
        f"{measured.others_percent:.0f} %",
        _listed(measured.cpu_us.items(), ".0f"),
    ]


def _timing(timing: LoginTiming) -> str:
    head = [
        f"refused log-ins ({timing.stolen_percent:.0f} % stolen)",
        "tries",
        "p50 ms",
        "beside unknown, ms",
        "95 %",
        "U test, p",
    ]
    return _table(head, [_timing_row(timing, kind) for kind in timing.times_ms], left=(0,))


def _leaving(found: Leaving) -> str:
    head = [
        f"client leaves → agent left ({found.stolen_percent:.0f} % stolen)",
        "at once",
        "p50 ms",
        "p99 ms",
        "max ms",
    ]
    rows = [
        ["", str(crowd), *(_number(times.get(name), ".1f") for name in ("p50", "p99", "max"))]
        for crowd, times in found.times_ms.items()
    ]
    return _table(head, rows, left=(0,))


def _leaving_counts(found: Leaving) -> str:
    return f"{found.left:,} clients left, for {found.noticed:,} the agent was left, {found.recorded:,} are recorded"


def _timing_row(timing: LoginTiming, kind: Kind) -> list[str]:
    row = [kind.value, str(len(timing.times_ms[kind])), f"{timing.median_ms(kind):.2f}"]
    if kind is Kind.UNKNOWN:
        return [*row, "", "", ""]
    difference = timing.difference(kind)
    low, high = difference.interval_ms
    return [*row, f"{difference.median_ms:+.2f}", f"{low:+.2f} to {high:+.2f}", f"{difference.p:.2g}"]


def _standings(lines: Sequence[Standing]) -> str:
    head = ["against the goals", "measured", "must", "goal", "", ""]
    return _table(head, [_standing(line) for line in lines], left=(0, 4, 5))


def _standing(line: Standing) -> list[str]:
    sign = "≥" if line.more_is_better else "≤"
    return [
        line.title,
        _compact(line.value),
        "" if line.must is None else f"{sign} {line.must:,g}",
        f"{sign} {line.goal:,g}",
        line.unit,
        line.verdict,
    ]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], *, left: Sequence[int]) -> str:
    lines = [head, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    aligned = (
        "  ".join(
            cell.ljust(width) if column in left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    )
    return "\n".join(line.rstrip() for line in aligned)


def _listed(values: Iterable[tuple[str, float | None]], form: str) -> str:
    return ", ".join(f"{name} {_number(value, form)}" for name, value in values)


def _compact(value: float | None) -> str:
    return _number(value, ",.0f" if value is not None and value >= 100 else ".2f")


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
