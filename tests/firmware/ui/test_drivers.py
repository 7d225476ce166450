"""The display drivers: the glass shows what they hold in memory, and then nothing of it is left."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

some = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
rectangles = st.lists(
    st.tuples(
        st.integers(-20, 140),
        st.integers(-20, 140),
        st.integers(1, 60),
        st.integers(1, 60),
        st.booleans(),
    ),
    min_size=1,
    max_size=6,
)


def draw(shapes) -> str:
    return "\n".join(
        f"D.fb.fill_rect({x}, {y}, {w}, {h}, D.{'ink' if dark else 'paper'})"
        for x, y, w, h, dark in shapes
    )


def test_nothing_is_seen_before_the_first_picture(glass):
    assert glass.frame.blank


def test_a_single_pixel_is_where_it_was_drawn(glass):
    for x, y in ((0, 0), (127, 0), (3, 9), (0, 63), (127, 63)):
        glass.run(f"D.clear()\nD.fb.pixel({x}, {y}, D.ink)\nD.show()")
        assert [divmod(i, 128) for i, on in enumerate(glass.frame.pixels) if on] == [(y, x)]


@some
@given(rectangles)
def test_the_glass_shows_the_frame_buffer(glass, shapes):
    glass.run(draw(shapes) + "\nD.show()")
    assert glass.part.pixels == glass.drawn()


@some
@given(rectangles, st.integers(-5, 130), st.integers(-5, 140))
def test_show_sends_the_lines_asked_for(glass, shapes, y0, y1):
    before = glass.frame.pixels
    glass.run(draw(shapes) + f"\nD.show({y0}, {y1})")
    height, lines = glass.part.height, 8 if glass.name == "oled" else 1
    top, bottom = max(y0, 0) // lines * lines, -(-min(y1, height) // lines) * lines
    drawn = glass.drawn()
    for y in range(height):
        row = slice(y * 128, (y + 1) * 128)
        inside = y0 < y1 and max(y0, 0) < min(y1, height) and top <= y < bottom
        assert glass.frame.pixels[row] == (drawn if inside else before)[row], y
    glass.run("D.show()")  # what a partial transfer borrowed in the buffer was given back
    assert glass.part.pixels == drawn


@some
@given(rectangles)
def test_clear_and_off_leave_nothing(glass, shapes):
    for end in ("D.clear()", "D.off()"):
        glass.run(draw(shapes) + "\nD.show()\n" + end)
        assert glass.frame.blank
        assert not any(glass.drawn())
        if glass.name == "oled":
            assert not any(glass.part.ram)


def test_a_display_that_was_off_shows_again(glass):
    glass.run("D.off()\nD.fb.fill(D.ink)\nD.show()")
    assert all(glass.frame.pixels)


def test_only_asked_lines_cost_bus_time(lcd):
    lcd.run("D.show(120, 125)")
    assert [line.split()[0] for line in lcd.sent] == ["cs", "spi", "cs"]
    assert len(bytes.fromhex(lcd.sent[1].split()[1])) == 1 + 5 * 18 + 1


def test_vcom_alternates_with_every_call_and_changes_no_pixel(lcd):
    lcd.run("D.fb.fill_rect(10, 10, 50, 50, D.ink)\nD.show()")
    seen, toggles = lcd.frame, lcd.part.vcom_toggles
    for count in range(1, 5):
        lcd.run("D.vcom()")
        assert lcd.part.vcom_toggles == toggles + count
        lcd.run("D.show()\nD.show(3, 4)")  # these carry the polarity without changing it
        assert lcd.part.vcom_toggles == toggles + count
    assert lcd.frame == seen


def test_the_memory_lcd_driver_speaks_the_data_sheets_bytes(lcd):
    # Line 1 is address 80 and line 128 address 01, least significant bit first.
    lcd.run("D.fb.pixel(0, 0, D.ink)\nD.show(0, 1)")
    assert lcd.sent[1] == "spi 80" + "80" + "7f" + "ff" * 15 + "0000"
    lcd.run("D.show(127, 128)")
    assert lcd.sent[1] == "spi 80" + "01" + "ff" * 16 + "0000"
    lcd.run("D.vcom()")
    assert lcd.sent[1] == "spi 4000"
    lcd.run("D.clear()")
    assert lcd.sent[1] == "spi 6000"


def test_oled_contrast(oled):
    assert oled.part.contrast == 0x7F
    oled.run("D.contrast(255)")
    assert oled.part.contrast == 255


def test_oled_is_asleep_after_off(oled):
    oled.run("D.fb.fill(1)\nD.show()")
    assert oled.part.on
    oled.run("D.off()")
    assert not oled.part.on
    assert oled.part.current_ua() == pytest.approx(10)


def test_off_never_lights_a_display_that_was_dark(oled):
    frames = oled.part.frames
    oled.run("D.off()")
    assert oled.part.frames == frames
    assert all("40" not in line.split()[2][:2] or "af" not in line for line in oled.sent)
