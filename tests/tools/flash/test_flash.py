"""Flashing against stand-ins for the wire: a prompt that speaks raw mode byte by byte, a folder as
the boot ROM's drive, scripts that record how OpenOCD and dfu-util were called. No board is
attached; docs/boards.md says what that leaves open."""

from __future__ import annotations

import json
import os
import sys

import pytest
from click.testing import CliRunner

from tallystick.common.errors import NoDeviceError, RefusedError
from tallystick.emulator.boards import find
from tallystick.emulator.boards.board import FLASH_BASE
from tallystick.tools import uf2
from tallystick.tools.flash.cli import flash
from tallystick.tools.flash.drive import INFORMATION, DriveTarget, drives
from tallystick.tools.flash.job import Job, check
from tallystick.tools.flash.programs import DfuTarget, OpenOcdTarget
from tallystick.tools.flash.repl import ReplTarget
from tallystick.tools.flash.tray import Tally, flash_one
from tallystick.tools.image.verify import verify
from tests.tools.flash.fake_prompt import Flash, Prompt

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


def test_the_wrong_board_is_refused(outputs, job):
    fake = Prompt("Raspberry Pi Pico2 with RP2350", Flash(1 << 20, 4096))
    try:
        outcome, _ = run(job, lambda: ReplTarget(fake.port))
        assert "says it is Raspberry Pi Pico2" in outcome.error
        assert fake.flash.writes == []
    finally:
        fake.close()


def test_the_wrong_device_is_refused(job, prompt):
    outcome, _ = run(job, lambda: ReplTarget(prompt.port), device="reader")
    assert "for a card, not for a reader" in outcome.error
    assert prompt.flash.writes == []


def test_a_downgrade_is_refused_unless_it_is_meant(outputs, job, prompt):
    run(job, lambda: ReplTarget(prompt.port))
    prompt.flash.writes.clear()
    old = Job.of(verify(outputs("pico", "0.1.0")["manifest"], development=True))
    outcome, _ = run(old, lambda: ReplTarget(prompt.port))
    assert "security version 0; the board has had 2" in outcome.error
    assert prompt.flash.writes == []
    outcome, _ = run(old, lambda: ReplTarget(prompt.port), downgrade=True)
    assert outcome.result == "verified"


def test_no_prompt_on_the_port(job, tmp_path):
    outcome, _ = run(job, lambda: ReplTarget(str(tmp_path / "none")))
    assert outcome.result == "failed" and "No MicroPython prompt" in outcome.error


# -- the drive ---------------------------------------------------------------------------------


@pytest.fixture
def drive(tmp_path):
    folder = tmp_path / "media" / "someone" / "RPI-RP2"
    folder.mkdir(parents=True)
    (folder / INFORMATION).write_text(
        "UF2 Bootloader v3.0\r\nModel: Raspberry Pi RP2\r\nBoard-ID: RPI-RP2\r\n"
    )
    return folder


def test_a_uf2_onto_the_drive(job, drive, tmp_path):
    assert drives((str(tmp_path / "media"),)) == [drive]
    outcome, _ = run(job, lambda: DriveTarget(drive))
    assert outcome.result == "written"  # the boot ROM tells nothing back
    runs = dict(uf2.decode((drive / "card.uf2").read_bytes()))
    base = FLASH_BASE["rp2040"]
    assert runs[job.address][: len(job.data)] == job.data
    assert runs[base + job.board.record.address] == b"\xff" * job.board.record.size


def test_the_drive_of_another_chip_is_refused(job, drive):
    (drive / INFORMATION).write_text("Board-ID: RP2350\r\n")
    outcome, _ = run(job, lambda: DriveTarget(drive))
    assert outcome.result == "failed" and "RP2350" in outcome.error
    assert not (drive / "card.uf2").exists()


def test_a_folder_that_is_no_drive(tmp_path):
    with pytest.raises(NoDeviceError, match="BOOTSEL"):
        DriveTarget(tmp_path)


# -- programs of the field ---------------------------------------------------------------------

SCRIPT = """#!{python}
import json, pathlib, sys
here = pathlib.Path(__file__).parent
flash = here / "flash.bin"
with open(here / "calls", "a") as file:
    file.write(json.dumps(sys.argv[1:]) + "\\n")
{body}
"""
OPENOCD = """
for command in sys.argv:
    if command.startswith("mdw"):
        print("0xe0042000: " + (here / "id").read_text())
    if command.startswith("dump_image"):
        name = command.split("{")[1].split("}")[0]
        pathlib.Path(name).write_bytes((here / "header").read_bytes())
    if command.startswith("verify_image") and (here / "differs").exists():
        sys.exit("Error: checksum mismatch - attempting binary compare")
"""
DFU = """
args = sys.argv
if "-l" in args:
    print('Found DFU: [0483:df11] alt=0, name="@Internal Flash  /0x08000000/512*0002Kg"')
elif "-D" in args:
    data = pathlib.Path(args[args.index("-D") + 1]).read_bytes()
    memory = bytearray(flash.read_bytes())
    at = int(args[args.index("-s") + 1], 16) - 0x08000000
    memory[at : at + len(data)] = data
    flash.write_bytes(memory)
elif "-U" in args:
    where, size = args[args.index("-s") + 1].split(":")
    at = int(where, 16) - 0x08000000
    pathlib.Path(args[args.index("-U") + 1]).write_bytes(flash.read_bytes()[at : at + int(size)])
"""


@pytest.fixture
def program(tmp_path, monkeypatch):
    def make(name, body):
        folder = tmp_path / "bin"
        folder.mkdir()
        path = folder / name
        path.write_text(SCRIPT.format(python=sys.executable, body=body))
        path.chmod(0o755)
        (folder / "flash.bin").write_bytes(b"\xff" * (1 << 20))
        (folder / "id").write_text("10076415")
        (folder / "header").write_bytes(b"\xff" * 64)
        monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
        return folder

    return make


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


def test_openocd_finds_another_chip(program, nucleo):
    (program("openocd", OPENOCD) / "id").write_text("20036411")
    outcome, _ = run(nucleo, lambda: OpenOcdTarget(nucleo.board))
    assert "device id 0x411" in outcome.error


def test_openocd_finds_a_difference(program, nucleo):
    (program("openocd", OPENOCD) / "differs").touch()
    outcome, _ = run(nucleo, lambda: OpenOcdTarget(nucleo.board))
    assert outcome.result == "failed" and "checksum mismatch" in outcome.error


def test_openocd_reads_the_anti_rollback_version(program, nucleo, outputs):
    folder = program("openocd", OPENOCD)
    newer = outputs("nucleo_l476rg", "0.3.0", security=5)["update"].read_bytes()
    (folder / "header").write_bytes(newer[:64])
    with pytest.raises(RefusedError, match="security version 0; the board has had 5"):
        check(nucleo, OpenOcdTarget(nucleo.board), device=None, downgrade=False)


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


@pytest.mark.parametrize("name", ["manifest.json", "card.bin", "card.uf2"])
def test_an_altered_image_is_refused(outputs, drive, tmp_path, name):
    folder = tmp_path / "image"
    folder.mkdir()
    for path in outputs("pico", "0.2.0").values():
        (folder / path.name).write_bytes(path.read_bytes())
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)
    result = CliRunner().invoke(flash, [str(folder), "--drive", str(drive), "--development"])
    assert result.exit_code != 0
    assert not (drive / "card.uf2").exists()


def test_an_image_signed_with_the_published_key_needs_a_word(outputs, drive):
    folder = outputs("pico", "0.2.0")["manifest"].parent
    result = CliRunner().invoke(flash, [str(folder), "--drive", str(drive)])
    assert result.exit_code != 0
    assert "development key" in str(result.exception)
