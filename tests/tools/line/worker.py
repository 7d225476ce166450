"""One programmer of the simulated line, as a process that can be killed: its boards come one after
another, are connected to what answers as OpenOCD, dfu-util, a boot ROM's drive or MicroPython's
prompt does, and some of their cables are pulled.

    python -m tests.tools.line.worker PLAN      # JSON: job, place, operator, folder, seed
"""

from __future__ import annotations

import json
import os
import random
import shutil
import sys
from pathlib import Path

from tallystick.emulator.boards import find
from tallystick.emulator.boards.board import Board
from tallystick.tools import uf2
from tallystick.tools.flash.job import Target
from tallystick.tools.line import cli_tray, jobfile
from tallystick.tools.line.cli import _opener_of
from tallystick.tools.line.working import (
    LineTools,
    Programmer,
    SharedNumbers,
    of_cards,
    serial_in,
)
from tests.tools.flash.fake_prompt import Flash, Prompt

TRIES = 6


class Bench:
    """Connects a board. A board's flash is a file of its own, beside what the bench needs."""

    def __init__(self, plan: dict[str, str], board_name: str) -> None:
        self.folder = Path(plan["folder"])
        self.board = find(board_name)
        self.rng = random.Random(plan["seed"])

    def connect(self, path: Path, number: int, pull: int | None) -> tuple[str | None, str | None]:
        """(port, drive) that the command is given. pull: the write at which the cable goes."""
        raise NotImplementedError

    def disconnect(self) -> None:
        """The board is taken away; what was written to it stays."""


class ProgramBench(Bench):
    """OpenOCD or dfu-util, first in the search path."""

    def connect(self, path: Path, number: int, pull: int | None) -> tuple[str | None, str | None]:
        link = self.folder / "flash.bin"
        link.unlink(missing_ok=True)
        link.symlink_to(path)
        state = {"registers": {}, "rows": {}, "chip": ["%08x" % (number + n) for n in range(3)]}
        if pull is not None:
            state["pull"] = pull
        (self.folder / "state").write_text(json.dumps(state))
        return None, None


class DriveBench(Bench):
    def after_a_kill(self, path: Path) -> None:
        """The boot ROM has gone on alone with the file that it had."""
        self.path, self.drive = path, self.folder / "drive"
        if self.drive.is_dir():
            self.disconnect()

    def connect(self, path: Path, number: int, pull: int | None) -> tuple[str | None, str | None]:
        self.path, self.drive = path, self.folder / "drive"
        shutil.rmtree(self.drive, ignore_errors=True)
        self.drive.mkdir()
        (self.drive / "INFO_UF2.TXT").write_text("Board-ID: RPI-RP2\r\n")
        if pull is not None:
            (self.drive / "card.uf2").mkdir()  # the host cannot write it
        return None, str(self.drive)

    def disconnect(self) -> None:
        file = self.drive / "card.uf2"
        if file.is_file():
            try:
                runs = uf2.decode(file.read_bytes())
            except ValueError:
                return  # half a file: the boot ROM waits for the rest
            with self.path.open("r+b") as flash:
                for address, data in runs:
                    flash.seek(address - self.board.chip.flash_base)
                    flash.write(data)


class PromptBench(Bench):
    def connect(self, path: Path, number: int, pull: int | None) -> tuple[str | None, str | None]:
        storage = self.board.storage
        flash = PulledFlash(storage.size, 4096, pull)
        self.path, self.flash = path, flash
        with path.open("rb") as file:
            file.seek(storage.address)
            flash.data[:] = file.read(storage.size)
        self.prompt = Prompt("Raspberry Pi Pico with RP2040", flash)
        self.prompt.chip = number.to_bytes(8, "big")
        return self.prompt.port, None

    def disconnect(self) -> None:
        self.prompt.close()
        with self.path.open("r+b") as file:
            file.seek(self.board.storage.address)
            file.write(self.flash.data)


class PulledFlash(Flash):
    def __init__(self, size: int, block: int, pull: int | None) -> None:
        super().__init__(size, block)
        self.pull = None if pull is None else pull * 12

    def writeblocks(self, number, buf, offset=None):
        if self.pull is not None and len(self.writes) >= self.pull:
            raise OSError(5)
        super().writeblocks(number, buf, offset)


BENCHES = {
    "openocd": ProgramBench, "dfu-util": ProgramBench, "drive": DriveBench, "prompt": PromptBench,
}  # fmt: skip


def serial_of(path: Path, board: Board) -> str:
    with path.open("rb") as file:
        file.seek(board.identity.address)
        return serial_in(file.read(15))


def main(plan: dict[str, str]) -> None:
    job = jobfile.read(Path(plan["job"]))
    bench = BENCHES[job.way](plan, job.image.board)
    os.environ["PATH"] = f"{bench.folder}{os.pathsep}{os.environ['PATH']}"
    book = cli_tray.open_book(job, plan["operator"], plan["place"])
    ways: dict[str, str | None] = {}
    master = cli_tray.read_master(job.master_file)

    def connected() -> Target:
        return _opener_of(job, ways["port"], ways["drive"])()

    tools = LineTools(connected, of_cards(cli_tray.keys_of_master(master), job.date))
    numbers = SharedNumbers(cli_tray.station_credential(job.server))
    line = Programmer(job, book, tools, numbers)
    line.resume()
    left = bench.folder / "left"
    entries = json.loads(left.read_text())
    if isinstance(bench, DriveBench) and entries:
        bench.after_a_kill(Path(entries[0]["flash"]))
        # Nothing reads this board, but its label lies there: its operator sees that it is done.
        done = {one.serial for one in book.boards() if one.state == "done"}
        if serial_of(Path(entries[0]["flash"]), bench.board) in done:
            entries = entries[1:]
            left.write_text(json.dumps(entries))
    for entry in entries:
        for attempt in range(TRIES):
            pulled = attempt < TRIES - 1 and bench.rng.random() < 0.15
            pull = bench.rng.randrange(4) if pulled else None
            ways["port"], ways["drive"] = bench.connect(Path(entry["flash"]), entry["number"], pull)
            made = line.make()
            bench.disconnect()
            with (bench.folder / "log").open("a") as log:
                log.write(
                    json.dumps([entry["number"], made.serial, made.result, made.error]) + "\n"
                )
            if made.good:
                break
        rest = json.loads(left.read_text())[1:]
        part = left.with_suffix(".part")
        part.write_text(json.dumps(rest))
        part.replace(left)
    numbers.close()
    book.close()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
