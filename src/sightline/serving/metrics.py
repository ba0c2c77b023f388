"""Figures for Prometheus; every label has a bounded number of values."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST

if TYPE_CHECKING:
    from sightline.serving.service import Service

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)

# Of `EngineStats`. Items by passes is the mean size of a batch.
_GAUGES = {
    "waiting": "Items that wait for the model",
    "waiting_bytes": "Bytes of texts and media that wait for it",
    "running": "Items the model has in hand",
    "capacity": "Items that may wait",
}
_COUNTERS = {
    "accepted": "Requests taken by the model's queue",
    "refused": "Requests refused because the queue was full",
    "failed": "Requests that failed",
    "dropped": "Requests given up by their clients or out of time",
    "passes": "Forward passes",
    "items": "Items served",
    "tokens": "Tokens and patches the model read",
    "busy_seconds": "Seconds the model worked",
}


class Metrics:
    """Counts requests, and reads the rest from the service when it is asked."""

    media_type = CONTENT_TYPE_LATEST

    def __init__(self, service: Service) -> None:
        disable_created_metrics()  # a second series per series, which nobody reads
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "sightline_requests", "Requests answered", ("route", "method", "status"), registry=self._registry
        )
        self._seconds = Histogram(
            "sightline_request_seconds",
            "Time to answer a request",
            ("route",),
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._running = Gauge(
            "sightline_requests_running", "Requests being answered", registry=self._registry
        )
        self._registry.register(_State(service))

    def begin(self) -> None:
        """A request came in."""
        self._running.inc()

    def end(self, route: str, method: str, status: int, seconds: float) -> None:
        """A request was answered. ``route`` is the pattern of its path, not the path."""
        self._running.dec()
        self._requests.labels(route, method if method in _METHODS else "other", str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def page(self) -> bytes:
        """All figures in Prometheus' text format."""
        return generate_latest(self._registry)


class _State:
    """What is read from the service at the moment of asking."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def collect(self) -> Iterator[Metric]:
        served = self._service.served
        yield GaugeMetricFamily(
            "sightline_ready", "1 if requests are answered", value=float(self._service.ready)
        )
        if served is None:
            return
        facts = served.index.facts
        yield InfoMetricFamily(
            "sightline_index",
            "What is served",
            value={"version": facts.version, "model": served.model, "fingerprint": facts.fingerprint},
        )
        yield GaugeMetricFamily("sightline_index_pages", "Pages in the index", value=facts.pages)
        stats = asdict(served.engine.stats())
        for name, what in _GAUGES.items():
            yield GaugeMetricFamily(f"sightline_engine_{name}", what, value=float(stats[name]))
        for name, what in _COUNTERS.items():
            yield CounterMetricFamily(f"sightline_engine_{name}", what, value=float(stats[name]))
