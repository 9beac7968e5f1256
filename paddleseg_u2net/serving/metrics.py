"""What the server counts, in the format of Prometheus."""

from __future__ import annotations

import os

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

SHARED_FOLDER = "PROMETHEUS_MULTIPROC_DIR"  # where several workers put their counts together
SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)  # upper bounds of the histograms


class Metrics:
    """The counts of one process; those of all workers if SHARED_FOLDER is set."""

    def __init__(self):
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "u2net_requests", "Answered requests", ["route", "method", "status"], registry=self.registry
        )
        self.seconds = Histogram(
            "u2net_request_seconds",
            "From the first byte of a request to the last of its answer",
            ["route"],
            buckets=SECONDS,
            registry=self.registry,
        )
        self.stages = Histogram(
            "u2net_stage_seconds",
            "Time of an image in a stage; predict includes the wait for the engine",
            ["stage"],
            buckets=SECONDS,
            registry=self.registry,
        )
        self.images = Counter("u2net_images", "Predicted images", ["model"], registry=self.registry)
        self.queue = Gauge(
            "u2net_queue_requests",
            "Requests that hold a place in the queue of a model",
            ["model"],
            multiprocess_mode="livesum",
            registry=self.registry,
        )

    def text(self) -> bytes:
        """The text that Prometheus reads."""
        if not os.environ.get(SHARED_FOLDER):
            return generate_latest(self.registry)
        together = CollectorRegistry()
        MultiProcessCollector(together)
        return generate_latest(together)
