"""Flashing against stand-ins for the wire: a prompt that speaks raw mode byte by byte, a folder as
the boot ROM's drive, scripts that record how OpenOCD and dfu-util were called. No board is
attached; docs/reference/boards.md says what that leaves open."""

from __future__ import annotations

import json
import os
import pty
import tty

import pytest
from click.testing import CliRunner
from mpremote.transport_serial import SerialTransport

from tallystick.common.errors import NoDeviceError
from tallystick.emulator.boards import find
from tallystick.emulator.chips import rp2040
from tallystick.tools import uf2
from tallystick.tools.flash.drive import DriveTarget, drives
from tallystick.tools.flash.job import Job
from tallystick.tools.flash.programs import DfuTarget, OpenOcdTarget
from tallystick.tools.flash.repl import ReplTarget
from tallystick.tools.flash.tray import Tally, flash_one
from tallystick.tools.image.build import build, write
from tallystick.tools.image.verify import verify
from tallystick.tools.line.cli import flash
from tests.tools.flash.fake_prompt import Flash, Prompt
from tests.tools.flash.programs import DFU, OPENOCD

PICO = "Raspberry Pi Pico with RP2040"


@pytest.fixture
def job(outputs):
    return Job.of(verify(outputs("pico", "0.2.0", security=2)["manifest"], development=True))


@pytest.fixture
def prompt():
    board = find("pico")
    fake = Prompt(PICO, Flash(board.storage.size, 4096))
    yield fake
    fake.close()


def run(job, opener, **options):
    tally = Tally()
    return flash_one(job, opener, tally, **options), tally


# -- the prompt --------------------------------------------------------------------------------


def test_an_image_through_the_prompt(job, prompt):
    seen = []
    outcome, tally = run(
        job, lambda: ReplTarget(prompt.port), progress=lambda done, total: seen.append(done / total)
    )
    assert outcome.result == "verified", outcome.error
    assert prompt.flash.data[: len(job.data)] == job.data
    assert prompt.resets == 1
    assert seen[-1] == 1.0
    assert (tally.good, tally.failed) == (1, 0)
    board = job.board
    start = (board.record.address - board.storage.address) // 4096
    assert set(prompt.flash.writes) == {*range(-(-len(job.data) // 4096)), start, start + 1}


def test_identity_and_journal_are_not_touched(job, prompt):
    board = job.board
    for region in (board.identity, board.journal):
        at = region.address - board.storage.address
        prompt.flash.data[at : at + region.size] = b"\x5a" * region.size
    run(job, lambda: ReplTarget(prompt.port))
    for region in (board.identity, board.journal):
        at = region.address - board.storage.address
        assert prompt.flash.data[at : at + region.size] == b"\x5a" * region.size


def test_a_block_that_keeps_a_bit_is_found(job, prompt):
    prompt.flash.spoiled = 5
    outcome, tally = run(job, lambda: ReplTarget(prompt.port))
    assert outcome.result == "failed" and "is not what was written" in outcome.error
    assert prompt.resets == 0
    assert tally.failed == 1


def test_a_readers_security_version_is_compared_as_well(tmp_path):
    write(build("reader", "pico2", "0.2.0", security=2), tmp_path)
    reader = Job.of(verify(tmp_path, development=True))
    fake = Prompt("Raspberry Pi Pico2 with RP2350", Flash(reader.board.storage.size, 4096))
    try:
        outcome, _ = run(reader, lambda: ReplTarget(fake.port))
    finally:
        fake.close()
    assert (outcome.result, outcome.compared) == ("verified", True)
    assert fake.flash.data[: len(reader.data)] == reader.data


def test_no_prompt_on_the_port(job, tmp_path):
    outcome, _ = run(job, lambda: ReplTarget(str(tmp_path / "none")))
    assert outcome.result == "failed" and "No MicroPython prompt" in outcome.error


def test_what_comes_in_place_of_a_prompt_is_not_our_output(job, capsys, monkeypatch):
    """mpremote prints it: `--json` would not be JSON then."""
    main, port = pty.openpty()
    try:
        tty.setraw(port)
        os.write(main, b"no prompt here")
        monkeypatch.setattr(SerialTransport, "read_until", lambda *_a, **_k: b"no prompt here")
        outcome, _ = run(job, lambda: ReplTarget(os.ttyname(port)))
    finally:
        os.close(main)
        os.close(port)
    assert outcome.result == "failed" and "No MicroPython prompt" in outcome.error
    assert capsys.readouterr().out == ""


# -- the drive ---------------------------------------------------------------------------------


def test_a_uf2_onto_the_drive(job, drive, tmp_path):
    assert drives((str(tmp_path / "media"),)) == [drive]
    outcome, _ = run(job, lambda: DriveTarget(drive))
    assert outcome.result == "written"  # the boot ROM tells nothing back
    runs = dict(uf2.decode((drive / "card.uf2").read_bytes()))
    base = rp2040.CHIP.flash_base
    assert runs[job.address][: len(job.data)] == job.data
    assert runs[base + job.board.record.address] == b"\xff" * job.board.record.size


def test_a_folder_that_is_no_drive(tmp_path):
    with pytest.raises(NoDeviceError, match="BOOTSEL"):
        DriveTarget(tmp_path)


# -- programs of the field ---------------------------------------------------------------------


@pytest.fixture
def nucleo(outputs):
    return Job.of(verify(outputs("nucleo_l476rg", "0.2.0")["manifest"], development=True))


def test_openocd_is_called_with_what_it_must_do(program, nucleo):
    folder = program("openocd", OPENOCD)
    outcome, _ = run(nucleo, lambda: OpenOcdTarget(nucleo.board))
    assert outcome.result == "verified", outcome.error
    said = [
        word for line in (folder / "calls").read_text().splitlines() for word in json.loads(line)
    ]
    assert "flash erase_address 0x8072800 4096" in said
    assert any(word.startswith("flash write_image erase") for word in said)
    assert any(word.startswith("verify_image") and "0x8080000 bin" in word for word in said)
    assert said.index("reset run") > said.index("flash erase_address 0x8072800 4096")


def test_openocd_finds_a_difference(program, nucleo):
    (program("openocd", OPENOCD) / "differs").touch()
    outcome, _ = run(nucleo, lambda: OpenOcdTarget(nucleo.board))
    assert outcome.result == "failed" and "checksum mismatch" in outcome.error


def test_both_programs_check_that_the_boot_record_is_blank(program, nucleo):
    """One that stayed could name the other slot, with an older image, as the one to run."""
    record = nucleo.board.record
    folder = program("openocd", OPENOCD)
    run(nucleo, lambda: OpenOcdTarget(nucleo.board))
    assert f"{record.address + 0x08000000:#x} bin" in (folder / "calls").read_text()


def test_dfu_finds_a_boot_record_that_stayed(program, nucleo):
    stays = "memory[0x72800] &= 0xFE\n    flash.write_bytes(memory)"
    program("dfu-util", DFU.replace("flash.write_bytes(memory)", stays))
    outcome, _ = run(nucleo, lambda: DfuTarget(nucleo.board))
    assert outcome.result == "failed" and "at 0x8072800 is not what was written" in outcome.error


def test_dfu_writes_whole_pages(program, nucleo):
    """The boot ROM leaves the rest of a page that is begun as it was."""
    folder = program("dfu-util", DFU)
    (folder / "flash.bin").write_bytes(b"\x00" * (1 << 20))
    run(nucleo, lambda: DfuTarget(nucleo.board))
    end = nucleo.board.storage.address + len(nucleo.data)
    page = nucleo.board.flash_timing.sector
    assert set((folder / "flash.bin").read_bytes()[end : -(-end // page) * page]) <= {0xFF}


def test_the_prompt_is_no_way_to_a_board_whose_record_it_cannot_reach(prompt, nucleo):
    outcome, _ = run(nucleo, lambda: ReplTarget(prompt.port))
    assert "not flashed through MicroPython's prompt" in outcome.error
    assert prompt.flash.writes == []


def test_dfu_writes_and_reads_back(program, nucleo):
    folder = program("dfu-util", DFU)
    outcome, _ = run(nucleo, lambda: DfuTarget(nucleo.board))
    assert outcome.result == "verified", outcome.error
    assert (folder / "flash.bin").read_bytes()[0x80000:][: len(nucleo.data)] == nucleo.data


def test_a_program_that_is_not_there(monkeypatch, nucleo, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NoDeviceError, match="openocd is not installed"):
        OpenOcdTarget(nucleo.board)


# -- the command -------------------------------------------------------------------------------


def test_a_tray(outputs, drive, tmp_path):
    log = tmp_path / "log.jsonl"
    folder = outputs("pico", "0.2.0")["manifest"].parent
    arguments = [str(folder), "--drive", str(drive), "--development", "--tray", "--log", str(log)]
    result = CliRunner().invoke(flash, arguments, input="y\ny\nn\n")
    assert result.exit_code == 0, result.output
    assert "3 good, 0 failed" in result.output and "\a" in result.output
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [line["number"] for line in lines] == [1, 2, 3]
    assert {line["result"] for line in lines} == {"written"}
