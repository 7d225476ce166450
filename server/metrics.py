"""Prometheus metrics. With several workers the values of all are summed, through files that the
parent process gives them a folder for (PROMETHEUS_MULTIPROC_DIR)."""

from __future__ import annotations

import os
from collections.abc import Mapping

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    PROCESS_COLLECTOR,
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector

from tallystick.server.own_figures import OwnFigures

REGISTRY.unregister(PROCESS_COLLECTOR)
REGISTRY.register(OwnFigures())

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
for _channel in ("email", "sms"):
    for _outcome in ("sent", "failed", "given-up"):
        MESSAGES.labels(_channel, _outcome)  # from 0 on: the first one is an increase, too
DATABASE_TROUBLE = Counter(
    "tally_database_trouble",
    "Transactions that the database did not take, by what is wrong.",
    ["kind"],
)
for _kind in ("away", "locked", "full", "read-only", "failing", "damaged", "gone"):
    DATABASE_TROUBLE.labels(_kind)
WORKERS_ENDED = Counter("tally_workers_ended", "Workers that ended by themselves, or were killed.")
CLOCK_FAULTS = Counter(
    "tally_clock_faults", "Times that the clock was set far back or forward.", ["where"]
)
for _where in ("back", "forward"):
    CLOCK_FAULTS.labels(_where)
REQUEST_LOG_LOST = Counter(
    "tally_request_log_lost", "Requests whose line could not be written to the request log."
)
STREAM = Counter("tally_audit_stream", "Entries of the audit log that were streamed.", ["outcome"])
STREAM.labels("dropped")
STREAM.labels("failed")  # a try; the entry comes again

CONTENT_TYPE = CONTENT_TYPE_LATEST


def exposition(rows: Mapping[str, int] | None = None, size_bytes: int = 0) -> bytes:
    """Everything, in the text format. rows: of each table; None where nobody can say. size_bytes:
    of the database."""
    if rows is None:
        return _counted()
    return _counted() + generate_latest(_sizes(rows, size_bytes))


def _sizes(rows: Mapping[str, int], size_bytes: int) -> CollectorRegistry:
    """What the database says is the same for all workers: it is not summed."""
    registry = CollectorRegistry()
    tables = Gauge("tally_table_rows", "Rows of each table.", ["table"], registry=registry)
    for table, count in rows.items():
        tables.labels(table).set(count)
    Gauge("tally_database_bytes", "Size of the database.", registry=registry).set(size_bytes)
    return registry


def _counted() -> bytes:
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        registry.register(OwnFigures())  # of the worker that answers
        return generate_latest(registry)
    return generate_latest(REGISTRY)
