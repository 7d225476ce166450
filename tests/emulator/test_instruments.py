"""Waveforms, current, the serial line and the flash, as tools of others read them."""

from __future__ import annotations

import csv
import json
from itertools import pairwise

import pytest
from vcd.reader import TokenKind, tokenize

from tallystick.common.errors import BadInputError
from tallystick.emulator.instruments import flash_map
from tallystick.emulator.instruments.apdu_log import ApduLog
from tallystick.emulator.instruments.current_csv import HEADER, CurrentCsv
from tallystick.emulator.instruments.vcd import Vcd
from tallystick.tools.fresh import card
from tallystick.tools.personalise import RFC4226_SEED, personalise


@pytest.fixture
def device():
    with card("nucleo_l476rg") as device:
        device.power_on()
        yield device


def test_a_waveform_viewer_sees_the_press_and_the_code_going_out(device, tmp_path):
    personalise(device)
    path = tmp_path / "card.vcd"
    probe = Vcd(path, device.board)
    device.attach(probe)
    pressed = device.clock.now
    device.press()
    device.run_for(40_000)
    device.detach(probe)
    names, changes = {}, []
    now = 0
    with path.open("rb") as file:
        for token in tokenize(file):
            if token.kind is TokenKind.VAR:
                names[token.var.id_code] = token.var.reference
            elif token.kind is TokenKind.CHANGE_TIME:
                assert token.time_change >= now
                now = token.time_change
            elif token.kind.name.startswith("CHANGE_"):
                changes.append((now, names[token.data.id_code], token.data.value))
    button = [(time, value) for time, name, value in changes if name == "button" and time]
    assert button[0][0] - pressed <= 3000
    assert button[-1][1] == "0"
    # 128 lines of 18 bytes and more; a byte that equals the one before is no change.
    spi = [value for time, name, value in changes if name == "spi" and isinstance(value, int)]
    assert len(spi) > 1000
    states = [value for _, name, value in changes if name == "chip"]
    assert states[1] == "running"
    assert states[-1] in ("off", "deep_sleep")
    peak = max(value for _, name, value in changes if name == "current_uA")
    assert 3_140 < peak < 8_000
    assert any(name == "flash_busy" and value == "1" for _, name, value in changes)


def test_the_current_adds_up_to_what_the_cell_gave(device, tmp_path):
    personalise(device)
    path = tmp_path / "current.csv"
    probe = CurrentCsv(path, device.board)
    device.attach(probe)
    before = device.cell.drawn_uah
    device.press()
    device.run_for(60_000)
    drawn = device.cell.drawn_uah - before
    device.detach(probe)
    with path.open() as file:
        assert file.readline().rstrip() == HEADER
        rows = [(float(ms), float(ua), logic) for ms, ua, logic in csv.reader(file)]
    assert all(a[0] <= b[0] for a, b in pairwise(rows))
    charge = (
        sum((b[0] - a[0]) * (a[1] + b[1]) / 2 for a, b in pairwise(rows)) / 3_600_000
    )  # ms to hours
    assert charge == pytest.approx(drawn, rel=1e-3)
    assert {logic[0] for _, _, logic in rows} == {"0", "1"}  # the button, D0


def test_the_serial_line_in_words_shows_no_secret(device, tmp_path):
    path = tmp_path / "apdu.log"
    probe = ApduLog(path)
    device.attach(probe)
    personalise(device)
    device.detach(probe)
    log = path.read_text()
    assert "S(RESYNCH request)" in log
    assert "SELECT P1=04 P2=00 A0 00 00 05 27 21 01" in log
    assert "PUT P1=00 P2=00, secure messaging [" in log
    assert "SW 9000" in log
    flat = log.replace(" ", "").lower()
    assert RFC4226_SEED.reveal().hex() not in flat
    # Nothing under secure messaging, and no cryptogram, is shown at all.
    for line in log.splitlines():
        if "EXTERNAL AUTHENTICATE" in line or "secure messaging" in line:
            assert line.endswith(" bytes]")


def test_codes_and_unknown_instructions_are_hidden(tmp_path):
    path = tmp_path / "apdu.log"
    log = ApduLog(path)

    def block(pcb: int, body: bytes) -> bytes:
        from tallystick.emulator.instruments.apdu_log import crc

        head = bytes((0, pcb, len(body))) + body
        return head + crc(head)

    log.serial(0, block(0x00, bytes.fromhex("00A2000106") + b"\x71\x04abcd"), to_card=True)
    log.serial(5, block(0x00, bytes.fromhex("7605060001E2409000")), to_card=False)
    log.serial(9, block(0x40, bytes.fromhex("0077000003") + b"xyz"), to_card=True)
    damaged = bytearray(block(0x00, b"secret words"))
    damaged[5] ^= 1
    log.serial(12, bytes(damaged), to_card=False)
    log.close()
    text = path.read_text()
    assert "CALCULATE P1=00 P2=01 [6 bytes]" in text
    assert "SW 9000 [7 bytes]" in text
    assert "INS 77 P1=00 P2=00 [3 bytes]" in text
    assert "damaged block, 17 bytes" in text
    assert "E2 40" not in text
    assert "73 65 63" not in text


def test_the_flash_map_tells_use_and_wear(device, tmp_path):
    personalise(device)
    for _ in range(20):
        device.press()
        device.run_for(40_000)
    path = tmp_path / "map.json"
    flash_map.write(device.board, device.flash, path)
    every = json.loads(path.read_text())
    assert len(every) == device.board.flash_size // device.board.flash_timing.sector
    journal = [one for one in every if one["use"] == "journal"]
    assert sum(one["erases"] for one in journal) == sum(device.flash.erases.values()) > 0
    assert all(one["erases"] == 0 for one in every if one["use"].startswith("slot"))
    assert any(one["used"] > 0.5 for one in every if one["use"] == "slot A")
    for ending in ("svg", "png"):
        flash_map.write(device.board, device.flash, tmp_path / f"map.{ending}")
    assert "journal" in (tmp_path / "map.svg").read_text()
    with pytest.raises(BadInputError, match="none of the endings"):
        flash_map.write(device.board, device.flash, tmp_path / "map.gif")
