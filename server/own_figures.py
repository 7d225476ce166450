"""What the process itself takes, for Prometheus: memory, CPU, open files, and since when it serves.

The metrics library has a collector of such names. It wants /proc/stat, which the unit's processes
do not see (ProcSubset=pid), and gives nothing at all without; and of several workers each has a
start of its own, so that whoever asks one after the other sees restarts that are none.
"""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from tallystick.common import moments
from tallystick.server.open_files import open_files

_PAGE = resource.getpagesize()
# Of the parent where there are several workers: it imports this before it makes them. Of a worker
# that ends `tally_workers_ended_total` tells.
_SINCE = moments.now()


class OwnFigures(Collector):
    """Of this process, by the names that the metrics library has for them."""

    def collect(self) -> Iterator[Metric]:
        yield GaugeMetricFamily(
            "process_start_time_seconds", "Since when it serves, in seconds since 1970.", _SINCE
        )
        used = resource.getrusage(resource.RUSAGE_SELF)
        yield CounterMetricFamily(
            "process_cpu_seconds", "User and system CPU time.", used.ru_utime + used.ru_stime
        )
        limit, files = open_files()
        if files is None:
            return  # not on Linux
        yield GaugeMetricFamily("process_open_fds", "Open files.", files)
        yield GaugeMetricFamily("process_max_fds", "Files that may be open.", limit)
        with suppress(OSError):
            pages = Path("/proc/self/statm").read_text(encoding="ascii").split()
            resident = float(pages[1]) * _PAGE
            yield GaugeMetricFamily("process_resident_memory_bytes", "Resident memory.", resident)
