"""Rows that are burnt once: the emulated chip's rules, and what the reader does with them."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from fido2.ctap import CtapError
from fido2.ctap2 import ClientPin
from fido2.ctap2.bio import FPBioEnrollment

from tallystick.common.errors import BadInputError
from tallystick.emulator.chips.rp2350 import OTP_ANSWER, OTP_BURN, Rp2350
from tallystick.emulator.devices.kept_files import KeptFiles
from tests.emulator.reader.raw import CREDENTIALS, Host, permitted, refused
from tests.emulator.reader.rig import PIN, Rig

RAW, LOCKS = 0x40134000, 0x40120000


@pytest.fixture
def chip() -> Rp2350:
    return Rp2350(random.Random(1))


def burn(chip: Rp2350, row: int, value: int) -> int:
    chip.write(OTP_BURN + 4 * row, value)
    answer = chip.read(OTP_ANSWER)
    return answer - (1 << 32) if answer >> 31 else answer


def test_bits_are_set_and_never_cleared(chip: Rp2350) -> None:
    assert burn(chip, 0xC0, 1) == 0
    assert burn(chip, 0xC0, 2) == -18
    assert burn(chip, 0xC0, 3) == 0
    assert chip.read(RAW + 4 * 0xC0) == 3
    chip.power_up()
    assert chip.read(RAW + 4 * 0xC0) == 3


def test_a_locked_page_takes_nothing_until_the_next_reset(chip: Rp2350) -> None:
    chip.write(LOCKS + 4 * 3, 1)
    assert burn(chip, 0xC0, 1) == -4 and chip.read(RAW + 4 * 0xC0) == 0
    chip.reset(from_deep_sleep=False)
    assert burn(chip, 0xC0, 1) == 0
    chip.write(LOCKS + 4 * 3, 2)
    assert chip.read(RAW + 4 * 0xC0) == 0


@pytest.mark.parametrize("row", [0, 0xBF, 0xF40, 4095])
def test_rows_that_are_not_the_users_are_refused(chip: Rp2350, row: int) -> None:
    assert burn(chip, row, 1) == -4


def _wrong(rig: Rig) -> int:
    with pytest.raises(CtapError) as refused:
        ClientPin(rig.ctap()).get_pin_token("9999")
    return int(refused.value.code)


def _tries(rig: Rig) -> int:
    """Bits of the thermometer of wrong tries."""
    chip = rig.reader.mcu.registers
    assert isinstance(chip, Rp2350)
    return sum(bits.bit_count() for row, bits in chip.rows.items() if row < 0xC0 + 2880) // 3


def test_each_wrong_try_burns_a_bit_and_a_right_one_none(rig: Rig) -> None:
    assert _tries(rig) == 0
    for n in range(2):
        _wrong(rig)
        assert _tries(rig) == n + 1
    ClientPin(rig.ctap()).get_pin_token(PIN)
    assert _tries(rig) == 2
    rig.register()
    assert _tries(rig) == 2


def test_a_right_pin_gives_as_many_pulses_as_a_wrong_one(rig: Rig) -> None:
    """Who sees them, and cuts the power before a bit is burnt, does not know yet which it was."""
    chip = rig.reader.mcu.registers
    assert isinstance(chip, Rp2350)

    def pulses(pin: str) -> int:
        before = chip.burns
        refused(lambda: ClientPin(rig.ctap()).get_pin_token(pin))
        return chip.burns - before

    pulses(PIN)  # and what this chip, a new one, has to catch up with
    assert [pulses(pin) for pin in (PIN, "9999", PIN)] == [3, 3, 3]


def test_a_sensor_that_fails_at_the_comparison_costs_a_try(rig: Rig) -> None:
    """Who cuts its line has seen what it would have said."""
    search = 0x04
    rig.sensor.fault = lambda command: command == search
    client = ClientPin(rig.ctap())
    with pytest.raises(CtapError) as refused:
        client.get_uv_token(
            ClientPin.PERMISSION.CREDENTIAL_MGMT, on_keepalive=rig.pressing("thumb")
        )
    assert refused.value.code == CtapError.ERR.UV_BLOCKED
    assert (_tries(rig), client.get_uv_retries(), client.get_pin_retries()[0]) == (1, 4, 8)


def test_flash_that_was_written_back_has_fewer_tries_not_more(rig: Rig) -> None:
    copy = rig.image_of_flash()
    for _ in range(3):
        _wrong(rig)
    rig.reader.power_off()
    rig.reader.flash.load(0, copy)
    rig.reader.power_on()
    client = ClientPin(rig.ctap())
    assert client.get_pin_retries()[0] == 5 and client.get_uv_retries() == 0
    client.get_pin_token(PIN)
    assert client.get_pin_retries()[0] == 8 and client.get_uv_retries() == 5


def test_flash_from_before_a_change_of_pin_is_damaged(rig: Rig) -> None:
    copy = rig.image_of_flash()
    ClientPin(rig.ctap()).change_pin(PIN, "97531")
    rig.reader.power_off()
    rig.reader.flash.load(0, copy)
    rig.reader.power_on()
    assert rig.ctap().info.options == {}
    rig.ctap().reset(on_keepalive=rig.pressing())
    assert rig.ctap().info.options["clientPin"] is False
    ClientPin(rig.ctap()).set_pin(PIN)
    rig.replug()
    assert rig.ctap().info.options["clientPin"]


def test_flash_from_before_a_reset_is_damaged(rig: Rig) -> None:
    copy = rig.image_of_flash()
    rig.replug()
    rig.ctap().reset(on_keepalive=rig.pressing())
    rig.reader.power_off()
    rig.reader.flash.load(0, copy)
    rig.reader.power_on()
    assert rig.ctap().info.options == {}


def test_at_the_end_of_its_life_nothing_is_compared_any_more(rig: Rig) -> None:
    made = rig.register()
    chip = rig.reader.mcu.registers
    assert isinstance(chip, Rp2350)
    _wrong(rig)
    ClientPin(rig.ctap()).get_pin_token(PIN)
    # The number as high as it goes: 23,040; the flash is brought along, try by try, which takes
    # eight tries of the PIN, too.
    for row in range(0xC0, 0xC0 + 2880):
        chip.rows[row] = 0xFFFFFF
    rig.replug()
    with pytest.raises(CtapError) as refused:
        ClientPin(rig.ctap()).get_pin_token(PIN)
    assert refused.value.code == CtapError.ERR.PIN_BLOCKED
    with pytest.raises(CtapError) as refused:
        ClientPin(rig.ctap()).get_uv_token(ClientPin.PERMISSION.GET_ASSERTION, "example.com")
    assert refused.value.code == CtapError.ERR.UV_BLOCKED
    # What needs no verification goes on.
    answer = rig.ctap().get_assertion(
        "example.com",
        b"\5" * 32,
        [{"id": made.credential_data.credential_id, "type": "public-key"}],
        on_keepalive=rig.pressing(),
    )
    assert answer.auth_data.is_user_present() and not answer.auth_data.is_user_verified()


def test_with_the_last_bit_tries_that_the_flash_still_has_are_void(fresh: Rig) -> None:
    """A reset brings tries back, and the thermometer has room for one wrong one."""
    chip = fresh.reader.mcu.registers
    assert isinstance(chip, Rp2350)
    for row in range(0xC0, 0xC0 + 2880):
        chip.rows[row] = 0xFFFFFF if row < 0xC0 + 2877 else 0x7FFFFF
    fresh.replug()
    fresh.ctap().reset(on_keepalive=fresh.pressing())
    ClientPin(fresh.ctap()).set_pin(PIN)
    fresh.enrol("thumb")
    client, allowed = ClientPin(fresh.ctap()), ClientPin.PERMISSION.GET_ASSERTION
    assert client.get_uv_token(allowed, "example.com", on_keepalive=fresh.pressing())
    _wrong(fresh)
    assert client.get_pin_retries()[0] == 7 and client.get_uv_retries() == 5
    asked: list[int] = []
    with pytest.raises(CtapError) as refused:
        client.get_uv_token(allowed, "example.com", on_keepalive=asked.append)
    assert refused.value.code == CtapError.ERR.UV_BLOCKED and 2 not in asked
    with pytest.raises(CtapError) as refused:
        client.get_pin_token(PIN)
    assert refused.value.code == CtapError.ERR.PIN_BLOCKED


def test_flash_from_before_a_fingers_removal_is_damaged(rig: Rig) -> None:
    """Also when the sensor's memory comes back with it."""
    index = rig.enrol("index")
    copy, templates = rig.image_of_flash(), dict(rig.sensor.templates)
    client, token = rig.token(ClientPin.PERMISSION.BIO_ENROLL)
    FPBioEnrollment(client.ctap, client.protocol, token).remove_enrollment(index)
    rig.reader.power_off()
    rig.reader.flash.load(0, copy)
    rig.sensor.templates = templates
    rig.reader.power_on()
    assert rig.ctap().info.options == {}


def test_rows_are_kept_in_a_file(tmp_path: Path, chip: Rp2350) -> None:
    kept = KeptFiles(tmp_path / "flash", 4096)
    kept.keep_rows(chip)
    burn(chip, 0xC0, 5)
    assert json.loads((tmp_path / "flash.rows").read_text()) == {"192": 5}
    other = Rp2350(random.Random(1))
    kept.keep_rows(other)
    assert other.rows == {0xC0: 5}
    assert (tmp_path / "flash.rows").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "text", ["[1]", "7", '{"192": "5"}', '{"4096": 1}', '{"-1": 1}', '{"1": 16777216}', '{"1": -1}']
)
def test_rows_that_no_chip_has_are_refused(tmp_path: Path, chip: Rp2350, text: str) -> None:
    kept = KeptFiles(tmp_path / "flash", 4096)
    (tmp_path / "flash.rows").write_text(text)
    with pytest.raises(BadInputError, match=r"flash\.rows cannot be read"):
        kept.keep_rows(chip)
    assert (tmp_path / "flash.rows").read_text() == text


def test_rows_that_cannot_be_kept_are_refused_at_the_start(tmp_path: Path, chip: Rp2350) -> None:
    kept = KeptFiles(tmp_path / "flash", 4096)
    (tmp_path / "flash.rows").mkdir()
    with pytest.raises(BadInputError, match=r"flash\.rows is no file"):
        kept.keep_rows(chip)


def _lock_the_states(chip: object) -> None:
    """No bit of the thermometer of states can be burnt until the next reset of the chip."""
    assert isinstance(chip, Rp2350)
    for page in range((0xC0 + 2880) // 64, (0xC0 + 2880 + 255) // 64 + 1):
        chip.write(LOCKS + 4 * page, 1)


def _changes_the_pin(rig: Rig) -> None:
    ClientPin(rig.ctap()).change_pin(PIN, "97531")


def _resets(rig: Rig) -> None:
    rig.ctap().reset(on_keepalive=rig.pressing())


@pytest.mark.parametrize("change", [_changes_the_pin, _resets])
def test_a_token_has_ended_although_no_row_could_be_burnt(
    rig: Rig, change: Callable[[Rig], None]
) -> None:
    """The record is written before the row is burnt: the token's PIN is another one already."""
    host = Host(rig)
    client, token = permitted(rig, ClientPin.PERMISSION.CREDENTIAL_MGMT)
    _lock_the_states(rig.reader.mcu.registers)
    assert refused(lambda: change(rig)) == CtapError.ERR.OTHER
    param = client.protocol.authenticate(token, b"\x01")
    asked = host.status(CREDENTIALS, {1: 1, 3: client.protocol.VERSION, 4: param})
    assert asked == CtapError.ERR.PIN_AUTH_INVALID
