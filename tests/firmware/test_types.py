"""`make lint` sees when firmware's types are wrong: faults planted in a copy, and one run of the
check on a board of each port and device."""

from __future__ import annotations

import ast
import re
import shutil
import sys
from pathlib import Path

import pytest

from tallystick.emulator.boards import BOARDS, READERS
from tallystick.tools import firmware
from tallystick.tools.image import ports

PORTING = Path(__file__).parents[2] / "docs" / "guides" / "porting.md"
STUBS = Path(sys.prefix) / "stubs"
# File, what stands there, what is put in its place, what the check says of it in that file (or in
# the one after the arrow).
EVERYWHERE = [
    ("lib/mend.py", "return -1", 'return "none"', "[return-value]"),
    ("lib/hmac.py", "return outer.digest()", "return pad", "[return-value]"),
    ("lib/journal.py", "from hashlib import sha256", "from hashlib import sha3", '"sha3"'),
]
IN_A_CARD = [
    *EVERYWHERE,
    ("lib/unload.py", "def unload(*names: str) -> None:", "def unload(*names):", "untyped-def]"),
    ("lib/hotp.py", 'return hmac.digest(sha1, seed, moving_factor.to_bytes(8, "big"))',
     "return 7", "[return-value]"),
    ("lib/scp03.py", "from cryptolib import aes", "from cryptolib import des", '"des"'),
    ("lib/cmac.py", "encrypt(message, message)", "encrypt(message, 16)", "of \"aes\""),
    ("card/digits.py", "display.fb.text(string, x, y, ink)", "display.fb.text(x, string, y, ink)",
     'Argument 1 to "text"'),
    ("card/glass.py", "left = ms - ticks_diff(board.ticks_ms(), begin)",
     "left = ms - (board.ticks_ms() - begin)", "[operator]"),
    ("card/issuer.py", "        store.commit(life_cycle=state)",
     "        store.commit(lifecycle=state)", '"lifecycle"'),
    ("card/identity.py", "crc32(segment[:130])", "crc32(130)", 'Argument 1 to "crc32"'),
    ("card/undocked.py", "cell.measure(board, store.cell_state)\n    if",
     "cell.measure(store, store.cell_state)\n    if", 'Argument 1 to "measure"'),
    ("card/store.py", "hotp.code(self.seed, factor, self.digits)",
     "hotp.code(self.seed, factor)", "[call-arg]"),
]  # fmt: skip
PLANTED = {
    "nucleo_l476rg": [
        *IN_A_CARD,
        ("boards/nucleo_l476rg.py", "machine.reset()", "machine.rest()", '"rest"'),
        ("boards/nucleo_l476rg.py", "stm.mem32[_PWR_SCR] = 0x1F", 'stm.mem32[_PWR_SCR] = "1"',
         'has type "str", target'),
        ("lib/memory_lcd.py", "self._spi.write(data)", "self._spi.write(data, 1)", '"SPI"'),
        ("boards/nucleo_l476rg.py", "def docked() -> int:",
         "def docked() -> str:", "card/docked.py → docked"),
        ("boards/micropython/TALLY_NUCLEO_L476RG/_boot.py", "os.chdir", "os.cd", '"cd"'),
    ],
    "pico": [
        *IN_A_CARD,
        ("boot/start.py", "booted.slot = slot", "booted.slots = slot", '"slots"'),
        ("boards/pico.py", "ADC(29).read_u16()", "ADC(29).read_u8()", '"read_u8"'),
        ("boards/rp2_flash.py", "storage.ioctl(6, self._first + sector)",
         'storage.ioctl("erase", self._first + sector)', '"ioctl" of "Flash"'),
        ("lib/ssd1306.py", "i2c.writeto(addr, _INIT)", "i2c.writeto(_INIT, addr)", '"writeto"'),
        ("boards/micropython/rp2/_boot.py", "machine.deepsleep()", "machine.nap()", '"nap"'),
    ],
    "pico2": [
        *EVERYWHERE,
        ("reader/store.py", "pin_retries=max(0, self.pin_retries - 1)",
         "pin_tries=max(0, self.pin_retries - 1)", '"pin_tries"'),
        ("reader/refused.py", "self.status = status", "self.status: str = status", "[assignment]"),
        ("reader/info.py", "13: store.min_pin,", "13: store.least_pin,", '"least_pin"'),
        ("reader/blobs.py", "offset = consent.optional(request, 3, int, -1)",
         "offset = request.get(3)", "[operator]"),
        ("reader/seal.py", "aes(self._cipher, _CBC, iv).e", "aes(self._cipher, _CBC, 0).e",
         '"aes"'),
        ("reader/login.py", "one = credential.stored(reader.store, pending.slots.pop(0))",
         "one = credential.stored(reader.store, pending.slots)", "[arg-type]"),
        ("boards/pico2.py", "def root() -> bytes:", "def roots() -> bytes:",
         'reader/app.py → variable has type "Reader"'),
        ("lib/usbhid.py", "from machine import USBDevice", "from machine import USBHost",
         '"USBHost"'),
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(PLANTED))
def test_every_planted_fault_is_found(name: str, tmp_path: Path) -> None:
    board = (BOARDS | READERS)[name]
    stubs = STUBS / board.chip.stubs
    assert stubs.is_dir(), "`make lint` installs the ports' stubs."
    copy = shutil.copytree(firmware.root(), tmp_path / "firmware")
    for file, stands, put, _ in PLANTED[name]:
        text = (copy / file).read_text()
        assert text.count(stands) == 1, (file, stands)
        (copy / file).write_text(text.replace(stands, put))
    with firmware.rooted(copy):
        found = ports.check(board, stubs, tmp_path / "cache")
    for file, _, put, said in PLANTED[name]:
        place, _, words = said.rpartition(" → ")
        start = f"{name}: firmware/{place or file}:"
        assert [line for line in found if line.startswith(start) and words in line], (put, found)


def test_every_module_is_checked_on_a_board() -> None:
    boards = (BOARDS | READERS).values()
    checked = {path for board in boards for path in ports.sources(board).values()}
    unchecked = set(firmware.root().rglob("*.py")) - checked
    # MicroPython's own build runs the manifests, with names that only it knows.
    assert {path.name for path in unchecked} == {"manifest.py"}


def test_the_page_of_porting_names_what_a_card_s_board_has() -> None:
    tree = ast.parse((firmware.root() / "typed" / "board.py").read_text())
    classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    bases = [base.id for base in classes["Card"].bases if isinstance(base, ast.Name)]
    members = {
        node.name
        for name in ["Card", *bases]
        if name in classes
        for node in classes[name].body
        if isinstance(node, ast.FunctionDef)
    }
    table = PORTING.read_text().split("## What a card's board file has")[1].split("## ")[0]
    rows = [row.split("|")[1] for row in table.splitlines() if row.startswith("| `")]
    assert set(re.findall(r"`(\w+)", " ".join(rows))) == members
