"""Garbage, unplugging at every packet, and a sensor that fails at every step."""

from __future__ import annotations

import json
import random
from collections.abc import Callable

import pytest
from fido2.ctap import CtapError
from fido2.ctap2 import ClientPin
from fido2.ctap2.pin import PinProtocolV2

from tallystick.tools.campaign.reader.sensor import ScriptedSensor
from tests.emulator.reader.conftest import Life
from tests.emulator.reader.fuzz import Fuzzer
from tests.emulator.reader.rig import PIN, Rig

PERMISSION = ClientPin.PERMISSION


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_fuzz_sample(rig: Rig, seed: int) -> None:
    """The whole of it is `make fuzz-reader`."""
    fuzzer = Fuzzer(rig, seed)
    fuzzer.run(1500)
    fuzzer.finish()
    assert fuzzer.answers > 100
    rig.ctap().get_info()
    assert rig.token(PERMISSION.CREDENTIAL_MGMT)


def _reports_of(rig: Rig, work: Callable[[Rig], object]) -> int:
    """How many reports a piece of work takes, both ways together."""
    count = 0
    write, take = rig.reader.write_report, rig.reader.on_report

    def counted_write(report: bytes) -> None:
        nonlocal count
        count += 1
        write(report)

    def counted_take(report: bytes) -> None:
        nonlocal count
        count += 1
        take(report)

    rig.reader.write_report, rig.reader.on_report = counted_write, counted_take  # type: ignore[method-assign]
    work(rig)
    rig.reader.write_report, rig.reader.on_report = write, take  # type: ignore[method-assign]
    return count


class _PulledOutError(Exception):
    pass


def _pull_at(rig: Rig, number: int) -> None:
    """Pulls the reader out when report `number` passes."""
    seen = 0
    write, take = rig.reader.write_report, rig.reader.on_report

    def passes() -> None:
        nonlocal seen
        if seen == number:
            raise _PulledOutError
        seen += 1

    def pulled_write(report: bytes) -> None:
        passes()
        write(report)

    def pulled_take(report: bytes) -> None:
        passes()
        take(report)

    rig.reader.write_report, rig.reader.on_report = pulled_write, pulled_take  # type: ignore[method-assign]


def _log_in(rig: Rig) -> None:
    ctap = rig.ctap()
    client_pin = ClientPin(ctap)
    token = client_pin.get_uv_token(
        PERMISSION.MAKE_CREDENTIAL, "example.com", on_keepalive=rig.pressing()
    )
    param = client_pin.protocol.authenticate(token, b"\x05" * 32)
    ctap.make_credential(
        b"\x05" * 32, {"id": "example.com", "name": "x"}, {"id": b"u", "name": "u"},
        [{"type": "public-key", "alg": -7}], options={"rk": True},
        pin_uv_param=param, pin_uv_protocol=2, on_keepalive=rig.pressing(),
    )  # fmt: skip


def test_unplugged_at_every_packet(new_rig: Callable[..., Rig], in_service: object) -> None:
    """Of a registration: afterwards the credential is there whole or not at all, retries never
    rose.
    """
    total = _reports_of(new_rig(in_service), _log_in)
    for number in range(total):
        rig = new_rig(in_service)
        _pull_at(rig, number)
        with pytest.raises(_PulledOutError):
            _log_in(rig)
        rig.reader.power_off()
        again = new_rig(type(in_service)(rig.image_of_flash(), rig.sensor))
        assert again.ctap().info.options["uv"]
        assert ClientPin(again.ctap()).get_uv_retries() in (4, 5)
        management = again.management()
        found = management.get_metadata()[1]
        assert found in (0, 1)
        if found:
            (party,) = management.enumerate_rps()
            (entry,) = management.enumerate_creds(party[4])
            assert entry[6]["id"] == b"u"
        rig.close()
        again.close()


def _verify(rig: Rig) -> CtapError.ERR | None:
    """A fingerprint token: None when it came, or the status."""
    try:
        ClientPin(rig.ctap()).get_uv_token(
            PERMISSION.GET_ASSERTION, "example.com", on_keepalive=rig.pressing()
        )
    except CtapError as error:
        return error.code
    return None


def test_sensor_unplugged_at_every_step(new_rig: Callable[..., Rig], in_service: object) -> None:
    rig = new_rig(in_service)
    rig.sensor.commands.clear()
    assert _verify(rig) is None
    steps = len(rig.sensor.commands)
    assert steps >= 4
    for step in range(steps):
        rig = new_rig(in_service)
        rig.sensor.commands.clear()
        rig.sensor.fault = lambda _, s=step, r=rig: len(r.sensor.commands) > s
        status = _verify(rig)
        # Before the finger is asked for there is no user verification at all.
        assert status in (None, CtapError.ERR.UV_BLOCKED, CtapError.ERR.NOT_ALLOWED)
        info = rig.ctap().info
        if status is not None:
            # The platform is told to take the PIN, which works.
            assert not info.options["uv"]
        assert rig.token(PERMISSION.CREDENTIAL_MGMT)
        rig.sensor.fault = lambda _: False
        rig.sensor.lift()
        rig.reader.run_for(4000)  # it is looked for again, and found
        assert rig.ctap().info.options["uv"]
        assert _verify(rig) is None
        rig.close()


def test_a_noisy_line_to_the_sensor(rig: Rig) -> None:
    """One answer in four is damaged: it may be refused, it is never mistaken."""
    rng = random.Random(5)

    def garble(packet: bytes) -> bytes:
        if rng.random() > 0.25:
            return packet
        at = rng.randrange(len(packet))
        return packet[:at] + bytes((packet[at] ^ 1 << rng.randrange(8),)) + packet[at + 1 :]

    rig.sensor.garble = garble
    outcomes = [_verify(rig) for _ in range(10)]
    assert None in outcomes
    # Time-out: the line ate the try, and nobody pressed again.
    error = CtapError.ERR
    assert set(outcomes) <= {
        None, error.UV_BLOCKED, error.UV_INVALID, error.NOT_ALLOWED, error.USER_ACTION_TIMEOUT,
    }  # fmt: skip
    rig.sensor.garble = lambda packet: packet


def test_another_sensor_verifies_nobody(rig: Rig) -> None:
    """Somebody puts in a module with a finger of his own on page 0."""
    stranger = ScriptedSensor(rig.reader.clock)
    stranger.templates = {0: "mallory"}
    rig.reader.unplug_sensor()
    rig.reader.power_off()
    rig.sensor = stranger
    rig.reader.plug_sensor(stranger)
    rig.reader.power_on()
    assert not rig.ctap().info.options["uv"]
    with pytest.raises(CtapError):
        ClientPin(rig.ctap()).get_uv_token(
            PERMISSION.GET_ASSERTION, "example.com", on_keepalive=rig.pressing("mallory")
        )
    assert rig.token(PERMISSION.CREDENTIAL_MGMT)


def test_no_sensor_at_all(fresh: Rig) -> None:
    fresh.reader.unplug_sensor()
    fresh.replug()
    ClientPin(fresh.ctap()).set_pin(PIN)
    assert not fresh.ctap().info.options["uv"]
    client_pin, token = fresh.token(PERMISSION.BIO_ENROLL)
    from fido2.ctap2.bio import FPBioEnrollment

    with pytest.raises(CtapError) as refused:
        FPBioEnrollment(client_pin.ctap, client_pin.protocol, token).enroll().capture()
    assert refused.value.code == CtapError.ERR.OPERATION_DENIED


def test_a_template_without_its_record_counts_for_nothing(rig: Rig) -> None:
    """As after a cut between the sensor's store and ours."""
    rig.sensor.templates[5] = "ghost"
    assert _verify_with(rig, "ghost") == CtapError.ERR.UV_INVALID
    rig.replug()
    assert 5 not in rig.sensor.templates


def _verify_with(rig: Rig, finger: str) -> CtapError.ERR | None:
    def press(status: int) -> None:
        if status == 2:
            for n in range(3):
                rig.reader.clock.after(n * 1_500_000, lambda: rig.sensor.press(finger))

    try:
        ClientPin(rig.ctap()).get_uv_token(
            PERMISSION.GET_ASSERTION, "example.com", on_keepalive=press
        )
    except CtapError as error:
        return error.code
    return None


def test_secrets_are_in_no_report_and_not_in_the_flash(rig: Rig) -> None:
    """The PIN, its hash, the user's names: searched for in everything that left the chip."""
    from hashlib import sha256

    seen = bytearray()
    take = rig.reader.on_report

    def record(report: bytes) -> None:
        seen.extend(report[5:])
        take(report)

    rig.reader.on_report = record
    rig.register(b"grace-hopper-71")
    digest = sha256(PIN.encode()).digest()
    flash = rig.image_of_flash()
    records = rig.reader.board.journal
    stored = flash[records.address : records.end]
    for secret in (digest[:16], b"grace-hopper-71", b"example.com"):
        assert secret not in stored
    assert digest[:16] not in bytes(seen)
    # In what is told of an event: its time in µs may have those digits by chance.
    told = [json.loads(line)["detail"] for line in rig.reader.trace.json_lines().splitlines()]
    assert told and not [one for one in told if PIN in one]


def test_a_sensor_that_starts_anew_is_opened_again(rig: Rig) -> None:
    """Its cable was out for a moment: the byte that it sends when it starts is heard."""
    rig.reader.run_for(1000)  # it has started, and found the sensor
    rig.reader.unplug_sensor()
    rig.reader.run_for(500)
    rig.reader.plug_sensor(rig.sensor)
    operations = rig.reader.mcu.boots
    rig.reader.run_for(2000)
    assert rig.reader.mcu.boots == operations
    assert rig.ctap().info.options["uv"]
    assert _verify(rig) is None


def test_an_answer_is_whole_while_the_host_keeps_sending(rig: Rig) -> None:
    """Strays and cancels arrive while seven packets go out: none of the seven is lost."""
    reader = rig.reader
    reader.reports.clear()
    reader.write_report(b"\xff\xff\xff\xff\x86\x00\x08" + b"nonce678")
    assert reader.run_until(lambda: bool(reader.reports), limit_ms=100)
    channel = reader.reports.popleft()[15:19]
    reader.write_report(channel + b"\x90\x00\x01\x04")
    for n in range(12):
        reader.write_report(channel + (b"\x91\x00\x00" if n % 2 else bytes((n,))))
    reader.run_for(200)
    first = reader.reports.popleft()
    size = int.from_bytes(first[5:7], "big")
    packets = 1 + -(-(size - 57) // 59)
    rest = [report[4] for report in list(reader.reports)[: packets - 1]]
    assert rest == list(range(packets - 1))


def test_a_reader_with_damaged_records_says_what_it_is_and_can_be_reset(
    new_rig: Callable[..., Rig], in_service: Life
) -> None:
    """Nothing else is answered; afterwards all is new, and the sensor is the same one."""
    spoiled = bytearray(in_service.flash)
    journal = new_rig().reader.board.journal
    for at in range(journal.address, journal.end):
        if spoiled[at] != 0xFF:
            spoiled[at] ^= 0x11
    rig = new_rig(Life(bytes(spoiled), in_service.sensor))
    assert rig.sensor.password and rig.sensor.templates
    info = rig.ctap().info
    assert info.aaguid and not info.options.get("clientPin")
    with pytest.raises(CtapError) as refused:
        ClientPin(rig.ctap(), PinProtocolV2()).get_pin_retries()
    assert refused.value.code == CtapError.ERR.OTHER
    rig.replug()
    rig.ctap().reset(on_keepalive=rig.pressing())
    assert rig.sensor.templates == {}
    ClientPin(rig.ctap()).set_pin(PIN)
    rig.enrol("thumb")
    assert rig.log_in([rig.register().credential_data])


def test_damaged_records_are_not_reset_by_mistake(
    new_rig: Callable[..., Rig], in_service: Life
) -> None:
    """As any reset: not after the first ten seconds, not without a touch."""
    spoiled = bytearray(in_service.flash)
    journal = new_rig().reader.board.journal
    spoiled[journal.address : journal.end] = bytes(journal.size)
    rig = new_rig(Life(bytes(spoiled), in_service.sensor))
    rig.reader.run_for(10_000)
    with pytest.raises(CtapError) as late:
        rig.ctap().reset(on_keepalive=rig.pressing())
    assert late.value.code == CtapError.ERR.NOT_ALLOWED
    rig.replug()
    with pytest.raises(CtapError) as alone:
        rig.ctap().reset()
    assert alone.value.code == CtapError.ERR.USER_ACTION_TIMEOUT
    assert rig.reader.flash.memory[journal.address : journal.end] == bytes(journal.size)
