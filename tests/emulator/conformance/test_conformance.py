"""Our ports against MicroPython itself: the conformance script says the same in both.

`transcripts/` is what MicroPython said on chips that are emulated instruction by instruction; with
firmware files in $TALLY_SECOND_FIRMWARE (a folder) they are made again and compared with what is
committed. `python -m tests.emulator.conformance.record FOLDER` writes them.
"""

from __future__ import annotations

import ast
import os
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from tallystick.emulator.devices.card import Card
from tallystick.emulator.devices.reader import Reader
from tests import needs
from tests.emulator.conformance.calls import MODULES, SCRIPTS, Script, run_until_end
from tests.emulator.conformance.compare import MEANT, differences
from tests.emulator.conformance.record import CHIPS, firmware_file, on_the_chip

FIRMWARE = Path(__file__).parents[3] / "firmware"
GIVEN = os.environ.get("TALLY_SECOND_FIRMWARE", "")


def on_ours(script: Script) -> str:
    device, extra = (Reader, {"identity": bytes(512)}) if script.board == "pico2" else (Card, {})
    sent = bytearray()
    with device(script.image(), seed=1, **extra) as card:
        card.mcu.uart.on_send = sent.extend
        card.power_on()
        return script.transcript(run_until_end(sent, card.run_for))


@pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS)
def test_ours_says_what_micropython_says(script):
    unmeant = differences(script.board, on_ours(script), script.recorded.read_text())
    assert not unmeant, "\n".join(unmeant)


@pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS)
def test_the_committed_transcript_is_what_micropython_says(script):
    board = script.board
    needs.second_opinion["pico2" if board == "pico2_card" else board].or_skip()
    firmware = firmware_file(Path(GIVEN), board)
    assert firmware is not None, f"{GIVEN} has no {CHIPS[board]}"
    assert on_the_chip(script, firmware) == script.recorded.read_text()


def test_a_difference_is_noticed():
    one = "> a\n  = 1\n> b\n  ! ValueError: words\n> c\n  ! TypeError: these\n> d\n"
    assert differences("pico", one, one) == []
    assert differences("pico", one, one.replace("these", "those")) == []
    for old, new in (("= 1", "= 2"), ("words", "word"), ("TypeError", "OSError"), ("> d\n", "")):
        assert len(differences("pico", one, one.replace(old, new))) == 1, new


def test_every_difference_that_is_meant_has_a_call_and_a_reason():
    calls = {call for script in SCRIPTS.values() for call in script.calls()}
    for meant in MEANT:
        assert meant.call in calls, meant
        assert len(meant.reason) > 20


# -- nothing is left out -------------------------------------------------------------------------

# Objects, by the names that they have in the firmware, and in the script: a walk of the source
# cannot tell their class.
OBJECTS = {
    "_uart": "machine.UART",
    "_spi": "machine.SPI",
    "_i2c": "machine.I2C",
    "i2c": "machine.I2C",
    "_cs": "machine.Pin",
    "_button": "machine.Pin",
    "_dock": "machine.Pin",
    "_touch": "machine.Pin",
    "_led": "machine.Pin",
    "_storage": "rp2.Flash",
    "fb": "framebuf.FrameBuffer",
    "_bytes": "framebuf.FrameBuffer",
    "_poller": "select.poll",
    "_device": "machine.USBDevice",
    "device": "machine.USBDevice",
}
IN_THE_SCRIPT = {
    "line": "machine.UART",
    "spi": "machine.SPI",
    "i2c": "machine.I2C",
    "button": "machine.Pin",
    "touch": "machine.Pin",
    "light": "machine.Pin",
    "select_pin": "machine.Pin",
    "storage": "rp2.Flash",
    "frame": "framebuf.FrameBuffer",
    "poller": "select.poll",
    "usb": "machine.USBDevice",
}
METHODS = {"digest": "hashlib", "encrypt": "cryptolib.aes", "decrypt": "cryptolib.aes"}


def uses(source: str, objects: dict[str, str] = OBJECTS) -> Iterator[str]:
    """What a piece of Python takes from the modules: `module.name`, and of an object's `.name`."""
    tree = ast.parse(source)
    modules, names = {}, {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules |= {a.asname or a.name: a.name for a in node.names if a.name in MODULES}
        if isinstance(node, ast.ImportFrom) and node.module in MODULES:
            for alias in node.names:
                names[alias.asname or alias.name] = f"{node.module}.{alias.name}"
                yield f"{node.module}.{alias.name}"
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name | ast.Attribute):
            name = getattr(node.func, "id", "") or getattr(node.func, "attr", "")
            if name in objects:
                yield f"{objects[name]}()"
        if not isinstance(node, ast.Attribute):
            continue
        owner = node.value
        if isinstance(owner, ast.Name) and owner.id in modules:
            yield f"{modules[owner.id]}.{node.attr}"
        name = owner.id if isinstance(owner, ast.Name) else getattr(owner, "attr", "")
        thing = called(owner.func if isinstance(owner, ast.Call) else owner, modules, names)
        thing = thing or objects.get(name, "") or METHODS.get(node.attr, "")
        if thing:
            yield f"{thing}.{node.attr}"


def called(function: ast.expr, modules: dict[str, str], names: dict[str, str]) -> str:
    if isinstance(function, ast.Name):
        return names.get(function.id, "")
    if isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name):
        module = modules.get(function.value.id)
        return f"{module}.{function.attr}" if module else ""
    return ""


def of_the_firmware() -> dict[str, set[str]]:
    found: dict[str, set[str]] = defaultdict(set)
    for path in sorted(FIRMWARE.rglob("*.py")):
        for use in uses(path.read_text()):
            found[use].add(path.relative_to(FIRMWARE).as_posix())
    return found


# The last thing that a program does, or done by the emulator's own tests of power and USB.
ELSEWHERE = {
    "micropython.asm_thumb": "the compiler's: tests of the boot ROM, and the second opinion",
    "machine.deepsleep": "never returns: tests of power, and of the second opinion",
    "machine.reset": "never returns: tests of power, and of the second opinion",
}


def test_every_call_that_firmware_makes_is_in_the_script():
    header = "".join(f"import {name}\n" for name in MODULES)
    in_script = set()
    for script in SCRIPTS.values():
        for call in script.calls():
            in_script |= set(uses(header + call, IN_THE_SCRIPT))
    missing = {use: where for use, where in of_the_firmware().items() if use not in in_script}
    missing = {use: where for use, where in missing.items() if use not in ELSEWHERE}
    assert not missing, "add them to tests/emulator/conformance/calls:\n" + "\n".join(
        f"{use} ({', '.join(sorted(where))})" for use, where in sorted(missing.items())
    )


def test_a_call_that_the_script_lacks_is_noticed():
    source = "from machine import Pin, UART\nimport os\n_uart = UART(1)\n_uart.sendbreak()\n"
    assert "machine.UART.sendbreak" in set(uses(source))
    assert "os.remove" in set(uses("import os as o\nimport vfs\no.remove('a')\n"))
    assert "hashlib.sha256.copy" in set(uses("import hashlib\nhashlib.sha256(b'').copy()\n"))
