"""The table of the peers: what each does of the same rows, and how many times as much PeanutAgent does."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tests.bench.load import Measured
from tests.bench.stream_load import StreamsMeasured
from tests.bench.tables import number, table


@dataclass(frozen=True, slots=True)
class Cell:
    """One gateway at one row."""

    rate: float
    """Requests or chunks per second."""
    p50_ms: float | None
    p99_ms: float | None
    cpu_us: float | None
    """Of all the gateway's processes, per request or chunk."""
    error_count: int
    first_error: str | None
    stolen_percent: float

    @classmethod
    def of(cls, measured: Measured | StreamsMeasured, *, times_ms: Mapping[str, float]) -> "Cell":
        """`times_ms`: the latency, the time to the first token or the delay of a token, whichever the row is about."""
        own = [us for role, us in measured.cpu_us.items() if role not in ("load", "upstream")]
        return cls(
            rate=measured.requests_per_second if isinstance(measured, Measured) else measured.chunks_per_second,
            p50_ms=times_ms.get("p50"),
            p99_ms=times_ms.get("p99"),
            cpu_us=sum(us for us in own if us is not None) if own and None not in own else None,
            error_count=measured.error_count,
            first_error=measured.first_error,
            stolen_percent=measured.stolen_percent,
        )


Line = tuple[str, int]
"""What is asked, and how many at once."""


def to_text(cells: Mapping[Line, Mapping[str, Cell]], ours: str) -> str:
    """One line for each row and gateway; the ratios are PeanutAgent's rate, p50 and CPU to the gateway's."""
    head = ["", "at", "gateway", "per s", "p50 ms", "p99 ms", "CPU us", "errors", "stolen"]
    head += ["our rate", "our p50", "our CPU"]
    rows = [
        [
            title,
            str(at),
            gateway,
            f"{cell.rate:,.0f}",
            number(cell.p50_ms, ".2f"),
            number(cell.p99_ms, ".2f"),
            number(cell.cpu_us, ",.0f"),
            str(cell.error_count),
            f"{cell.stolen_percent:.0f} %",
            *_ratios(by_gateway.get(ours), cell),
        ]
        for (title, at), by_gateway in cells.items()
        for gateway, cell in by_gateway.items()
    ]
    failures = [
        f"{gateway}, {title}, at {at}: {cell.error_count} errors; first: {cell.first_error}"
        for (title, at), by_gateway in cells.items()
        for gateway, cell in by_gateway.items()
        if cell.error_count
    ]
    return "\n\n".join([table(head, rows, left=(0, 2)), *failures])


def _ratios(ours: Cell | None, theirs: Cell) -> Sequence[str]:
    if ours is None or ours is theirs:
        return ["", "", ""]
    pairs = ((ours.rate, theirs.rate), (ours.p50_ms, theirs.p50_ms), (ours.cpu_us, theirs.cpu_us))
    return [f"{one / other:.2f} x" if one is not None and other else "-" for one, other in pairs]
