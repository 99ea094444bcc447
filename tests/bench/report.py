"""What a run found, as a table for people and as JSON for everything else."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime

from tests.bench.audit_log import AuditLog
from tests.bench.goals import Figures, Standing, standings
from tests.bench.growth import Growth
from tests.bench.leaving import Leaving
from tests.bench.linux import QUIET_PERCENT, Surroundings
from tests.bench.load import Measured
from tests.bench.login_timing import Kind, LoginTiming
from tests.bench.machine import Machine
from tests.bench.stream_load import StreamsMeasured
from tests.bench.stream_rows import FIRST_TOKEN
from tests.bench.tables import compact, listed, number, table

_TOLERATED_PERCENT = 5


@dataclass(frozen=True, slots=True)
class MeasuredRow:
    """A row at one concurrency, measured in one round or, while the machine was not quiet, in several."""

    name: str
    title: str
    rounds: tuple[Measured, ...]

    @property
    def measured(self) -> Measured:
        """The quietest round: chosen by what the machine's neighbours left, never by the result."""
        return min(self.rounds, key=lambda measured: measured.slowness_us)

    @property
    def error_count(self) -> int:
        """Errors of all rounds."""
        return sum(measured.error_count for measured in self.rounds)


@dataclass(frozen=True, slots=True)
class MeasuredStreams:
    """A row of streams at one number of them, in one round or several, like a `MeasuredRow`."""

    name: str
    title: str
    offered_per_second: float | None
    """Chunks of the provider, where it is paced."""
    rounds: tuple[StreamsMeasured, ...]

    @property
    def measured(self) -> StreamsMeasured:
        """The quietest round."""
        return min(self.rounds, key=lambda measured: measured.slowness_us)

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
    streams: list[MeasuredStreams] = field(default_factory=list)
    records: list[RecordCheck] = field(default_factory=list)
    memory_mb: dict[str, float] = field(default_factory=dict)
    """Resident memory right after the load by role, of its largest process."""
    rested_memory_mb: dict[str, float] = field(default_factory=dict)
    """The same some quiet seconds later."""
    starts_s: dict[str, float] = field(default_factory=dict)
    """Time until every service answers: "first" on an empty data folder, "again" on one that is in use."""
    scrypt_ms: float | None = None
    """One password's scrypt alone, p50."""
    login_timing: LoginTiming | None = None
    leaving: Leaving | None = None
    growth: Growth | None = None
    audit_log: AuditLog | None = None
    fastest_us: float = 0.0
    """CPU time of core_meter's fastest piece of work in this run: a core at its full speed."""
    restarted: list[str] = field(default_factory=list)
    """Roles whose processes did not live through the run."""

    @property
    def standings(self) -> list[Standing]:
        figures = Figures(
            rows={(row.name, row.measured.connections): row.measured for row in self.rows},
            rested_memory_mb=self.rested_memory_mb,
            start_s=self.starts_s.get("again", self.starts_s.get("first")),
            scrypt_ms=self.scrypt_ms,
            leaving_ms=self.leaving.times_ms if self.leaving else {},
            streams={(row.name, row.measured.streams): row.measured for row in self.streams},
            lost_streams=sum(row.error_count for row in self.streams) if self.streams else None,
            growth=self.growth,
            audit_log=self.audit_log,
        )
        return standings(figures)

    def acknowledged(self, names: Collection[str]) -> int:
        """Right answers to rows over all concurrencies and rounds, warm-up included, and complete streams."""
        answers = [measured.acknowledged for row in self.rows if row.name in names for measured in row.rounds]
        streams = [measured.completed for row in self.streams if row.name in names for measured in row.rounds]
        return sum(answers) + sum(streams)

    @property
    def disturbances(self) -> list[str]:
        """What makes the figures lower than they would be on a quiet machine."""
        every: list[Surroundings] = [row.measured for row in self.rows]
        every += [row.measured for row in self.streams]
        others = max((measured.others_percent for measured in every), default=0)
        stolen = max((measured.stolen_percent for measured in every), default=0)
        slowed = max((100 - self.core_percent(measured.piece_us) for measured in every), default=0)
        return [
            text
            for share, tolerated, text in (
                (others, _TOLERATED_PERCENT, f"other processes took up to {others:.0f} % of the machine's CPU time"),
                (stolen, _TOLERATED_PERCENT, f"the hypervisor withheld up to {stolen:.0f} % of it"),
                (slowed, 100 - QUIET_PERCENT, f"the cores were up to {slowed:.0f} % slower than at their fastest"),
            )
            if share > tolerated
        ]

    def core_percent(self, piece_us: float) -> float:
        """How fast a core was, of the fastest that was seen in this run."""
        return 100 * self.fastest_us / piece_us

    @property
    def failures(self) -> list[str]:
        """What makes the figures worthless: wrong answers, unrecorded ones, dead processes."""
        wrong = [
            f"{row.title} at {measured.connections}: {measured.errors}; first: {measured.first_error}"
            for row in self.rows
            for measured in row.rounds
            if measured.error_count
        ]
        wrong += [
            f"{row.title}, {measured.streams} streams: {measured.errors}; first: {measured.first_error}"
            for row in self.streams
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
        if self.growth is not None and self.growth.error_count:
            wrong.append(f"with and without 1,000: {self.growth.error_count} errors; first: {self.growth.first_error}")
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
        "streams": [_streams_content(row) for row in report.streams],
        "records": [asdict(check) | {"complete": check.complete} for check in report.records],
        "memory_mb": report.memory_mb,
        "rested_memory_mb": report.rested_memory_mb,
        "starts_s": report.starts_s,
        "scrypt_ms": report.scrypt_ms,
        "fastest_us": report.fastest_us,
        "login_timing": None if report.login_timing is None else _timing_content(report.login_timing),
        "leaving": None if report.leaving is None else report.leaving.to_json(),
        "auditLog": None if report.audit_log is None else report.audit_log.to_json(),
        "growth": None if report.growth is None else report.growth.to_json(),
        "standings": [asdict(standing) | {"verdict": standing.verdict} for standing in report.standings],
        "failures": report.failures,
    }
    return json.dumps(content, indent=2) + "\n"


def _row_content(row: MeasuredRow) -> dict[str, object]:
    rounds = [measured.to_json() for measured in row.rounds]
    return {"name": row.name, "title": row.title, **row.measured.to_json(), "rounds": rounds}


def _streams_content(row: MeasuredStreams) -> dict[str, object]:
    rounds = [measured.to_json() for measured in row.rounds]
    figures = {"name": row.name, "title": row.title, "offered_per_second": row.offered_per_second}
    return {**figures, **row.measured.to_json(), "rounds": rounds}


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
    parts = [_head(report)]
    if report.rows:
        parts.append(_rows(report))
    if report.streams:
        parts.append(_streams(report))
    beyond = _beyond_upstream(report)
    if beyond:
        parts.append(beyond)
    if report.disturbances:
        parts.append(f"Not a quiet machine, so too low: {'; '.join(report.disturbances)}.")
    if report.memory_mb:
        parts.append(f"Memory right after load, MB: {listed(report.memory_mb.items(), '.0f')}")
        parts.append(f"Memory when the load was over, MB: {listed(report.rested_memory_mb.items(), '.0f')}")
    if report.starts_s:
        parts.append(f"Start to all ready, s: {listed(report.starts_s.items(), '.1f')}")
    if report.scrypt_ms is not None:
        parts.append(f"scrypt alone, p50: {report.scrypt_ms:.1f} ms")
    if report.login_timing is not None:
        parts.append(_timing(report.login_timing))
    if report.leaving is not None:
        parts.append(f"{_leaving(report.leaving)}\n{_leaving_counts(report.leaving)}")
    if report.audit_log is not None:
        parts.append(_audit_log(report, report.audit_log))
    if report.growth is not None:
        parts.append(_growth(report.growth))
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


def _rows(report: Report) -> str:
    head = ["", "at", "req/s", "p50 ms", "p99 ms", "errors", "stolen", "others", "cores"]
    head += ["CPU us/request by process"]
    return table(head, [_row(report, row) for row in report.rows], left=(0, len(head) - 1))


def _row(report: Report, row: MeasuredRow) -> list[str]:
    measured = row.measured
    return [
        row.title,
        str(measured.connections),
        f"{measured.requests_per_second:,.0f}",
        number(measured.latency_ms.get("p50"), ".2f"),
        number(measured.latency_ms.get("p99"), ".2f"),
        str(row.error_count),
        f"{measured.stolen_percent:.0f} %",
        f"{measured.others_percent:.0f} %",
        f"{report.core_percent(measured.piece_us):.0f} %",
        listed(measured.cpu_us.items(), ".0f"),
    ]


def _streams(report: Report) -> str:
    head = ["streams", "at once", "chunks/s", "offered", "first token p50, p99 ms", "delay p50, p99 ms"]
    head += ["errors", "stolen", "others", "cores", "CPU us/chunk by process"]
    return table(head, [_stream_row(report, row) for row in report.streams], left=(0, len(head) - 1))


def _stream_row(report: Report, row: MeasuredStreams) -> list[str]:
    measured = row.measured
    return [
        row.title,
        str(measured.streams),
        f"{measured.chunks_per_second:,.0f}",
        number(row.offered_per_second, ",.0f"),
        _p50_p99(measured.first_token_ms),
        _p50_p99(measured.delay_ms),
        str(row.error_count),
        f"{measured.stolen_percent:.0f} %",
        f"{measured.others_percent:.0f} %",
        f"{report.core_percent(measured.piece_us):.0f} %",
        listed(measured.cpu_us.items(), ".0f"),
    ]


def _p50_p99(times_ms: Mapping[str, float]) -> str:
    return f"{number(times_ms.get('p50'), '.2f')} {number(times_ms.get('p99'), '.2f'):>8}"


def _beyond_upstream(report: Report) -> str:
    """What each gateway adds to the upstream's own times at the same concurrency."""
    latencies = [(row.name, row.title, row.measured.connections, row.measured.latency_ms) for row in report.rows]
    first = [
        (row.name, f"{row.title}: first token", row.measured.streams, row.measured.first_token_ms)
        for row in report.streams
        if row.name.endswith(FIRST_TOKEN.name)
    ]
    lines = []
    for every, upstream, wanted in (
        (latencies, "upstream", ("bare", "dispatch", "chat", "scaled")),
        (first, f"upstream-{FIRST_TOKEN.name}", (f"dispatch-{FIRST_TOKEN.name}", f"chat-{FIRST_TOKEN.name}")),
    ):
        own = {at: times_ms for name, _, at, times_ms in every if name == upstream and times_ms}
        lines += [
            [title, str(at), *(f"{times_ms[quantile] - own[at][quantile]:.2f}" for quantile in ("p50", "p99"))]
            for name, title, at, times_ms in every
            if name in wanted and at in own and times_ms
        ]
    return table(["beyond the upstream's own", "at", "p50 ms", "p99 ms"], lines, left=(0,)) if lines else ""


def _growth(found: Growth) -> str:
    head = ["dispatch at 16", "CPU us/request", "more than the first", "req/s", "p50 ms", "p99 ms", "idle, CPU ms/s"]
    rows = [
        [
            title,
            f"{with_it.cpu_us:,.0f}",
            more,
            f"{with_it.per_second:,.0f}",
            f"{with_it.p50_ms:.2f}",
            f"{with_it.p99_ms:.2f}",
            f"{with_it.background_ms:.0f}",
        ]
        for title, with_it, more in (
            ("10 agents, no stream", found.alone, ""),
            (f"beside {found.streams:,} open streams", found.beside_streams, f"{found.streams_cost_us:+,.0f}"),
            (f"with {found.agents:,} agents", found.with_agents, f"{found.agents_cost_us:+,.0f}"),
        )
    ]
    memory = listed(found.kb_per_stream.items(), ".1f")
    return f"{table(head, rows, left=(0,))}\nMemory of an open stream, kB: {memory}"


def _audit_log(report: Report, found: AuditLog) -> str:
    killed = "the audit service killed, to the next receipt"
    lines = [
        ("service_start_s", killed, f"{found.service_start_s:.1f} s", ""),
        ("page_ms", "100 verified entries, newest", "", _times(found.page_ms)),
        ("filtered_page_ms", "100 verified entries, by outcome", "", _times(found.filtered_page_ms)),
        ("scattered_page_ms", "100 verified entries of one user, scattered", "", _times(found.scattered_page_ms)),
        ("appends_per_second", "appends at the service", f"{found.appends_per_second:,.0f}/s", ""),
        (
            "receipts_per_second",
            "appends with receipts, end to end",
            f"{found.receipts_per_second:,.0f}/s",
            _times(found.receipt_ms),
        ),
        ("checkpoint_ms", "receipt to a checkpoint that covers it", "", _times(found.checkpoint_ms)),
        ("exported_per_second", "export as JSON Lines", f"{found.exported_per_second:,.0f}/s", ""),
        ("checked_per_second", "peanut-verify of that file", f"{found.checked_per_second:,.0f}/s", ""),
    ]
    rows = [["start to all ready", f"{found.start_s:.1f} s", "", ""]]
    rows += [
        [title, figure, times, f"{report.core_percent(found.piece_us[name]):.0f} %"]
        for name, title, figure, times in lines
    ]
    return table([f"audit log of {found.entries:,} entries", "", "p50, p99 ms", "cores"], rows, left=(0,))


def _times(times_ms: Mapping[str, float]) -> str:
    return f"{times_ms['p50']:.1f}  {times_ms['p99']:.1f}"


def _timing(timing: LoginTiming) -> str:
    head = [
        f"refused log-ins ({timing.stolen_percent:.0f} % stolen)",
        "tries",
        "p50 ms",
        "beside unknown, ms",
        "95 %",
        "U test, p",
    ]
    return table(head, [_timing_row(timing, kind) for kind in timing.times_ms], left=(0,))


def _leaving(found: Leaving) -> str:
    title = f"client leaves → agent left ({found.stolen_percent:.0f} % stolen)"
    head = [title, "at once", "p50 ms", "p99 ms", "max ms"]
    rows = [
        [f"leaves {moment.value}", str(crowd), *(number(times.get(name), ".1f") for name in ("p50", "p99", "max"))]
        for (moment, crowd), times in found.times_ms.items()
    ]
    return table(head, rows, left=(0,))


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
    return table(head, [_standing(line) for line in lines], left=(0, 4, 5))


def _standing(line: Standing) -> list[str]:
    sign = "≥" if line.more_is_better else "≤"
    return [
        line.title,
        compact(line.value),
        "" if line.must is None else f"{sign} {line.must:,g}",
        f"{sign} {line.goal:,g}",
        line.unit,
        line.verdict,
    ]
