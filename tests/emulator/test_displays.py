"""The emulated displays against the data sheets' bytes, written by hand: no driver is involved."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystick.emulator.parts.memory_lcd import MemoryLcd
from tallystick.emulator.parts.ssd1306 import Ssd1306

ALL_WHITE = "ff" * 16


def transfer(lcd: MemoryLcd, text: str) -> None:
    lcd.spi_select(1)
    lcd.spi_write(bytes.fromhex(text))
    lcd.spi_select(0)


def dark(part) -> set[tuple[int, int]]:
    return {(i % part.width, i // part.width) for i, on in enumerate(part.pixels) if on}


class TestMemoryLcd:
    def test_blank_at_power_up(self):
        lcd = MemoryLcd()
        assert dark(lcd) == set()
        assert lcd.frames == 0

    def test_one_line(self):
        lcd = MemoryLcd()
        # Line 3 is 1100 0000 with its least significant bit first; the leftmost pixel leaves first.
        transfer(lcd, "80 c0 7ffe" + "ff" * 14 + "00 00")
        assert lcd.errors == []
        assert dark(lcd) == {(0, 2), (15, 2)}
        assert lcd.frames == 1

    def test_a_clock_that_is_too_fast(self):
        lcd = MemoryLcd()
        lcd.spi_select(1)
        lcd.spi_write(bytes.fromhex("80 c0 7ffe" + "ff" * 14 + "00 00"), 2_000_000)
        lcd.spi_select(0)
        assert "a clock of 2.0 MHz" in lcd.errors[0]
        assert dark(lcd) == set()

    def test_many_lines_in_one_transfer_and_dummy_bits_of_any_value(self):
        lcd = MemoryLcd()
        transfer(lcd, "9f 80 00" + "ff" * 15 + "aa 01 00" + "ff" * 15 + "55 ff")
        assert lcd.errors == []
        assert dark(lcd) == {(x, y) for x in range(8) for y in (0, 127)}
        assert lcd.frames == 1

    def test_bytes_may_come_in_pieces(self):
        lcd = MemoryLcd()
        lcd.spi_select(1)
        for byte in bytes.fromhex("80 c0 7f" + "ff" * 15 + "00 00"):
            lcd.spi_write(bytes([byte]))
        lcd.spi_select(0)
        assert dark(lcd) == {(0, 2)}

    def test_the_same_image_again_is_no_new_frame(self):
        lcd = MemoryLcd()
        for _ in range(3):
            transfer(lcd, "80 c0 7f" + "ff" * 15 + "00 00")
        assert lcd.frames == 1

    def test_all_clear(self):
        lcd = MemoryLcd()
        transfer(lcd, "80 80" + "00" * 16 + "00 00")
        transfer(lcd, "20 00")
        assert dark(lcd) == set()
        assert lcd.frames == 2
        assert lcd.errors == []

    def test_vcom_counts_inversions_only(self):
        lcd = MemoryLcd()
        for mode in ("40 00", "40 00", "00 00", "60 00", "00 00"):
            transfer(lcd, mode)
        assert lcd.vcom_toggles == 4
        assert lcd.errors == []

    @pytest.mark.parametrize(
        ("data", "complaint"),
        [
            ("80 ff" + ALL_WHITE + "00 00", "line 255 of 128"),
            ("80 00" + ALL_WHITE + "00 00", "line 0 of 128"),
            ("80 81" + ALL_WHITE + "00 00", "line 129 of 128"),
            ("80 80" + ALL_WHITE + "00", "not whole lines and a trailer"),
            ("80 80" + ALL_WHITE + "00 00 00", "not whole lines and a trailer"),
            ("80 80" + ALL_WHITE, "not whole lines and a trailer"),
            ("80", "not whole lines and a trailer"),
            ("20", "8 clocks in a command of 16"),
            ("40 00 00", "24 clocks in a command of 16"),
            ("a0 00", "at once"),
            ("", "without a mode bit"),
        ],
    )
    def test_what_the_data_sheet_does_not_allow_is_an_error(self, data, complaint):
        lcd = MemoryLcd()
        transfer(lcd, data)
        assert [complaint in error for error in lcd.errors] == [True]

    def test_a_line_without_its_trailer_is_lost(self):
        lcd = MemoryLcd()
        transfer(lcd, "80 80" + "00" * 16)
        assert dark(lcd) == set()

    def test_not_selected_hears_nothing(self):
        lcd = MemoryLcd()
        lcd.spi_write(bytes.fromhex("80 80" + "00" * 16 + "00 00"))
        assert dark(lcd) == set()
        assert lcd.errors == []

    def test_without_power_the_image_is_lost_and_the_wires_are_dead(self):
        lcd = MemoryLcd()
        transfer(lcd, "80 80" + "00" * 16 + "00 00")
        lcd.power(False)
        assert dark(lcd) == set()
        assert lcd.current_ua() == 0
        transfer(lcd, "80 80" + "00" * 16 + "00 00")
        assert dark(lcd) == set()
        lcd.power(True)
        assert dark(lcd) == set()
        transfer(lcd, "80 80" + "00" * 16 + "00 00")
        assert len(dark(lcd)) == 128

    def test_current_is_the_data_sheets_power_at_one_image_a_second(self):
        lcd = MemoryLcd()
        idle = lcd.current_ua()
        lcd.spi_select(1)
        sending = lcd.current_ua()
        share = (1 + 128 * 18 + 1) * 8 / 1_100_000
        assert idle * 3 == pytest.approx(12)
        assert (idle + (sending - idle) * share) * 3 == pytest.approx(50, rel=0.01)

    def test_an_image_without_inversion_is_noticed(self):
        now = 0
        lcd = MemoryLcd(clock_us=lambda: now)
        now = 60_000_000  # blank for a minute: no harm
        transfer(lcd, "80 80" + "00" * 16 + "00 00")
        now += 1_000_000
        transfer(lcd, "40 00")
        assert lcd.errors == []
        now += 2_000_000
        transfer(lcd, "00 00")
        assert lcd.errors == ["memory LCD: VCOM not inverted for 2000 ms with an image up"]

    def test_an_image_left_up_until_power_off_is_noticed(self):
        now = 0
        lcd = MemoryLcd(clock_us=lambda: now)
        transfer(lcd, "80 80" + "00" * 16 + "00 00")
        now += 5_000_000
        lcd.power(False)
        assert "5000 ms" in lcd.errors[0]

    @given(st.lists(st.binary(max_size=60), max_size=8))
    def test_noise_on_the_wires_is_survived(self, transfers):
        lcd = MemoryLcd()
        for data in transfers:
            transfer(lcd, data.hex())
        assert set(lcd.pixels) <= {0, 1}


def commands(text: str) -> bytes:
    return b"\x00" + bytes.fromhex(text)


def ready() -> Ssd1306:
    """On, pump running, upright, horizontal addressing."""
    oled = Ssd1306()
    assert oled.i2c_write(0x3C, commands("8d14 af a1 c8 2000 2100 7f 220007"))
    return oled


class TestSsd1306:
    def test_dark_at_power_up_and_without_pump(self):
        oled = Ssd1306()
        oled.i2c_write(0x3C, b"\x40" + b"\xff" * 128)
        assert not any(oled.pixels)
        oled.i2c_write(0x3C, commands("af"))
        assert not any(oled.pixels)
        oled.i2c_write(0x3C, commands("8d14"))
        assert any(oled.pixels)

    def test_address(self):
        oled = Ssd1306()
        assert oled.i2c_write(0x3C, b"")
        assert not oled.i2c_write(0x3D, commands("af"))
        assert not oled.on

    def test_horizontal_addressing_with_wrap(self):
        oled = ready()
        oled.i2c_write(0x3C, b"\x40\x01\x80" + b"\0" * 126 + b"\x01")
        assert dark(oled) == {(0, 0), (1, 7), (0, 8)}
        oled.i2c_write(0x3C, b"\x40" + b"\0" * (1024 - 129) + b"\x02")
        assert dark(oled) == {(0, 1), (1, 7), (0, 8)}

    def test_a_window_wraps_inside_itself(self):
        oled = ready()
        oled.i2c_write(0x3C, commands("210a0b 220203"))
        oled.i2c_write(0x3C, b"\x40\x01\x02\x04\x08")
        assert dark(oled) == {(10, 16), (11, 17), (10, 26), (11, 27)}
        oled.i2c_write(0x3C, b"\x40\x80")
        assert dark(oled) == {(10, 23), (11, 17), (10, 26), (11, 27)}

    def test_vertical_addressing(self):
        oled = ready()
        oled.i2c_write(0x3C, commands("2001 210a0b 220203"))
        oled.i2c_write(0x3C, b"\x40\x01\x02\x04\x08")
        assert dark(oled) == {(10, 16), (10, 25), (11, 18), (11, 27)}

    def test_page_addressing(self):
        oled = ready()
        oled.i2c_write(0x3C, commands("2002 b3 0f 17"))
        oled.i2c_write(0x3C, b"\x40\x01\x01")
        assert dark(oled) == {(127, 24), (0, 24)}

    def test_commands_and_data_in_one_transfer(self):
        oled = ready()
        oled.i2c_write(0x3C, bytes.fromhex("80 b1 80 21 80 05 80 05 40 ff"))
        assert {x for x, _ in dark(oled)} == {5}

    def test_orientation(self):
        for setup, corner in (
            ("a1c8", (0, 0)),
            ("a0c8", (127, 0)),
            ("a1c0", (0, 63)),
            ("a0c0", (127, 63)),
        ):
            oled = ready()
            oled.i2c_write(0x3C, commands(setup))
            oled.i2c_write(0x3C, b"\x40\x01")
            assert dark(oled) == {corner}

    def test_inverse_all_on_and_off(self):
        oled = ready()
        oled.i2c_write(0x3C, b"\x40\x01")
        oled.i2c_write(0x3C, commands("a7"))
        assert len(dark(oled)) == 128 * 64 - 1
        oled.i2c_write(0x3C, commands("a6 a5"))
        assert len(dark(oled)) == 128 * 64
        oled.i2c_write(0x3C, commands("a4"))
        assert dark(oled) == {(0, 0)}
        oled.i2c_write(0x3C, commands("ae"))
        assert dark(oled) == set()
        assert oled.ram[0] == 1  # switched off, not erased

    def test_start_line_scrolls(self):
        oled = ready()
        oled.i2c_write(0x3C, b"\x40\x01")
        oled.i2c_write(0x3C, commands("41"))
        assert dark(oled) == {(0, 63)}

    def test_power_loses_everything(self):
        oled = ready()
        oled.i2c_write(0x3C, b"\x40\xff")
        oled.power(False)
        assert not any(oled.pixels)
        assert not oled.i2c_write(0x3C, b"")
        assert oled.current_ua() == 0
        oled.power(True)
        assert not oled.on
        assert not any(oled.ram)

    def test_current_grows_with_light(self):
        oled = ready()
        black = oled.current_ua()
        oled.i2c_write(0x3C, commands("a5"))
        lit = oled.current_ua()
        oled.i2c_write(0x3C, commands("81ff"))
        bright = oled.current_ua()
        oled.i2c_write(0x3C, commands("ae"))
        assert oled.current_ua() == 10
        assert 900 < black < 1000
        assert 13_000 < lit < 14_000
        assert 26_000 < bright < 27_000  # the order of what 0.96" modules draw, all lit

    @pytest.mark.parametrize(
        ("data", "complaint"),
        [
            ("00 2003", "20 03"),
            ("00 210a05", "21 0A 05"),
            ("00 220008", "22 00 08"),
            ("00 a80e", "A8 0E"),
            ("00 da02", "wired for 12"),
            ("00 f7", "F7"),
            ("41 00", "control byte 41"),
            ("80", "control byte at the end"),
        ],
    )
    def test_what_the_data_sheet_does_not_allow_is_an_error(self, data, complaint):
        oled = Ssd1306()
        assert oled.i2c_write(0x3C, bytes.fromhex(data))
        assert [complaint in error for error in oled.errors] == [True]

    def test_a_command_cut_short_by_data_is_an_error(self):
        oled = ready()
        oled.i2c_write(0x3C, commands("81"))
        oled.i2c_write(0x3C, b"\x40\x01")
        assert "81 without its arguments" in oled.errors[0]

    @given(st.lists(st.binary(max_size=60), max_size=8))
    def test_noise_on_the_bus_is_survived(self, transfers):
        oled = ready()
        for data in transfers:
            oled.i2c_write(0x3C, data)
        assert set(oled.pixels) <= {0, 1}
        assert oled.current_ua() > 0
