"""What a server counts, for Prometheus."""

from __future__ import annotations

import os
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

SHARED = "PROMETHEUS_MULTIPROC_DIR"  # where several workers keep their counts, for each other
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
IMAGES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """Counters of one server, in a registry of their own; where several workers serve, those of
    all of them together."""

    def __init__(self, waiting: Callable[[], int]) -> None:
        self.registry = registry = CollectorRegistry()
        several = os.environ.get(SHARED)
        self.requests = Counter(
            "convscope_requests_total", "Requests answered", ("route", "status"), registry=registry
        )
        self.seconds = Histogram(
            *("convscope_request_seconds", "From head to answer", ("route",)),
            buckets=SECONDS,
            registry=registry,
        )
        self.images = Histogram(
            *("convscope_batch_images", "Images computed at once", ("model",)),
            buckets=IMAGES,
            registry=registry,
        )
        self.computing = Histogram(
            *("convscope_batch_seconds", "Time to compute a batch", ("model",)),
            buckets=SECONDS,
            registry=registry,
        )
        if several:
            self.registry = CollectorRegistry()
            MultiProcessCollector(self.registry)  # type: ignore[no-untyped-call]
        else:
            queue = Gauge("convscope_waiting", "Requests without an answer", registry=registry)
            queue.set_function(waiting)
        self._routes: dict[tuple[str, int], tuple[Counter, Histogram]] = {}

    def request(self, route: str, status: int, seconds: float) -> None:
        """Count a request by the template of its route."""
        found = self._routes.get((route, status))
        if found is None:
            found = self.requests.labels(route, status), self.seconds.labels(route)
            self._routes[route, status] = found
        found[0].inc()
        found[1].observe(seconds)

    def batch(self, model: str, images: int, seconds: float) -> None:
        """Count a batch."""
        self.images.labels(model).observe(images)
        self.computing.labels(model).observe(seconds)

    def text(self) -> bytes:
        """As Prometheus reads them."""
        return generate_latest(self.registry)
