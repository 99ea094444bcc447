"""What a plain dispatch costs beside 1,000 open streams and with 1,000 registered agents, and what a stream takes.

Measured in turn with the same without them: what else the machine does changes within a minute. What the streams and
the agents cost by themselves, without any dispatch (tokens, signs of life, health checks), is measured just before and
told apart: it is the same however many dispatches there are.
"""

import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from tests.bench.linux import CpuUse, resident_mb
from tests.bench.load import Load, Measured, measure
from tests.bench.rows import Target, dispatch_request, dispatch_row
from tests.bench.stream_load import StreamLoad, StreamsMeasured, await_open, collect_streams, start_streams
from tests.bench.stream_rows import DISPATCH_END
from tests.bench.system import System, running_system
from tests.bench.tokens import UNTIL_TOLD, Wish

GROWN_TO = 1_000
_AT = 16
_KEYS = 4
_TOKEN_EVERY_MS = 5_000
_NOT_OURS = ("load", "upstream")


@dataclass(frozen=True, slots=True)
class Plain:
    """Plain dispatches under one condition: the median of its rounds."""

    cpu_us: float
    """Of all our processes, per request, without the background."""
    background_ms: float
    """CPU per second of all our processes without any dispatch."""
    per_second: float
    p50_ms: float
    p99_ms: float


@dataclass(frozen=True, slots=True)
class _Round:
    measured: Measured
    background_us: float
    """Per second."""

    @property
    def cpu_us(self) -> float:
        """Of all our processes, per request."""
        each = sum(us for role, us in self.measured.cpu_us.items() if us is not None and role not in _NOT_OURS)
        return each - self.background_us / self.measured.requests_per_second


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """What was found."""

    streams: int
    agents: int
    alone: Plain
    beside_streams: Plain
    with_agents: Plain
    streams_cost_us: float
    agents_cost_us: float
    """What a dispatch costs more: the median of the differences of neighbouring rounds."""
    kb_per_stream: Mapping[str, float]
    """Resident memory that an open stream takes, by role, all its processes together, in kB (10^3 bytes)."""
    error_count: int
    first_error: str | None

    def to_json(self) -> dict[str, object]:
        return asdict(self)


def growth(data_dir: Path, upstream: Target, *, pairs: int, warm_up_s: float, measured_s: float) -> Growth:
    """Measure with and without, `pairs` times each, at two systems of its own."""
    with ExitStack() as stack:
        few = stack.enter_context(running_system(data_dir / "few", upstream_port=upstream.port))
        few.register_agents()
        many = stack.enter_context(running_system(data_dir / "many", upstream_port=upstream.port))
        many.register_agents(GROWN_TO)
        run = _Run(few, many, upstream, warm_up_s=warm_up_s, measured_s=measured_s)
        run.warm_up()
        for _ in range(pairs):
            run.pair()
    return run.found()


class _Run:
    def __init__(self, few: System, many: System, upstream: Target, *, warm_up_s: float, measured_s: float) -> None:
        self._few = few
        self._many = many
        self._upstream = upstream
        self._warm_up_s = warm_up_s
        self._measured_s = measured_s
        self._alone: list[_Round] = []
        self._beside: list[_Round] = []
        self._with_agents: list[_Round] = []
        self._streams: list[StreamsMeasured] = []
        self._kb: defaultdict[str, list[float]] = defaultdict(list)

    def warm_up(self) -> None:
        """One round of each system that does not count."""
        for system in (self._few, self._many):
            self._plain(system)

    def pair(self) -> None:
        """One round of each condition."""
        self._alone.append(self._plain(self._few))
        with self._open_streams():
            self._beside.append(self._plain(self._few))
        self._with_agents.append(self._plain(self._many))

    def found(self) -> Growth:
        every = [one.measured for one in (*self._alone, *self._beside, *self._with_agents)]
        loads: list[Measured | StreamsMeasured] = [*every, *self._streams]
        return Growth(
            streams=GROWN_TO,
            agents=GROWN_TO,
            alone=_plain(self._alone),
            beside_streams=_plain(self._beside),
            with_agents=_plain(self._with_agents),
            streams_cost_us=_cost_us(self._beside, self._alone),
            agents_cost_us=_cost_us(self._with_agents, self._alone),
            # The first streams of a process also bring what is kept for the next ones.
            kb_per_stream={role: figures[0] for role, figures in self._kb.items()},
            error_count=sum(measured.error_count for measured in loads),
            first_error=next((measured.first_error for measured in loads if measured.first_error), None),
        )

    def _plain(self, system: System) -> _Round:
        row = dispatch_row("growth", "", system, system.api_key)
        background = self._background_us(system)
        measured = measure(
            Load(
                port=system.port,
                request=row.request,
                expected=row.expected,
                connections=_AT,
                warm_up_s=self._warm_up_s,
                measured_s=self._measured_s,
                watched=system.pids(),
            )
        )
        return _Round(measured, background)

    def _background_us(self, system: System) -> float:
        pids = {role: own for role, own in system.pids().items() if role not in _NOT_OURS}
        before = CpuUse.read(pids)
        began = time.monotonic()
        time.sleep(self._measured_s)
        spent = CpuUse.read(pids).since(before)
        return sum(s for s in spent.by_role_s.values() if s is not None) * 1e6 / (time.monotonic() - began)

    @contextmanager
    def _open_streams(self) -> Iterator[None]:
        message = Wish(UNTIL_TOLD, _TOKEN_EVERY_MS).message
        keys = self._few.api_keys(_KEYS)
        before = _memory_kb(self._few)
        generator = start_streams(
            StreamLoad(
                port=self._few.port,
                requests=tuple(dispatch_request(self._few, key, message=message, stream=True) for key in keys),
                end=DISPATCH_END,
                streams=GROWN_TO,
                warm_up_s=0.0,
                measured_s=self._warm_up_s + 2 * self._measured_s + 1.0,
                provider_port=self._upstream.port,
                watched={},
            )
        )
        await_open(generator)
        for role, kb in _memory_kb(self._few).items():
            self._kb[role].append((kb - before[role]) / GROWN_TO)
        yield
        self._streams.append(collect_streams(generator))


def _memory_kb(target: Target) -> dict[str, float]:
    return {role: sum(map(resident_mb, pids)) * 1000 for role, pids in target.pids().items()}


def _cost_us(grown: Sequence[_Round], alone: Sequence[_Round]) -> float:
    return median(one.cpu_us - other.cpu_us for one, other in zip(grown, alone, strict=True))


def _plain(rounds: Sequence[_Round]) -> Plain:
    return Plain(
        cpu_us=median(one.cpu_us for one in rounds),
        background_ms=median(one.background_us for one in rounds) / 1e3,
        per_second=median(one.measured.requests_per_second for one in rounds),
        p50_ms=median(one.measured.latency_ms.get("p50", 0.0) for one in rounds),
        p99_ms=median(one.measured.latency_ms.get("p99", 0.0) for one in rounds),
    )
