"""Metrics of this edge: requests and how long they took, streams, and how punctual the event loop is.

Plain numbers: the library's own counters take 3 to 5 µs for a request, these take one.
"""

import asyncio
import time
from bisect import bisect_left
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from itertools import accumulate

from prometheus_client import Metric, ProcessCollector
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

from edge.http.request import Request
from shared.background import beside

DURATIONS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0)
LAGS_S = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)
LOOK_EVERY_S = 0.5
METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
"""What others there are, strangers choose: they are counted as one."""


class _Durations:
    """How long things took, counted up to each of some bounds."""

    __slots__ = ("bounds", "counts", "seconds")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.seconds = 0.0

    def add(self, seconds: float) -> None:
        self.counts[bisect_left(self.bounds, seconds)] += 1
        self.seconds += seconds

    def buckets(self) -> list[tuple[str, float]]:
        return histogram_buckets(self.bounds, list(accumulate(self.counts)))


class _Answers:
    """The answers of one method and route, by their status."""

    __slots__ = ("durations", "statuses")

    def __init__(self) -> None:
        self.durations = _Durations(DURATIONS_S)
        self.statuses: dict[int, int] = {}


class Meter:
    """Counts what this edge does.

    `route_of` finds the route of a path, out of a bounded number of them; `in_flight` says how many requests are under
    way. Both are set by those who know.
    """

    def __init__(self, instance: str) -> None:
        self.instance = instance
        self.route_of: Callable[[str], str] = lambda _path: "unknown"
        self.in_flight: Callable[[], int] = lambda: 0
        self._answers: dict[tuple[str, str], _Answers] = {}
        self._lags = _Durations(LAGS_S)
        self._streams_open = 0
        self._process = ProcessCollector(registry=None)

    def note(self, request: Request, status: int, seconds: float) -> None:
        """A request was answered, `seconds` after it came."""
        method = request.method if request.method in METHODS else "other"
        key = (method, self.route_of(request.path))
        answers = self._answers.get(key)
        if answers is None:
            answers = self._answers[key] = _Answers()
        answers.durations.add(seconds)
        answers.statuses[status] = answers.statuses.get(status, 0) + 1

    @contextmanager
    def streaming(self) -> Iterator[None]:
        """A stream is open while the block runs."""
        self._streams_open += 1
        try:
            yield
        finally:
            self._streams_open -= 1

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Looks while the block runs how late the event loop comes to what is due."""
        async with beside(self._watch):
            yield

    async def _watch(self) -> None:
        while True:
            due = time.perf_counter() + LOOK_EVERY_S
            await asyncio.sleep(LOOK_EVERY_S)
            self._lags.add(max(time.perf_counter() - due, 0.0))

    def families(self) -> list[Metric]:
        """All of it as it is now. Each series names this replica: several can be behind one address."""
        requests = CounterMetricFamily(
            "peanut_http_requests", "Requests that were answered.", labels=("instance", "method", "route", "status")
        )
        durations = HistogramMetricFamily(
            "peanut_http_request_duration_seconds",
            "From a request's head to the end of its answer.",
            labels=("instance", "method", "route"),
        )
        for (method, route), answers in self._answers.items():
            durations.add_metric((self.instance, method, route), answers.durations.buckets(), answers.durations.seconds)
            for status, count in answers.statuses.items():
                requests.add_metric((self.instance, method, route, str(status)), count)
        lags = HistogramMetricFamily(
            "peanut_event_loop_lag_seconds", "How late the event loop came to what was due.", labels=("instance",)
        )
        lags.add_metric((self.instance,), self._lags.buckets(), self._lags.seconds)
        return [
            requests,
            durations,
            self._gauge("peanut_http_requests_in_flight", "Requests under way.", self.in_flight()),
            self._gauge("peanut_http_streams_open", "Answers that are being streamed.", self._streams_open),
            lags,
            *(self._named(metric) for metric in self._process.collect()),
        ]

    def _gauge(self, name: str, documentation: str, value: float) -> Metric:
        gauge = GaugeMetricFamily(name, documentation, labels=("instance",))
        gauge.add_metric((self.instance,), value)
        return gauge

    def _named(self, metric: Metric) -> Metric:
        metric.samples = [
            sample._replace(labels={**sample.labels, "instance": self.instance}) for sample in metric.samples
        ]
        return metric


def histogram_buckets(bounds: Sequence[float], counts: Sequence[int]) -> list[tuple[str, float]]:
    """Prometheus' buckets out of how many values are at most each of the bounds, and how many there are at all."""
    return [(bound, count) for bound, count in zip((*map(str, bounds), "+Inf"), counts, strict=True)]
