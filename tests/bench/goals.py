"""The goals of docs/benchmarks.md, what must be reached and what is aimed at, and how a run stands to them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from tests.bench.audit_log import AuditLog
from tests.bench.growth import GROWN_TO, Growth
from tests.bench.leaving import CROWDS, Moment
from tests.bench.load import Measured
from tests.bench.stream_load import StreamsMeasured
from tests.bench.stream_rows import FIRST_TOKEN, FLAT_OUT, PACED

SERVICES = ("edge", "auth", "orchestrator", "audit")

_GATEWAYS = (
    # Name, times it, and its dispatches/s at 16 and 64 measured on another machine.
    ("Portkey", 2, {16: 923, 64: 1_311}),
    ("the Node original", 5, {16: 451, 64: 538}),
    ("LiteLLM", 25, {16: 98, 64: 98}),
)


class Verdict(StrEnum):
    """How a measured value stands to its limits."""

    GOAL_MET = "goal met"
    MUST_MET = "must met"
    BELOW_GOAL = "below goal"
    BELOW_MUST = "below must"
    NOT_MEASURED = "not measured"


@dataclass(frozen=True, slots=True)
class Figures:
    """Everything measured that a goal may speak of."""

    rows: Mapping[tuple[str, int], Measured]
    """By row name and concurrency."""
    rested_memory_mb: Mapping[str, float]
    """Resident memory some quiet seconds after the load by role, of its largest process."""
    start_s: float | None
    scrypt_ms: float | None
    leaving_ms: Mapping[tuple[Moment, int], Mapping[str, float]] = field(default_factory=dict)
    """Until an agent is left whose client has left, by when and how many left at once."""
    streams: Mapping[tuple[str, int], StreamsMeasured] = field(default_factory=dict)
    """By row name and number of streams."""
    lost_streams: int | None = None
    """Streams that were not complete, in order and ended well."""
    growth: Growth | None = None
    audit_log: AuditLog | None = None

    def rate(self, row: str, connections: int) -> float | None:
        measured = self.rows.get((row, connections))
        return measured.requests_per_second if measured else None

    def latency_ms(self, row: str, connections: int, quantile: str) -> float | None:
        measured = self.rows.get((row, connections))
        return measured.latency_ms.get(quantile) if measured else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """One goal beside what was measured."""

    title: str
    unit: str
    value: float | None
    must: float | None
    goal: float
    more_is_better: bool

    @property
    def verdict(self) -> Verdict:
        if self.value is None:
            return Verdict.NOT_MEASURED
        if self._reaches(self.goal):
            return Verdict.GOAL_MET
        if self.must is None:
            return Verdict.BELOW_GOAL
        return Verdict.MUST_MET if self._reaches(self.must) else Verdict.BELOW_MUST

    def _reaches(self, limit: float) -> bool:
        assert self.value is not None
        return self.value >= limit if self.more_is_better else self.value <= limit


def standings(figures: Figures) -> list[Standing]:
    """Every limit that this benchmark can speak of."""
    upstream_ms = figures.latency_ms("upstream", 1, "p50")
    services_mb = [figures.rested_memory_mb[name] for name in SERVICES if name in figures.rested_memory_mb]
    return [
        _at_least("dispatch at 16", "requests/s", figures.rate("dispatch", 16), 1_200, 2_000),
        _at_least("dispatch at 64", "requests/s", figures.rate("dispatch", 64), 1_800, 3_000),
        *_shares_of_others(figures),
        _at_most(
            "dispatch at 1, p50 beyond the upstream's p50",
            "ms",
            _difference(figures.latency_ms("dispatch", 1, "p50"), upstream_ms),
            3,
            1.5,
        ),
        _at_most(
            "dispatch at 1, p99 beyond the upstream's p50",
            "ms",
            _difference(figures.latency_ms("dispatch", 1, "p99"), upstream_ms),
            8,
            5,
        ),
        _at_most("dispatch at 64, p99", "ms", figures.latency_ms("dispatch", 64, "p99"), 100, 50),
        _at_least("GET /auth/me at 32", "requests/s", figures.rate("me", 32), 6_000, 14_000),
        _at_least("GET /agents at 32", "requests/s", figures.rate("agents", 32), 3_000, 5_000),
        _at_most(
            "login at 1, p50 as a multiple of bare scrypt's",
            "x",
            _ratio(figures.latency_ms("login", 1, "p50"), figures.scrypt_ms),
            1.3,
            1.3,
        ),
        _at_most(
            "GET /auth/me at 1, p99 while 20 log in, as a multiple of idle",
            "x",
            _ratio(figures.latency_ms("me-beside-logins", 1, "p99"), figures.latency_ms("me", 1, "p99")),
            3,
            3,
        ),
        *_streams(figures),
        *(
            _at_most(
                f"client leaves {moment} → agent left, {crowd} at once, p99",
                "ms",
                figures.leaving_ms.get((moment, crowd), {}).get("p99"),
                100,
                50,
            )
            for moment in Moment
            for crowd in CROWDS
        ),
        *_growth(figures.growth),
        *_audit_log(figures.audit_log),
        _at_most("largest service after load", "MB", max(services_mb, default=None), 110, 90),
        _at_most("start to all ready", "s", figures.start_s, 6, 4),
    ]


def _streams(figures: Figures) -> list[Standing]:
    own = figures.streams.get((f"upstream-{FIRST_TOKEN.name}", 1))
    own_ms = own.first_token_ms.get("p50") if own else None
    lines = []
    for subject, must_flat_out, goal_flat_out in (("dispatch", 15_000, 25_000), ("chat", 30_000, 60_000)):
        first = figures.streams.get((f"{subject}-{FIRST_TOKEN.name}", 1))
        first_ms = first.first_token_ms.get("p50") if first else None
        paced = figures.streams.get((f"{subject}-{PACED.name}", 100))
        flat_out = figures.streams.get((f"{subject}-{FLAT_OUT.name}", 100))
        chunks = paced.chunks_per_second if paced else None
        delay_ms = paced.delay_ms.get("p99") if paced else None
        lines += [
            _at_most(
                f"{subject}: first token at 1, p50 beyond the upstream's p50", "ms", _difference(first_ms, own_ms), 4, 2
            ),
            _at_least(f"{subject}: 100 streams of 50 tokens/s", "chunks/s", chunks, 4_800, 4_800),
            _at_most(f"{subject}: 100 streams of 50 tokens/s, delay p99", "ms", delay_ms, 25, 10),
            _at_least(
                f"{subject}: 100 streams flat out",
                "chunks/s",
                flat_out.chunks_per_second if flat_out else None,
                must_flat_out,
                goal_flat_out,
            ),
        ]
    return [*lines, _at_most("streams with a token lost, doubled or out of order", "", figures.lost_streams, 0, 0)]


def _audit_log(found: AuditLog | None) -> list[Standing]:
    if found is None:
        return []
    checkpoint_ms = found.checkpoint_ms["p99"]
    return [
        _at_least("audit: appends at the service", "entries/s", found.appends_per_second, 5_000, 10_000),
        _at_least("audit: appends with receipts", "entries/s", found.receipts_per_second, 2_500, 2_500),
        _at_most("audit: the same, p99", "ms", found.receipt_ms["p99"], 50, 50),
        _at_most(f"audit: 100 verified entries of {found.entries:,}, p99", "ms", found.page_ms["p99"], 50, 15),
        _at_most("audit: receipt to a covering checkpoint, p99", "ms", checkpoint_ms, 1_500, 1_500),
        _at_most(f"audit: start with {found.entries:,} entries", "s", found.service_start_s, 2, 2),
        _at_least("peanut-verify", "entries/s", found.checked_per_second, 150_000, 150_000),
    ]


def _growth(growth: Growth | None) -> list[Standing]:
    return [
        _at_most(f"a dispatch's CPU {title}", "us more", more_us, 100, 100)
        for title, more_us in (
            (f"beside {GROWN_TO:,} open streams", growth.streams_cost_us if growth else None),
            (f"with {GROWN_TO:,} agents", growth.agents_cost_us if growth else None),
        )
    ]


def _shares_of_others(figures: Figures) -> list[Standing]:
    """The dispatch rate as a multiple of other gateways' rates: limits of the column Goal only."""
    lines = []
    for connections in (16, 64):
        rate = figures.rate("dispatch", connections)
        bare = _ratio(rate, figures.rate("bare", connections))
        lines.append(_at_least(f"dispatch at {connections}, share of the bare proxy", "x", bare, None, 0.6))
        for name, times, rates in _GATEWAYS:
            title = f"dispatch at {connections}, multiple of {name}'s {rates[connections]:,}/s"
            lines.append(_at_least(title, "x", _ratio(rate, rates[connections]), None, times))
    return lines


def _at_least(title: str, unit: str, value: float | None, must: float | None, goal: float) -> Standing:
    return Standing(title=title, unit=unit, value=value, must=must, goal=goal, more_is_better=True)


def _at_most(title: str, unit: str, value: float | None, must: float | None, goal: float) -> Standing:
    return Standing(title=title, unit=unit, value=value, must=must, goal=goal, more_is_better=False)


def _difference(value: float | None, base: float | None) -> float | None:
    return None if value is None or base is None else value - base


def _ratio(value: float | None, base: float | None) -> float | None:
    return None if value is None or not base else value / base
