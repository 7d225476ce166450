"""What a person sees. Golden pictures by their hash; `TALLY_UPDATE_GOLDEN=1` accepts new ones after
somebody has looked at the PNGs in build/golden (in one process: `-n0`).
"""

from __future__ import annotations

import io
import json
import os
from pathlib import Path

import pytest
import zxingcpp
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from tallystick.common.identity import qr_rows
from tallystick.emulator.seeing.reading import read_code

HERE = Path(__file__).parent
GOLDEN = HERE / "golden.json"
PICTURES = HERE.parents[2] / "build" / "golden"

SERIAL = "TLY2600042"
SCREENS = {
    "code-6": 'screens.code(D, b"755224", cell.NORMAL, 100)',
    "code-6-low": 'screens.code(D, b"287082", cell.LOW, 55)',
    "code-7": 'screens.code(D, b"1628304", cell.NORMAL, 70)',
    "code-8": 'screens.code(D, b"90693968", cell.NORMAL, 30)',
    "code-8-ending": 'screens.code(D, b"14758314", cell.LOW, 0)',
    "info": 'screens.info(D, "{serial}", "0.1.0", "nucleo_l476rg", 2950, cell.NORMAL, {qr})',
    "info-low": 'screens.info(D, "{serial}", "0.1.0", "pico", 2480, cell.LOW, {qr})',
    "info-empty": 'screens.info(D, "{serial}", "0.1.0", "pico", 2200, cell.CRITICAL, {qr})',
    "info-no-qr": 'screens.info(D, "{serial}", "0.1.0", "nucleo_l476rg", 2950, cell.NORMAL, b"")',
    "cell-empty": 'screens.message(D, "CELL EMPTY", "replace card")',
    "no-key": 'screens.message(D, "NO KEY", "not in service")',
    "damaged": 'screens.message(D, "DAMAGED", "return card")',
    "too-old": 'screens.message(D, "TOO OLD", "for its data: return card")',
    "no-id": 'screens.message(D, "NO ID", "factory data missing")',
    "worn-out": 'screens.message(D, "WORN OUT", "replace card")',
    "docked": 'screens.message(D, "DOCKED")',
    "connected": 'screens.message(D, "DOCKED", "station connected")',
    "press": 'screens.message(D, "PRESS", "for a code")',
    "press-wipe": 'screens.message(D, "PRESS", "to wipe the card")',
    "any-glyph": 'screens.message(D, "#*_tgy|; 4MW~Q&jp ,q", "to erase it now")',
    "locked": 'screens.message(D, "LOCKED FOR GOOD", "this card was wiped")',
}

codes = st.text("0123456789", min_size=6, max_size=8)
quick = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.mark.parametrize("name", SCREENS)
def test_golden(glass, name):
    glass.run(SCREENS[name].format(serial=SERIAL, qr=qr_rows(SERIAL)))
    key = f"{name}-{glass.name}"
    PICTURES.mkdir(parents=True, exist_ok=True)
    (PICTURES / f"{key}.png").write_bytes(glass.frame.png(palette=glass.palette))
    golden = json.loads(GOLDEN.read_text()) if GOLDEN.exists() else {}
    if os.environ.get("TALLY_UPDATE_GOLDEN"):
        golden[key] = glass.frame.sha256()
        GOLDEN.write_text(json.dumps(golden, indent=1, sort_keys=True) + "\n")
    assert golden.get(key) == glass.frame.sha256(), "\n" + glass.frame.text()


@quick
@given(codes, st.integers(0, 1), st.integers(0, 100))
def test_every_code_reads_back(glass, code, state, fraction):
    glass.run(f"screens.code(D, bytearray({code.encode()!r}), {state}, {fraction})")
    assert read_code(glass.frame) == code


@pytest.mark.parametrize("length", [6, 7, 8])
def test_every_digit_in_every_place_reads_back(glass, length):
    for digit in "0123456789":
        glass.run(f'screens.code(D, "{digit * length}", 0, 50)')
        assert read_code(glass.frame) == digit * length
    for start in range(10):
        code = "".join(str((start + 3 * i) % 10) for i in range(length))
        glass.run(f'screens.code(D, "{code}", 0, 50)')
        assert read_code(glass.frame) == code


@pytest.mark.parametrize("length", [6, 7, 8])
def test_digits_stand_clear_of_the_edges_and_of_one_another(glass, length):
    """All segments lit, with no empty column or row missing where one must be."""
    glass.run(f'screens.code(D, "{"8" * length}", 0, 0)')
    frame = glass.frame
    assert not any(frame.at(x, y) for y in range(frame.height) for x in (0, 1, 126, 127))
    assert not any(frame.at(x, y) for x in range(frame.width) for y in (0, 12, frame.height - 1))


def test_no_screen_but_a_code_reads_as_one(glass):
    for name, source in SCREENS.items():
        if not name.startswith("code"):
            glass.run(source.format(serial=SERIAL, qr=qr_rows(SERIAL)))
            assert read_code(glass.frame) is None, name


@quick
@given(codes, st.lists(st.integers(-20, 120), min_size=1, max_size=4))
def test_the_bar_changes_only_its_rows(glass, code, fractions):
    """It only ever grows shorter, so what it had is not drawn again."""
    fractions.sort(reverse=True)
    glass.run(f'screens.code(D, "{code}", 0, 100)')
    full = glass.frame
    for fraction in fractions:
        glass.run(f"screens.bar(D, {fraction})")
        frame = glass.frame
        assert read_code(frame) == code
        rows = frame.height - 5
        assert frame.pixels[: rows * 128] == full.pixels[: rows * 128]
        assert sum(frame.at(x, rows) for x in range(128)) == 120 * max(0, min(fraction, 100)) // 100
    glass.run(f'screens.code(D, "{code}", 0, {fractions[-1]})')
    assert glass.frame == frame


def test_the_bar_sends_a_fraction_of_the_screen(glass):
    glass.run('screens.code(D, "123456", 0, 100)')
    whole = sum(len(line) for line in glass.sent)
    glass.run("screens.bar(D, 50)")
    assert sum(len(line) for line in glass.sent) < whole / 6


@pytest.mark.parametrize("serial", [SERIAL, "0000000000", "ZZZZZZZZZZ", "TLY9999999"])
def test_a_phone_reads_the_serial_number(glass, serial):
    glass.run(f'screens.info(D, "{serial}", "0.1.0", "nucleo_l476rg", 2950, 0, {qr_rows(serial)})')
    image = Image.open(io.BytesIO(glass.frame.png(palette=glass.palette)))
    # Dark on light on either glass: the inverse, which many phones refuse, is not tried.
    (found,) = zxingcpp.read_barcodes(image.convert("L"), try_invert=False)
    assert found.text == serial


@quick
@given(
    st.lists(st.text("abcXYZ09", min_size=1, max_size=8), min_size=1, max_size=3),
    st.lists(st.text("abcXYZ09", min_size=1, max_size=15), max_size=1),
)
def test_messages_fit_on_tall_glass(lcd, title, line):
    lcd.run(f'screens.message(D, "{" ".join(title)}", "{" ".join(line)}")')
    frame = lcd.frame
    assert not any(frame.at(x, y) for x in range(128) for y in (0, 127))


def test_a_code_screen_allocates_next_to_nothing(session, glass):
    glass.run(
        "import gc\n"
        "class Quiet:\n"
        "    def write(self, data): pass\n"
        "    def writeto(self, addr, data): pass\n"
        "wires = (Quiet(), lambda level: None) if D.height == 128 else (Quiet(),)\n"
        "E = type(D)(*wires)\n"
        "code = bytearray(b'90693968')\n"
        "screens.code(E, code, 0, 100)\n"
        "gc.collect()\n"
        "gc.disable()\n"
        "before = gc.mem_alloc()\n"
        "screens.code(E, code, 0, 100)\n"
        "used = gc.mem_alloc() - before\n"
        "gc.enable()\n"
    )
    assert session.value("used") <= 256
