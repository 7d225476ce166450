"""A fleet of cards: every one provisioned into a server, then pressed, on two cores."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tallystick.emulator import boards
from tallystick.emulator.devices.card import Card
from tallystick.emulator.devices.fleet import Fleet
from tallystick.emulator.interpreter import resident
from tallystick.tools.bench.row import row
from tallystick.tools.bench.station import station
from tallystick.tools.fresh import image

CARDS = 1000
PRESSES = 10_000
WORKERS = 2
_BOARD = boards.DEFAULT
_WARM_UP = 90_000_000  # added to serial numbers


def measure(cards: int = CARDS, presses: int = PRESSES) -> list[dict[str, Any]]:
    """Seconds of wall time for everything, and KiB of memory, over all processes."""
    processors = sorted(os.sched_getaffinity(0))
    began = time.perf_counter()
    command = [sys.executable, "-m", "tallystick.tools.bench.fleet"]
    workers = [
        subprocess.Popen(
            [
                *command, str(number * cards // WORKERS + 1), str(cards // WORKERS),
                str(presses // WORKERS), str(processors[number % len(processors)]),
            ],
            stdout=subprocess.PIPE, text=True, encoding="utf-8",
        )
        for number in range(WORKERS)
    ]  # fmt: skip
    results = [json.loads(worker.communicate()[0]) for worker in workers]
    seconds = time.perf_counter() - began
    name = f"{cards} provisionings and {presses} presses, {WORKERS} cores"
    return [
        row(f"fleet: {name}", round(seconds, 1), "s wall", "≤ 60"),
        row("fleet: memory a sleeping card", round(_mean(results, "kib_a_card")), "KiB", ""),
        row("fleet: processes of sleeping cards", sum(r["processes"] for r in results), "", "0"),
        row("fleet: a provisioning", round(_mean(results, "provision_ms"), 1), "ms wall", ""),
        row("fleet: a press to its code", round(_mean(results, "press_ms"), 1), "ms wall", ""),
    ]


def _mean(results: list[dict[str, Any]], key: str) -> float:
    return float(sum(result[key] for result in results) / len(results))


def _resident_kib() -> float:
    """Of this process, its shared memory included (proc_pid_statm(5), resident pages)."""
    pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1024


def _shows_a_code(card: Card) -> bool:
    before = card.display.frames
    card.press()
    return card.display.frames > before and not card.frame().blank


def work(first: int, cards: int, presses: int) -> dict[str, Any]:
    """One worker's share."""
    boot = image(_BOARD)
    with (
        resident.enabled(),
        tempfile.TemporaryDirectory() as folder,
        station(Path(folder)) as home,
    ):
        with Fleet(boot, 1, first=_WARM_UP + first) as fleet:  # loads what one card needs
            fleet.with_card(fleet.cards[0], home.provision)
        before = _resident_kib()
        began = time.perf_counter()
        with Fleet(boot, cards, first=first) as fleet:
            for card in fleet:
                fleet.with_card(card, home.provision)
            provisioned = time.perf_counter()
            fleet.pass_time(5000)
            processes = fleet.processes()
            codes = 0
            for number in range(presses):
                codes += fleet.with_card(fleet.cards[number % cards], _shows_a_code)
                fleet.pass_time(60_000)
            ended = time.perf_counter()
            memory = _resident_kib() - before
    assert codes == presses
    return {
        "kib_a_card": memory / cards,
        "processes": processes,
        "provision_ms": (provisioned - began) / cards * 1000,
        "press_ms": (ended - provisioned) / presses * 1000,
    }


if __name__ == "__main__":
    os.sched_setaffinity(0, {int(sys.argv[4])})
    sys.stdout.write(json.dumps(work(*map(int, sys.argv[1:4]))))
