"""What MicroPython needs to be built for a board of ours is there, and says what the firmware, the
flash map and the documents say. `make boards` builds it where its sources are given; with
$TALLY_MICROPYTHON_SRC these tests also hold the folder to what its make files ask for.
"""

from __future__ import annotations

import ast
import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from tallystick.common.errors import TallyError
from tallystick.emulator.boards import find
from tallystick.tools.image import board_builds, names
from tallystick.tools.image.compile import compile_text
from tests import needs

ROOT = Path(__file__).parents[3]
DEFINITIONS = ROOT / "firmware/boards/micropython"
STM32 = DEFINITIONS / find("nucleo_l476rg").start_folder
BOARD = find("nucleo_l476rg")
SOURCES = os.environ.get("TALLY_MICROPYTHON_SRC", "")
FILES = {
    "mpconfigboard.h",
    "mpconfigboard.mk",
    "pins.csv",
    "stm32l4xx_hal_conf.h",
    "flash.ld",
    "manifest.py",
    "_boot.py",
    "names.h",
}


def defines() -> dict[str, str]:
    text = (STM32 / "mpconfigboard.h").read_text()
    found = re.findall(r"^#define (\w+)(?:\([\w, ]*\))?[ \\]*(.*)$", text, re.M)
    return {name: value.strip().strip("()") for name, value in found}


def make_variables() -> dict[str, str]:
    lines = (STM32 / "mpconfigboard.mk").read_text().splitlines()
    pairs = [line.split("=", 1) for line in lines if "=" in line and not line.startswith("#")]
    return {name.strip(" +?:"): value.strip() for name, value in pairs}


def pins() -> list[str]:
    return [line.split(",")[0] for line in (STM32 / "pins.csv").read_text().split()]


def test_every_file_is_there_and_no_other():
    assert {path.name for path in STM32.iterdir()} == FILES
    assert {path.name for path in (DEFINITIONS / "rp2").iterdir()} == {"_boot.py", "manifest.py"}


def test_no_prompt_no_drive_and_nothing_that_formats():
    options = defines()
    for off in (
        "MICROPY_HW_ENABLE_USB",
        "MICROPY_HW_HAS_SWITCH",
        "MICROPY_HW_ENABLE_INTERNAL_FLASH_STORAGE",
        "MICROPY_HW_FLASH_MOUNT_AT_BOOT",
        "MICROPY_HW_RTC_USE_LSE",
        "MICROPY_VFS_ROM_IOCTL",
    ):
        assert options[off] == "0", off
    assert not any("REPL" in name or "_LED" in name for name in options)
    assert "NUCLEO_L476RG" not in options.values()


def test_what_the_firmware_calls_is_built_in():
    options, variables = defines(), make_variables()
    for on in (
        "MICROPY_PY_HASHLIB_SHA1",
        "MICROPY_PY_CRYPTOLIB",
        "MICROPY_VFS_ROM",
        "MICROPY_HW_ENABLE_RNG",
        "MICROPY_HW_ENABLE_RTC",
    ):
        assert options[on] == "1", on
    assert variables["MICROPY_PY_SSL"] == variables["MICROPY_SSL_MBEDTLS"] == "1"
    assert options["MICROPY_BOARD_FROZEN_BOOT_FILE"] == '"_boot.py"'
    assert 'freeze(".", "_boot.py")' in (STM32 / "manifest.py").read_text()


def test_what_the_makers_library_asks_a_board_for_is_said_before_it_is_included():
    """The port's base leaves clocks and start-up times to the board, and has the modules itself."""
    text = (STM32 / "stm32l4xx_hal_conf.h").read_text()
    before, base, _ = text.partition('\n#include "boards/stm32l4xx_hal_conf_base.h"\n')
    assert base
    said = set(re.findall(r"^#define (\w+) \(\d+\)$", before, re.M))
    assert said == {
        *(f"{one}_{what}" for one in ("HSE", "LSE") for what in ("VALUE", "STARTUP_TIMEOUT")),
        "EXTERNAL_SAI1_CLOCK_VALUE", "EXTERNAL_SAI2_CLOCK_VALUE",
    }  # fmt: skip


def test_names_of_the_firmware_are_in_flash():
    """A name that is missing costs a search at each start, and no more: a few may. With more than
    those, `python -m tallystick.tools.image.names` writes the list anew."""
    lines = (STM32 / "names.h").read_text().splitlines()
    listed = [line[2:-1] for line in lines if not line.startswith("//")]
    assert [f"Q({name})" for name in listed] == [line for line in lines if line[:2] != "//"]
    assert listed == sorted(set(listed))
    used = names.used(BOARD)
    assert len(used - set(listed)) <= len(used) // 20, sorted(used - set(listed))
    assert len(set(listed) - used) <= len(used) // 20, sorted(set(listed) - used)
    assert make_variables()["QSTR_DEFS"] == "$(BOARD_DIR)/names.h"


def test_a_module_says_its_names():
    source = "from lib.tlv import item\n\n\ndef some_thing(of):\n    return item(of.another)\n"
    found = names.names(compile_text(source, "lib/x.py"))
    assert {"lib.tlv", "item", "some_thing", "of", "another"} <= set(found)


def test_pins_are_those_that_the_firmware_names_and_the_buses_take():
    tree = ast.parse((ROOT / "firmware/boards/nucleo_l476rg.py").read_text())
    named = {
        node.args[0].value
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Pin"
    }
    options = defines()
    buses = {name: value for name, value in options.items() if value.startswith("pin_")}
    assert buses == {
        "MICROPY_HW_SPI1_SCK": "pin_A5",
        "MICROPY_HW_SPI1_MOSI": "pin_A7",
        "MICROPY_HW_UART1_TX": "pin_A9",
        "MICROPY_HW_UART1_RX": "pin_A10",
    }
    on_buses = {value.removeprefix("pin_") for value in buses.values()}
    assert not named & on_buses
    assert set(pins()) == named | on_buses
    for line in (STM32 / "pins.csv").read_text().split():
        name, pin = line.split(",")
        assert pin == f"P{name}"


def test_the_emulated_port_has_the_same_pins_buses_and_clock():
    settings = BOARD.port["machine_stm32"]
    assert sorted(settings["pins"]) == sorted(pins())
    options = defines()
    for kind, numbers in settings["buses"].items():
        said = {int(n) for name in options for n in re.findall(rf"_HW_{kind}(\d)_", name)}
        assert said == set(numbers), kind
    times, by = int(options["MICROPY_HW_CLK_PLLN"]), int(options["MICROPY_HW_CLK_PLLR"][-1])
    assert settings["pclk_hz"] == 4_000_000 * times // by == 26_000_000
    assert BOARD.port["link"]["clock_mhz"] * 1_000_000 == settings["pclk_hz"]
    assert options["RTC_SYNCH_PREDIV"] == "249"  # steps of 4 ms, as port/machine.py counts them


def test_sleep_and_voltage_are_those_that_the_energy_is_worked_out_from():
    """docs/findings/battery.md: 26 MHz in range 2, Stop 2 while a code is up, Shutdown else."""
    options = defines()
    text = (STM32 / "mpconfigboard.h").read_text()
    assert options["HAL_PWR_EnterSTOPMode"].startswith("HAL_PWREx_EnterSTOP2Mode(entry")
    assert options["MICROPY_BOARD_ENTER_STANDBY"].startswith("HAL_PWREx_EnterSHUTDOWNMode(")
    early = text.split("#define MICROPY_BOARD_EARLY_INIT()")[1].split("while (0)")[0]
    assert "HAL_PWREx_ControlVoltageScaling(PWR_REGULATOR_VOLTAGE_SCALE2);" in early
    assert "__HAL_RCC_RNG_CONFIG(RCC_RNGCLKSOURCE_MSI);" in early
    assert "__HAL_RCC_PLLSAI1_DISABLE();" in early
    assert options["MICROPY_BOARD_LEAVE_STOP"].startswith("__HAL_RCC_PLLSAI1_DISABLE()")
    assert options["MICROPY_HW_FLASH_LATENCY"] == "FLASH_LATENCY_3"


def test_micropython_ends_where_the_boards_own_areas_begin():
    text = (STM32 / "flash.ld").read_text()
    origin, length = re.search(r"FLASH \(rx\) : ORIGIN = (\w+), LENGTH = (\w+)", text).groups()
    assert int(origin, 16) == 0x08000000
    assert int(length, 16) == BOARD.record.address == board_builds.limit("nucleo_l476rg")
    assert int(re.search(r"_minimum_heap_size = (\d+)K", text)[1]) * 1024 >= BOARD.heap


def test_the_documents_name_files_and_options_that_are_there():
    page = (ROOT / "docs/reference/boards.md").read_text()
    section = page.split("## MicroPython for a board")[1].split("\n## ")[0]
    options = defines() | make_variables()
    for name in re.findall(r"`(MICROPY_\w+|RTC_\w+|HAL_\w+)`", section):
        assert name in options or name in " ".join(options.values()), name
    for name in FILES - {"manifest.py", "_boot.py"}:
        assert f"`{name}`" in section, name


def test_make_boards_says_when_it_builds_nothing(tmp_path):
    environment = {**os.environ, "TALLY_MICROPYTHON_SRC": ""}
    done = subprocess.run(
        ["make", "-s", "-o", "setup", "boards"],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "NOT BUILT" in done.stdout


def test_sizes_are_told_beside_the_flash_map():
    told = " ".join(str(board_builds.Build("pico", 300_000, 655_360)).split())
    assert told == "pico 300,000 of 655,360 bytes (355,360 left before its areas begin)"
    assert board_builds.limit("pico") == find("pico").storage.address


def test_what_is_no_checkout_is_told(tmp_path):
    with pytest.raises(Exception, match="no checkout of MicroPython"):
        board_builds.main([str(tmp_path), str(tmp_path / "out")])


def test_a_micropython_that_reaches_into_the_areas_behind_it_is_refused(tmp_path, monkeypatch):
    (tmp_path / "mpy-cross").mkdir()
    (tmp_path / "mpy-cross/Makefile").touch()
    monkeypatch.setattr(board_builds, "_TOOLS", ())
    monkeypatch.setattr(board_builds, "_run", lambda *command: None)
    sizes = {"over": 0}

    def built(sources, folder, board):
        limit = board_builds.limit(board.name)
        return board_builds.Build(board.name, limit + sizes["over"], limit)

    monkeypatch.setattr(board_builds, "build", built)
    board_builds.main([str(tmp_path), str(tmp_path / "out")])
    sizes["over"] = 1
    with pytest.raises(TallyError, match="reaches into the areas behind it"):
        board_builds.main([str(tmp_path), str(tmp_path / "out")])


# -- against MicroPython's own sources -----------------------------------------------------------


@needs.micropython_sources.mark
def test_every_file_that_the_ports_make_file_asks_for_is_there():
    text = (Path(SOURCES) / "ports/stm32/Makefile").read_text()
    text = "\n".join(line for line in text.splitlines() if not line.startswith("-include"))
    asked = set(re.findall(r"\$\(BOARD_DIR\)/([\w.]+\w)", text))
    assert {"mpconfigboard.h", "mpconfigboard.mk", "pins.csv"} <= asked
    for name in asked - {"mpconfigvariant.mk"}:
        assert (STM32 / name).is_file() or "variant" in name, name
    series = make_variables()["MCU_SERIES"]
    hal = Path(SOURCES) / f"lib/stm32lib/STM32{series.upper()}xx_HAL_Driver/Inc"
    asked_by_hal = re.findall(
        r'#include "(\w+_conf\.h)"', (hal / f"stm32{series}xx_hal.h").read_text()
    )
    assert [(STM32 / name).is_file() for name in asked_by_hal] == [True]


@needs.micropython_sources.mark
def test_every_option_means_something_to_the_port():
    """A misspelt one would be ignored without a word."""
    sources = Path(SOURCES)
    known = ""
    for folder in (
        "ports/stm32",
        "extmod",
        "py",
        "shared/runtime",
        "lib/stm32lib/STM32L4xx_HAL_Driver/Inc",
    ):
        for path in (sources / folder).rglob("*"):
            if path.suffix in (".c", ".h", ".mk") or path.name == "Makefile":
                known += path.read_text(errors="replace")
    for name in defines() | make_variables():
        assert re.search(rf"\b{name}\b", known), name


@needs.micropython_sources.mark
def test_what_the_folder_takes_from_the_port_is_there():
    port = Path(SOURCES) / "ports/stm32"
    for value in make_variables().values():
        for word in shlex.split(value):
            if word.startswith("boards/"):
                assert (port / word).is_file(), word
    for header in re.findall(r'#include "(.+)"', (STM32 / "stm32l4xx_hal_conf.h").read_text()):
        assert (port / header).is_file(), header
