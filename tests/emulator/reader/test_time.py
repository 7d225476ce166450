"""Time rules of CTAP 2.1, to the millisecond, in virtual time."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from itertools import pairwise

import pytest
from fido2.ctap import CtapError
from fido2.ctap2 import ClientPin
from fido2.ctap2.credman import CredentialManagement

from tests.emulator.reader.raw import ASSERT, HASH, NEXT, Host
from tests.emulator.reader.raw import PIN as CLIENT_PIN
from tests.emulator.reader.rig import PIN, Rig

ERR = CtapError.ERR
PERMISSION = ClientPin.PERMISSION


def until(rig: Rig, plugged_in_us: int, ms: int) -> None:
    """Lets time pass until `ms` after the reader was plugged in."""
    rig.reader.run_to(plugged_in_us + ms * 1000)


def replug(rig: Rig) -> int:
    rig.reader.power_off()
    rig.reader.run_for(100)
    at = rig.reader.clock.now
    rig.reader.power_on()
    return at


# The time begins with the firmware, a seventh of a second after power.
@pytest.mark.parametrize(("ms", "allowed"), [(9_900, True), (10_200, False)])
def test_reset_only_in_the_first_ten_seconds(rig: Rig, ms: int, allowed: bool) -> None:
    plugged_in = replug(rig)
    device = rig.ctap()
    until(rig, plugged_in, ms)
    if allowed:
        device.reset(on_keepalive=rig.pressing())
        assert not rig.ctap().info.options["clientPin"]
    else:
        with pytest.raises(CtapError) as refused:
            device.reset(on_keepalive=rig.pressing())
        assert refused.value.code == ERR.NOT_ALLOWED
        assert rig.ctap().info.options["clientPin"]


def test_a_restart_of_the_firmware_opens_no_window_for_a_reset(rig: Rig) -> None:
    rig.reader.mcu._reset(None)  # type: ignore[arg-type]  (as the firmware's own restart does)
    rig.reader.run_for(400)
    with pytest.raises(CtapError) as refused:
        rig.ctap().reset(on_keepalive=rig.pressing())
    assert refused.value.code == ERR.NOT_ALLOWED


def test_reset_without_a_touch_changes_nothing(rig: Rig) -> None:
    replug(rig)
    with pytest.raises(CtapError) as refused:
        rig.ctap().reset()
    assert refused.value.code == ERR.USER_ACTION_TIMEOUT
    assert rig.ctap().info.options["clientPin"]


@pytest.mark.parametrize(("after_ms", "in_time"), [(29_900, True), (30_100, False)])
def test_a_touch_is_waited_for_thirty_seconds(rig: Rig, after_ms: int, in_time: bool) -> None:
    ctap = rig.ctap()
    pressed: list[int] = []

    def once(status: int) -> None:
        if status == 2 and not pressed:
            pressed.append(rig.reader.clock.now)
            rig.sensor.press("thumb", after_ms=after_ms)

    began = rig.reader.clock.now
    if in_time:
        ctap.selection(on_keepalive=once)
    else:
        with pytest.raises(CtapError) as refused:
            ctap.selection(on_keepalive=once)
        assert refused.value.code == ERR.USER_ACTION_TIMEOUT
        assert 30_000 <= (rig.reader.clock.now - began) / 1000 < 30_050


def test_keepalives_come_every_hundred_milliseconds(rig: Rig) -> None:
    times: list[float] = []
    statuses: list[int] = []
    take = rig.reader.on_report

    def record(report: bytes) -> None:
        if report[4] == 0x80 | 0x3B:
            times.append(rig.reader.clock.now / 1000)
            statuses.append(report[7])
        take(report)

    device = rig.ctap()
    rig.reader.on_report = record
    with pytest.raises(CtapError):
        device.selection()
    gaps = [b - a for a, b in pairwise(times)]
    assert len(times) > 290
    assert max(gaps) <= 105
    assert set(statuses[:-1]) == {2}  # the user is needed; the last may come after the wait


def test_a_finger_that_lies_there_already_is_no_presence(rig: Rig) -> None:
    rig.sensor.present("thumb")
    with pytest.raises(CtapError) as refused:
        rig.ctap().selection()
    assert refused.value.code == ERR.USER_ACTION_TIMEOUT


@pytest.mark.parametrize(("ms", "alive"), [(599_900, True), (600_020, False)])
def test_a_token_lives_ten_minutes(rig: Rig, ms: int, alive: bool) -> None:
    management = rig.management()
    issued = rig.reader.clock.now
    assert management.get_metadata()  # first use: without one it ends after thirty seconds
    rig.reader.run_to(issued + ms * 1000)
    if alive:
        management.get_metadata()
    else:
        with pytest.raises(CtapError) as refused:
            management.get_metadata()
        assert refused.value.code == ERR.PIN_AUTH_INVALID


@pytest.mark.parametrize(("ms", "alive"), [(29_900, True), (30_020, False)])
def test_a_token_that_is_not_used_ends_after_thirty_seconds(rig: Rig, ms: int, alive: bool) -> None:
    management = rig.management()
    rig.reader.run_for(ms)
    if alive:
        management.get_metadata()
    else:
        with pytest.raises(CtapError):
            management.get_metadata()


def test_using_a_token_makes_it_no_younger(rig: Rig) -> None:
    """6.5.5.7: ten minutes since it was given, however often it is used."""
    management = rig.management()
    for _ in range(21):
        management.get_metadata()
        rig.reader.run_for(28_500)  # 598.5 s in all
    management.get_metadata()
    rig.reader.run_for(3_000)
    with pytest.raises(CtapError) as refused:
        management.get_metadata()
    assert refused.value.code == ERR.PIN_AUTH_INVALID


def test_a_wrong_proof_is_no_use_of_a_token(rig: Rig) -> None:
    """6.5.2.1: whoever does not hold it keeps it alive no longer than thirty seconds."""
    management = rig.management()
    stranger = CredentialManagement(management.ctap, management.pin_uv.protocol, bytes(32))
    with pytest.raises(CtapError):
        stranger.get_metadata()
    rig.reader.run_for(31_000)
    with pytest.raises(CtapError) as refused:
        management.get_metadata()
    assert refused.value.code == ERR.PIN_AUTH_INVALID


@pytest.mark.parametrize(("ms", "lasts"), [(29_900, True), (30_020, False)])
def test_the_touch_of_a_token_lasts_thirty_seconds_also_when_the_token_lives(
    rig: Rig, ms: int, lasts: bool
) -> None:
    """6.5.2.1, the user-present time limit: the token is in use, and its touch is over."""
    rig.register()
    client_pin = ClientPin(rig.ctap())
    token = client_pin.get_uv_token(
        PERMISSION.MAKE_CREDENTIAL | PERMISSION.CREDENTIAL_MGMT, "example.com",
        on_keepalive=rig.pressing(),
    )  # fmt: skip
    issued = rig.reader.clock.now
    management = CredentialManagement(client_pin.ctap, client_pin.protocol, token)
    management.enumerate_creds(sha256(b"example.com").digest())
    rig.reader.run_to(issued + ms * 1000)
    asked: list[int] = []

    def press(status: int) -> None:
        asked.append(status)
        if status == 2:
            rig.sensor.press("index")

    client_pin.ctap.make_credential(
        bytes(32), {"id": "example.com", "name": "x"}, {"id": b"u", "name": "u"},
        [{"type": "public-key", "alg": -7}], on_keepalive=press,
        pin_uv_param=client_pin.protocol.authenticate(token, bytes(32)), pin_uv_protocol=2,
    )  # fmt: skip
    assert (2 not in asked) == lasts


def test_all_tries_of_a_verification_have_thirty_seconds_together(rig: Rig) -> None:
    """6.5.2.3: it ends when its time is over, and a wrong finger gives it no other."""
    host = Host(rig)
    _, keys = host.ask(CLIENT_PIN, {1: 2, 2: 2})
    began = rig.reader.clock.now
    rig.reader.clock.after(20_000_000, lambda: rig.sensor.press("stranger"))
    assert host.status(CLIENT_PIN, {1: 2, 2: 6, 3: keys[1], 9: 4}) == 0x2F
    assert rig.reader.clock.now - began < 31_500_000  # µs, with what is computed
    assert host.ask(CLIENT_PIN, {2: 7}) == (0, {5: 4})


# The time begins with the list; the first signature, half a second of work, comes after it.
@pytest.mark.parametrize(("ms", "alive"), [(29_200, True), (30_200, False)])
def test_next_assertion_within_thirty_seconds(rig: Rig, ms: int, alive: bool) -> None:
    for user in (b"anna", b"bert", b"carl"):
        rig.register(user)
    ctap = rig.ctap()
    client_pin = ClientPin(ctap)
    token = client_pin.get_pin_token(PIN, PERMISSION.GET_ASSERTION, "example.com")
    param = client_pin.protocol.authenticate(token, b"\x03" * 32)
    first = ctap.get_assertion(
        "example.com",
        b"\x03" * 32,
        pin_uv_param=param,
        pin_uv_protocol=2,
        on_keepalive=rig.pressing(),
    )
    assert first.number_of_credentials == 3
    rig.reader.run_for(ms)
    if alive:
        assert ctap.get_next_assertion().user["id"] == b"bert"
        rig.reader.run_for(ms)  # each one starts the time again
        assert ctap.get_next_assertion().user["id"] == b"anna"
        alive = False
    with pytest.raises(CtapError) as refused:
        ctap.get_next_assertion()
    assert refused.value.code == ERR.NOT_ALLOWED


def test_the_finger_that_gave_the_token_is_presence_for_the_command(rig: Rig) -> None:
    client_pin = ClientPin(rig.ctap())
    token = client_pin.get_uv_token(
        PERMISSION.MAKE_CREDENTIAL, "example.com", on_keepalive=rig.pressing()
    )
    rig.reader.run_for(29_000)
    asked: list[int] = []
    param = client_pin.protocol.authenticate(token, b"\x04" * 32)
    client_pin.ctap.make_credential(
        b"\x04" * 32, {"id": "example.com", "name": "x"}, {"id": b"u", "name": "u"},
        [{"type": "public-key", "alg": -7}], pin_uv_param=param, pin_uv_protocol=2,
        on_keepalive=asked.append,
    )  # fmt: skip
    assert 2 not in asked


def test_a_message_that_stops_half_way_ends_after_half_a_second(rig: Rig) -> None:
    reader = rig.reader
    channel = _channel(rig)
    reader.write_report(channel + b"\x81\x00\xc8" + bytes(57))
    assert not reader.run_until(lambda: bool(reader.reports), limit_ms=495)
    assert reader.run_until(lambda: bool(reader.reports), limit_ms=20)
    assert reader.reports.popleft()[4:8] == b"\xbf\x00\x01\x05"


def _channel(rig: Rig) -> bytes:
    reader = rig.reader
    reader.reports.clear()
    reader.write_report(b"\xff\xff\xff\xff\x86\x00\x08" + b"nonce678")
    assert reader.run_until(lambda: bool(reader.reports), limit_ms=100)
    return reader.reports.popleft()[15:19]


def test_times_do_not_depend_on_the_computer(new_rig: Callable[..., Rig]) -> None:
    """The same seed gives the same run, to the microsecond."""

    def life() -> tuple[int, bytes]:
        rig = new_rig(seed=7)
        ClientPin(rig.ctap()).get_pin_retries()
        rig.ctap().selection(on_keepalive=rig.pressing())
        return rig.reader.clock.now, rig.image_of_flash()

    assert life() == life()


# The chip's ticks count to 2³⁰ ms: after six days what was long ago looks as if it were to come.
_WEEK_US = 7 * 86_400_000_000


def _a_week(rig: Rig) -> None:
    """Passes, and nobody asks anything. The first minute of it as it is."""
    rig.reader.run_for(60_000)
    rig.reader.clock.now += _WEEK_US
    rig.reader.run_for(1000)


def test_nothing_goes_on_after_a_week(rig: Rig) -> None:
    """6.3 step 3, and 6.5.2.1."""
    protect = {"credentialProtectionPolicy": "userVerificationOptional"}
    for user in (b"anna", b"bert"):
        rig.register(user, extensions=protect)
    host = Host(rig)
    status, answer = host.ask(ASSERT, {1: "example.com", 2: HASH}, press="index")
    assert (status, answer[5]) == (0, 2)
    _a_week(rig)
    assert host.status(NEXT) == 0x30
    client, token = rig.token(PERMISSION.CREDENTIAL_MGMT)
    manager = CredentialManagement(client.ctap, client.protocol, token)
    _a_week(rig)
    with pytest.raises(CtapError) as refused:
        manager.get_metadata()
    assert refused.value.code == ERR.PIN_AUTH_INVALID


def test_a_sensor_is_found_again_after_a_week(rig: Rig) -> None:
    """One of its wires had no contact for a second, and somebody asked meanwhile."""
    _a_week(rig)
    sends, rig.sensor.on_send = rig.sensor.on_send, lambda _data: None
    assert not rig.ctap().info.options["uv"]
    rig.sensor.on_send = sends
    rig.reader.run_for(5000)
    assert rig.ctap().info.options["uv"]


def test_no_reset_after_a_week(rig: Rig) -> None:
    _a_week(rig)
    with pytest.raises(CtapError) as refused:
        rig.ctap().reset(on_keepalive=rig.pressing())
    assert refused.value.code == ERR.NOT_ALLOWED
