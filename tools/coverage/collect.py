"""From the counters of many chips to one coverage data file."""

from __future__ import annotations

import json
from pathlib import Path

from coverage import Coverage, CoverageData

from tallystick.common.errors import BadInputError
from tallystick.tools import firmware


def collect(folder: Path) -> tuple[dict[str, set[int]], dict[str, set[int]]]:
    """(statements, executed): source file → lines, over every table and every chip in `folder`.
    Sources that are gone (a test had a tree of its own) are left out.

    Raises BadInputError when nothing was measured.
    """
    tables = {
        int(path.stem.removeprefix("table-")): json.loads(path.read_text(encoding="utf-8"))
        for path in folder.glob("table-*.json")
    }
    statements: dict[str, set[int]] = {}
    executed: dict[str, set[int]] = {}
    for table in tables.values():
        for path, line in table:
            statements.setdefault(path, set()).add(line)
    for file in folder.glob("hits-*.bin"):
        counters = file.read_bytes()
        table = tables.get(int.from_bytes(counters[:4], "little"))
        if table is None:
            continue
        for number, count in enumerate(counters[4:]):
            if count:
                path, line = table[number]
                executed.setdefault(path, set()).add(line)
    if not executed:
        raise BadInputError(
            f"{folder} has no counters of firmware.",
            todo=f"Run a suite first: TALLY_COVERAGE={folder} pytest.",
        )
    gone = {path for path in statements if not Path(path).is_file()}
    return (
        {path: lines for path, lines in statements.items() if path not in gone},
        {path: lines for path, lines in executed.items() if path not in gone},
    )


def write(folder: Path, data: Path, lcov: Path | None) -> None:
    """Writes a data file for coverage.py (its `report`, `html`, `combine`), and lcov."""
    statements, executed = collect(folder)
    data.unlink(missing_ok=True)
    content = CoverageData(basename=str(data))
    content.add_lines({path: sorted(executed.get(path, set())) for path in statements})
    content.write()
    if lcov is not None:
        lcov.write_text(_lcov(statements, executed), encoding="utf-8")


def _lcov(statements: dict[str, set[int]], executed: dict[str, set[int]]) -> str:
    """A tracefile of lcov, see geninfo(1): the firmware's statements, as MicroPython ran them."""
    records = []
    for path, lines in sorted(statements.items()):
        done = executed.get(path, set())
        records += ["TN:", f"SF:{path}"]
        records += [f"DA:{line},{int(line in done)}" for line in sorted(lines)]
        records += [f"LF:{len(lines)}", f"LH:{len(lines & done)}", "end_of_record"]
    return "\n".join(records) + "\n"


def summary(folder: Path) -> dict[str, tuple[int, int, list[int]]]:
    """File under the firmware's root, or this folder → (statements, executed, missing lines)."""
    statements, executed = collect(folder)
    ours, here = f"{firmware.root()}/", f"{Path.cwd()}/"
    return {
        path.removeprefix(ours).removeprefix(here): (
            len(lines), len(lines & executed.get(path, set())),
            sorted(lines - executed.get(path, set())),
        )
        for path, lines in sorted(statements.items())
    }  # fmt: skip


def html(data: Path, folder: Path) -> None:
    """Pages with the sources, by coverage.py."""
    report = Coverage(data_file=str(data))
    report.load()
    report.html_report(directory=str(folder))
