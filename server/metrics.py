"""Prometheus metrics. With several workers the values of all are summed, through files that the
parent process gives them a folder for (PROMETHEUS_MULTIPROC_DIR)."""

from __future__ import annotations

import os

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    REGISTRY,
    CollectorRegistry,
    Counter,
    Histogram,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector

CHECKS = Counter("tally_checks", "Codes checked, by outcome.", ["reason"])
BATCH_SIZE = Histogram(
    "tally_batch_size", "Checks in one transaction.", buckets=(1, 2, 4, 8, 16, 32, 64)
)
BATCH_SECONDS = Histogram(
    "tally_batch_seconds",
    "Time of one transaction, with its durable commit.",
    buckets=(0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1, 5),
)
RETRIES = Counter("tally_batch_retries", "Transactions that were run again.")
MESSAGES = Counter("tally_messages", "Messages handed to a gateway.", ["channel", "outcome"])

CONTENT_TYPE = CONTENT_TYPE_LATEST


def exposition() -> bytes:
    """Everything, in the text format."""
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return generate_latest(registry)
    return generate_latest(REGISTRY)
