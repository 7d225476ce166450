"""Traces of current as power profilers export them: Nordic's PPK2, Joulescope, Otii."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tallystick.common.errors import BadInputError

Floats = npt.NDArray[np.float64]

_HEADER_LINES = 40  # exports have remarks before their header
_TIME_UNITS = {"s": 1e3, "sec": 1e3, "seconds": 1e3, "ms": 1.0, "us": 1e-3, "µs": 1e-3, "ns": 1e-6}
_CURRENT_UNITS = {"a": 1e6, "amps": 1e6, "ma": 1e3, "ua": 1.0, "µa": 1.0, "na": 1e-3}


@dataclass(frozen=True)
class CurrentTrace:
    """A row holds until the next. `ms` rises; `ua` is current in µA."""

    ms: Floats
    ua: Floats


def read_trace(path: Path) -> CurrentTrace:
    """PPK2's `Timestamp(ms),Current(uA),…`, Joulescope's `#time,current,voltage` and Otii's
    `Timestamp,… current`, whose times are seconds and currents ampere where the header says no
    unit; the first column of each kind counts. Separated by commas, semicolons (then with decimal
    commas, too) or tabs.

    Raises BadInputError, with the line, for what is none of them or goes back in time.
    """
    lines = path.read_text(encoding="utf-8-sig", errors="replace").splitlines()
    header, separator = _find_header(path, lines)
    names = [name.strip().lstrip("#").strip().lower() for name in lines[header].split(separator)]
    time_at, time_ms = _column(names, "time", _TIME_UNITS, 1e3)
    current_at, current_ua = _column(names, "current", _CURRENT_UNITS, 1e6)
    times: list[float] = []
    currents: list[float] = []
    for number, line in enumerate(lines[header + 1 :], header + 2):
        if not line.strip() or line.startswith("#"):
            continue
        fields = line.split(separator)
        try:
            time, current = (
                float(fields[at].replace(",", ".") if separator == ";" else fields[at])
                for at in (time_at, current_at)
            )
        except (ValueError, IndexError):
            raise _bad(path, number, f"has no time and current: {line[:60]!r}") from None
        if times and time * time_ms < times[-1]:
            raise _bad(path, number, "goes back in time")
        times.append(time * time_ms)
        currents.append(current * current_ua)
    if len(times) < 2:
        raise _bad(path, header + 1, "is followed by fewer than two samples")
    return CurrentTrace(np.array(times), np.array(currents))


def _find_header(path: Path, lines: list[str]) -> tuple[int, str]:
    for number, line in enumerate(lines[:_HEADER_LINES]):
        if re.search("time", line, re.I) and re.search("current", line, re.I):
            for separator in (";", "\t", ","):
                if separator in line:
                    return number, separator
    raise BadInputError(
        f"{path} has no header with a time and a current.",
        todo="Export the trace as CSV: from the Power Profiler, the Joulescope UI or Otii.",
    )


def _column(
    names: list[str], word: str, units: dict[str, float], default: float
) -> tuple[int, float]:
    at = next(at for at, name in enumerate(names) if word in name)
    found = re.search(r"[(\[]\s*([a-zµμ]+)\s*[)\]]", names[at])
    return at, units.get(found[1].replace("μ", "µ"), default) if found else default


def _bad(path: Path, number: int, what: str) -> BadInputError:
    return BadInputError(
        f"Line {number} of {path} {what}.", todo="Export the trace again, whole, as CSV."
    )
