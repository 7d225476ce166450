"""Two programs at one reader, and commands in an order that nobody expects. Sections are of CTAP
2.1."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from typing import Any

import pytest
from fido2 import cbor
from fido2.ctap2 import ClientPin, Ctap2
from fido2.ctap2.bio import FPBioEnrollment
from fido2.ctap2.config import Config
from fido2.ctap2.credman import CredentialManagement

from tests.emulator.reader.conftest import Life
from tests.emulator.reader.raw import (
    ASSERT,
    BIO,
    BLOBS,
    CONFIG,
    CREDENTIALS,
    ES256,
    HASH,
    INFO,
    MAKE,
    NEXT,
    PARTY,
    PIN,
    RESET,
    SELECTION,
    USER,
    Host,
    permitted,
    refused,
)  # fmt: skip
from tests.emulator.reader.rig import Rig
from tests.whole import WHOLE

PERMISSION = ClientPin.PERMISSION
UP, UV = 1, 4


def _flags(answer: Any) -> int:
    return answer[2][32]


@pytest.fixture
def two(rig: Rig) -> Rig:
    """With two credentials of one relying party."""
    for user in (b"user-1", b"user-2"):
        rig.register(user, extensions={"credentialProtectionPolicy": "userVerificationOptional"})
    return rig


# -- presence ----------------------------------------------------------------------------------


@pytest.mark.parametrize("command", [ASSERT, MAKE])
def test_another_channel_cannot_use_a_tokens_touch(two: Rig, command: int) -> None:
    """6.1.2 step 14 and 6.2.2 step 9: the token's presence is for requests that carry it."""
    permitted(
        two, PERMISSION.GET_ASSERTION | PERMISSION.MAKE_CREDENTIAL, "example.com", finger=True
    )
    two.sensor.lift()
    two.reader.run_for(1000)
    other = Host(two)
    request: dict[int, Any] = {1: "example.com", 2: HASH}
    if command == MAKE:
        request = {1: HASH, 2: PARTY, 3: USER, 4: ES256}
    began = two.reader.clock.now
    assert other.status(command, request) == 0x27
    assert two.reader.clock.now - began > 29_000_000  # µs


def test_a_touch_of_its_own_is_enough(two: Rig) -> None:
    permitted(two, PERMISSION.GET_ASSERTION, "example.com", finger=True)
    status, answer = Host(two).ask(ASSERT, {1: "example.com", 2: HASH}, press="index")
    assert status == 0
    assert _flags(answer) & (UP | UV) == UP


def test_the_request_with_the_token_needs_no_second_touch(two: Rig) -> None:
    client, token = permitted(two, PERMISSION.GET_ASSERTION, "example.com", finger=True)
    param = client.protocol.authenticate(token, HASH)
    answer = client.ctap.get_assertion(
        "example.com", HASH, pin_uv_param=param, pin_uv_protocol=client.protocol.VERSION
    )
    assert answer.auth_data.flags & (UP | UV) == UP | UV


# -- sequences ---------------------------------------------------------------------------------


def _begin_assertions(rig: Rig, host: Host) -> None:
    status, answer = host.ask(ASSERT, {1: "example.com", 2: HASH}, press="thumb")
    assert (status, answer[5]) == (0, 2)


def _next_assertion(rig: Rig, host: Host) -> int:
    return host.status(NEXT)


def _manager(rig: Rig, host: Host) -> CredentialManagement:
    client = ClientPin(_over(rig, host))
    token = client.get_pin_token("2468", PERMISSION.CREDENTIAL_MGMT)
    return CredentialManagement(client.ctap, client.protocol, token)


def _over(rig: Rig, host: Host) -> Any:
    return Ctap2(host.device)


def _begin_credentials(rig: Rig, host: Host) -> None:
    manager = _manager(rig, host)
    party = manager.enumerate_rps()[0]
    assert manager.enumerate_creds_begin(party[4])[9] == 2


def _next_credential(rig: Rig, host: Host) -> int:
    return host.status(CREDENTIALS, {1: 5})


def _begin_parties(rig: Rig, host: Host) -> None:
    status, _ = host.ask(
        MAKE, {1: HASH, 2: {"id": "other.example"}, 3: USER, 4: ES256,
               7: {"rk": True, "uv": True}}, press="thumb",
    )  # fmt: skip
    assert status == 0
    assert _manager(rig, host).enumerate_rps_begin()[5] == 2


def _next_party(rig: Rig, host: Host) -> int:
    return host.status(CREDENTIALS, {1: 3})


def _fragment(client: ClientPin, token: bytes, offset: int, part: bytes) -> dict[int, Any]:
    message = b"\xff" * 32 + b"\x0c\x00" + offset.to_bytes(4, "little") + sha256(part).digest()
    param = client.protocol.authenticate(token, message)
    return {2: part, 3: offset, 5: param, 6: client.protocol.VERSION}


_TOKENS: dict[int, tuple[ClientPin, bytes]] = {}


def _begin_blob(rig: Rig, host: Host) -> None:
    client = ClientPin(_over(rig, host))
    token = client.get_pin_token("2468", PERMISSION.LARGE_BLOB_WRITE)
    _TOKENS[id(rig)] = client, token
    assert host.status(BLOBS, {**_fragment(client, token, 0, bytes(20)), 4: 40}) == 0


def _next_fragment(rig: Rig, host: Host) -> int:
    """A last one that does not fit the array's hash (3D), or what refuses it before that."""
    status = host.status(BLOBS, _fragment(*_TOKENS[id(rig)], 20, bytes(20)))
    return 0 if status == 0x3D else status


SEQUENCES = {
    "assertions": (_begin_assertions, _next_assertion, 0x30),
    "credentials": (_begin_credentials, _next_credential, 0x30),
    "parties": (_begin_parties, _next_party, 0x30),
    "blob": (_begin_blob, _next_fragment, 0x04),
}
_each = pytest.mark.parametrize("kind", list(SEQUENCES))
Step = Callable[[Rig, Host], int]


def _begun(rig: Rig, kind: str) -> tuple[Host, Callable[[Host], int], int]:
    host = Host(rig)
    begin, go_on, status = SEQUENCES[kind]
    begin(rig, host)
    return host, lambda channel: go_on(rig, channel), status


@_each
def test_a_sequence_goes_on(two: Rig, kind: str) -> None:
    host, go_on, over = _begun(two, kind)
    two.reader.run_for(29_000)
    assert go_on(host) == 0
    assert go_on(host) == over


@_each
def test_a_sequence_belongs_to_its_channel(two: Rig, kind: str) -> None:
    """6: what it answers is for who began it."""
    host, go_on, over = _begun(two, kind)
    assert go_on(Host(two)) == over
    assert go_on(host) == over


@_each
def test_a_sequence_lasts_thirty_seconds(two: Rig, kind: str) -> None:
    """6.3 step 3."""
    host, go_on, over = _begun(two, kind)
    two.reader.run_for(30_100)
    assert go_on(host) == over


BETWEEN: dict[str, tuple[int, Any]] = {
    "information": (INFO, None),
    "retries": (PIN, {2: 1}),
    "key agreement": (PIN, {1: 2, 2: 2}),
    "blob read": (BLOBS, {1: 10, 3: 0}),
    "unknown command": (0x55, None),
    "malformed": (ASSERT, {1: 1}),
    "cancelled enrolment": (BIO, {1: 1, 2: 3}),
    "refused": (CREDENTIALS, {1: 1}),
}


@_each
@pytest.mark.parametrize("between", list(BETWEEN))
@pytest.mark.parametrize("same", [True, False])
def test_any_other_command_ends_a_sequence(two: Rig, kind: str, between: str, same: bool) -> None:
    """6: each is preceded by its own kind, or by what began it, and by nothing else."""
    host, go_on, over = _begun(two, kind)
    (host if same else Host(two)).ask(*BETWEEN[between])
    assert go_on(host) == over


def _begin_anew(rig: Rig, host: Host) -> None:
    """INIT on a channel that was given (11.2.9.1.3)."""
    rig.reader.reports.clear()
    rig.reader.write_report(_number(host) + b"\x86\x00\x08" + b"12345678" + bytes(49))
    rig.reader.run_for(100)
    rig.reader.reports.clear()


def _number(host: Host) -> bytes:
    return host.device._channel_id.to_bytes(4, "big")


@_each
@pytest.mark.parametrize("own", [True, False])
def test_a_sequence_ends_when_its_channel_begins_anew(two: Rig, kind: str, own: bool) -> None:
    """11.2.9.1.3: INIT discards the state of its channel, and of no other one."""
    host, go_on, over = _begun(two, kind)
    _begin_anew(two, host if own else Host(two))
    assert go_on(host) == (over if own else 0)


def test_an_assertion_that_nobody_waited_for_has_no_next_one(two: Rig) -> None:
    """11.2.9.1.3: INIT while it is signed, which nothing stops."""
    host = Host(two)
    message = bytes((ASSERT,)) + cbor.encode({1: "example.com", 2: HASH})
    head = _number(host) + b"\x90" + len(message).to_bytes(2, "big")
    two.reader.write_report((head + message).ljust(64, b"\0"))
    two.sensor.press("thumb", after_ms=200)
    reports = two.reader.reports
    two.reader.run_until(lambda: any(one[7] == 2 for one in reports), limit_ms=1000)
    two.reader.run_until(lambda: reports and reports[-1][7] == 1, limit_ms=1000)
    _begin_anew(two, host)
    two.reader.run_for(3000)
    assert not reports
    assert host.status(NEXT) == 0x30


def test_a_sequence_ends_with_its_token(rig: Rig) -> None:
    """6: also one that is going on all the time. 6.5.5.7: a token lasts ten minutes."""
    for number in range(24):
        rig.register(b"user-%d" % number)
    host = Host(rig)
    manager = _manager(rig, host)
    party = manager.enumerate_rps()[0]
    assert manager.enumerate_creds_begin(party[4])[9] == 24
    for _ in range(20):
        rig.reader.run_for(29_000)
        assert _next_credential(rig, host) == 0
    rig.reader.run_for(25_000)
    assert _next_credential(rig, host) == 0x30


def test_a_deleted_credential_is_not_asserted(two: Rig) -> None:
    host, go_on, over = _begun(two, "assertions")
    manager = two.management()
    party = manager.enumerate_rps()[0]
    for entry in manager.enumerate_creds(party[4]):
        manager.delete_cred(entry[7])
    assert go_on(host) == over
    assert two.ctap().get_info()


@_each
def test_a_reset_ends_a_sequence(new_rig: Callable[..., Rig], two: Rig, kind: str) -> None:
    rig = new_rig(Life(two.image_of_flash(), two.sensor))
    two.close()
    host, go_on, over = _begun(rig, kind)
    assert host.status(RESET, press="thumb") == 0
    assert go_on(host) == (0x04 if kind == "blob" else over)
    assert ClientPin(rig.ctap()).get_pin_retries()[0] == 8


# -- enrolment ---------------------------------------------------------------------------------


def _enrolment(rig: Rig) -> tuple[Host, Callable[[Host, str], tuple[int, Any]]]:
    """An enrolment of which one sample is taken, and how it goes on: (channel, finger)."""
    host = Host(rig)
    client = ClientPin(_over(rig, host))
    token = client.get_pin_token("2468", PERMISSION.BIO_ENROLL)
    bio = FPBioEnrollment(client.ctap, client.protocol, token)
    template, status, left = bio.enroll_begin(on_keepalive=rig.pressing("index"))
    assert (status, left) == (0, 5)
    parameters = {1: template}

    def go_on(channel: Host, finger: str) -> tuple[int, Any]:
        param = client.protocol.authenticate(token, b"\x01\x02" + cbor.encode(parameters))
        request = {1: 1, 2: 2, 3: parameters, 4: client.protocol.VERSION, 5: param}
        return channel.ask(BIO, request, press=finger)

    return host, go_on


def test_an_enrolment_goes_on(rig: Rig) -> None:
    host, go_on = _enrolment(rig)
    assert Host(rig).status(INFO) == 0  # needs no finger
    for left in (4, 3, 2, 1, 0):
        status, answer = go_on(host, "index")
        assert (status, answer) == (0, {5: 0, 6: left})


def test_an_enrolment_belongs_to_its_channel(rig: Rig) -> None:
    _, go_on = _enrolment(rig)
    assert go_on(Host(rig), "thumb")[0] == 0x02


def test_a_channel_that_begins_anew_has_no_enrolment(rig: Rig) -> None:
    """11.2.9.1.3."""
    host, go_on = _enrolment(rig)
    _begin_anew(rig, Host(rig))
    assert go_on(host, "index")[0] == 0
    _begin_anew(rig, host)
    assert go_on(host, "index")[0] == 0x02


def test_a_pulled_cable_ends_an_enrolment(rig: Rig) -> None:
    host, go_on = _enrolment(rig)
    rig.reader.unplug_sensor()
    began = rig.reader.clock.now
    assert go_on(host, "index")[0] == 0x27
    assert rig.reader.clock.now - began < 5_000_000  # µs
    rig.reader.plug_sensor(rig.sensor)
    rig.reader.run_for(500)
    assert go_on(host, "index")[0] == 0x02


@pytest.mark.parametrize("command", ["log in", "token", "touch", "register"])
def test_another_use_of_the_sensor_ends_an_enrolment(rig: Rig, command: str) -> None:
    host, go_on = _enrolment(rig)
    other = Host(rig)
    if command == "log in":
        other.ask(ASSERT, {1: "example.com", 2: HASH, 5: {"uv": True}}, press="thumb")
    elif command == "token":
        client = ClientPin(_over(rig, other))
        client.get_uv_token(PERMISSION.CREDENTIAL_MGMT, on_keepalive=rig.pressing())
        assert rig.management()
    elif command == "touch":
        assert other.status(SELECTION, press="thumb") == 0
    else:
        other.ask(MAKE, {1: HASH, 2: PARTY, 3: USER, 4: ES256}, press="thumb")
    assert go_on(host, "index")[0] in (0x02, 0x33)
    assert rig.sensor.templates == {0: "thumb"}


# -- what only the PIN may ---------------------------------------------------------------------


def test_a_finger_does_not_configure(rig: Rig) -> None:
    """6.5.5.7.3: acfg takes uvAcfg, which getInfo does not have."""
    assert not rig.ctap().info.options.get("uvAcfg")
    assert refused(lambda: permitted(rig, PERMISSION.AUTHENTICATOR_CFG, finger=True)) == 0x40
    both = PERMISSION.AUTHENTICATOR_CFG | PERMISSION.CREDENTIAL_MGMT
    assert refused(lambda: permitted(rig, both, finger=True)) == 0x40
    assert refused(lambda: permitted(rig, PERMISSION.AUTHENTICATOR_CFG)) == 0


def test_unknown_permissions_are_ignored(rig: Rig) -> None:
    """6.5.5.7."""
    assert refused(lambda: permitted(rig, 0x80 | PERMISSION.CREDENTIAL_MGMT)) == 0


def _force_change(rig: Rig) -> None:
    client, token = permitted(rig, PERMISSION.AUTHENTICATOR_CFG)
    Config(client.ctap, client.protocol, token).set_min_pin_length(force_change_pin=True)


def test_a_forced_change_ends_tokens(two: Rig) -> None:
    """6.11.4: what the old PIN opened is closed."""
    both = PERMISSION.AUTHENTICATOR_CFG | PERMISSION.CREDENTIAL_MGMT
    client, token = permitted(two, both)
    Config(client.ctap, client.protocol, token).set_min_pin_length(force_change_pin=True)
    manager = CredentialManagement(client.ctap, client.protocol, token)
    assert refused(manager.get_metadata) == 0x33
    configuration = Config(client.ctap, client.protocol, token)
    assert refused(configuration.toggle_always_uv) == 0x33


def test_a_longer_minimum_ends_tokens(two: Rig) -> None:
    both = PERMISSION.AUTHENTICATOR_CFG | PERMISSION.CREDENTIAL_MGMT
    client, token = permitted(two, both)
    Config(client.ctap, client.protocol, token).set_min_pin_length(6)
    assert refused(CredentialManagement(client.ctap, client.protocol, token).get_metadata) == 0x33


def test_before_a_forced_change_nothing_verifies(two: Rig) -> None:
    _force_change(two)
    assert refused(lambda: permitted(two, PERMISSION.CREDENTIAL_MGMT, finger=True)) == 0x37
    assert refused(lambda: permitted(two, PERMISSION.CREDENTIAL_MGMT)) == 0x37
    requests = [{1: "example.com", 2: HASH, 5: {"uv": True, "up": up}} for up in (True, False)]
    assert [Host(two).status(ASSERT, one, press="thumb") for one in requests] == [0x36, 0x36]
    ClientPin(two.ctap()).change_pin("2468", "13579")
    assert [Host(two).status(ASSERT, one, press="thumb") for one in requests] == [0, 0]


def test_verification_is_refused_where_there_is_none(fresh: Rig) -> None:
    """6.2.2 step 4, also where no presence is asked for."""
    for up in (True, False):
        assert Host(fresh).status(ASSERT, {**_ASSERT, 5: {"uv": True, "up": up}}) == 0x2C


# -- tries -------------------------------------------------------------------------------------


def _try_pin(host: Host, client: ClientPin, encrypted: bytes, command: int = 9) -> int:
    key, _ = client._get_shared_secret()
    request = {1: client.protocol.VERSION, 2: command, 3: key, 6: encrypted}
    if command == 9:
        request[9] = 4
    return host.status(PIN, request)


@pytest.mark.parametrize("size", [0, 1, 15, 16, 17, 31, 33, 48, 64])
@pytest.mark.parametrize("command", [5, 9])
def test_what_can_be_no_pin_costs_no_try(rig: Rig, size: int, command: int) -> None:
    """6.5.5.7: no retry is spent that is not counted as a wrong PIN."""
    host = Host(rig)
    client = ClientPin(_over(rig, host))
    for _ in range(9):
        assert _try_pin(host, client, bytes(size), command) == 0x02
    assert client.get_pin_retries() == (8, False)
    assert client.get_pin_token("2468")


def test_malformed_changes_cost_no_try(rig: Rig) -> None:
    host = Host(rig)
    client = ClientPin(_over(rig, host))
    for _ in range(9):
        key, secret = client._get_shared_secret()
        new, old = client.protocol.encrypt(secret, bytes(64)), bytes(15)
        param = client.protocol.authenticate(secret, new + old)
        request = {1: 2, 2: 4, 3: key, 4: param, 5: new, 6: old}
        assert host.status(PIN, request) == 0x02
    assert client.get_pin_retries() == (8, False)


def test_a_restart_of_the_firmware_asks_for_power(rig: Rig) -> None:
    """6.5.5.7: three wrong PINs, and power has to go. A restart is no power cycle."""
    client = ClientPin(rig.ctap())
    assert refused(lambda: client.get_pin_token("0000")) == 0x31
    rig.reader.mcu.reset()
    rig.reader.run_for(500)
    client = ClientPin(rig.ctap())
    assert client.get_pin_retries() == (7, True)
    assert refused(lambda: client.get_pin_token("2468")) == 0x34
    rig.replug()
    assert ClientPin(rig.ctap()).get_pin_token("2468")


def test_a_restart_with_all_tries_asks_for_nothing(rig: Rig) -> None:
    rig.reader.mcu.reset()
    rig.reader.run_for(500)
    assert ClientPin(rig.ctap()).get_pin_token("2468")


# -- the sensor's cable ------------------------------------------------------------------------


def test_a_pulled_cable_is_seen(two: Rig) -> None:
    host = Host(two)
    two.reader.unplug_sensor()
    status, information = host.ask(INFO)
    assert (status, information[4]["uv"]) == (0, False)
    began = two.reader.clock.now
    assert host.status(ASSERT, {1: "example.com", 2: HASH, 5: {"uv": True}}) == 0x2C
    assert host.status(ASSERT, {1: "example.com", 2: HASH}) == 0x27
    assert refused(lambda: permitted(two, PERMISSION.CREDENTIAL_MGMT, finger=True)) == 0x30
    assert host.status(SELECTION) == 0x27
    assert two.reader.clock.now - began < 15_000_000  # µs
    two.reader.plug_sensor(two.sensor)
    two.reader.run_for(500)
    assert host.ask(INFO)[1][4]["uv"] is True
    assert host.status(ASSERT, {1: "example.com", 2: HASH, 5: {"uv": True}}, press="thumb") == 0


@pytest.mark.parametrize(("options", "status"), [({"uv": True}, 0x36), ({}, 0x27)])
def test_a_cable_pulled_while_a_finger_is_awaited(two: Rig, options: Any, status: int) -> None:
    host = Host(two)
    two.reader.clock.after(1_000_000, two.reader.unplug_sensor)
    began = two.reader.clock.now
    assert host.status(ASSERT, {1: "example.com", 2: HASH, 5: options}) == status
    assert two.reader.clock.now - began < 10_000_000  # µs


# -- blocked -----------------------------------------------------------------------------------


def test_no_tries_left_and_a_pin(two: Rig) -> None:
    """6.2.2 step 6.2: the platform asks for the PIN."""
    host = Host(two)
    request = {1: "example.com", 2: HASH, 5: {"uv": True}}
    while ClientPin(two.ctap()).get_uv_retries():
        for at_ms in range(100, 10_000, 2000):
            two.reader.clock.after(at_ms * 1000, lambda: two.sensor.press("stranger"))
        assert host.status(ASSERT, request) == 0x36
        two.reader.run_for(10_000)
    assert host.status(ASSERT, request, press="thumb") == 0x36
    assert refused(lambda: permitted(two, PERMISSION.CREDENTIAL_MGMT, finger=True)) == 0x3C


# -- statuses ----------------------------------------------------------------------------------

_MAKE = {1: HASH, 2: PARTY, 3: USER, 4: ES256}
_ASSERT = {1: "example.com", 2: HASH}


def _float(request: Any) -> bytes:
    """With 1.0 where it says "1.0"."""
    return cbor.encode(request).replace(b"\x631.0", b"\xf9\x3c\x00")


STATUSES: list[tuple[int, Any, int]] = [
    # 8: a float is canonical; unknown extensions and options are ignored, whatever is in them
    (ASSERT, _float({**_ASSERT, 4: {"new": ["1.0"]}, 5: {"new": "1.0", "up": False}}), 0x2E),
    (ASSERT, _float({**_ASSERT, 2: "1.0"}), 0x11),
    (ASSERT, _float({**_ASSERT, 5: {"up": "1.0"}}), 0x11),
    (PIN, _float({2: "1.0"}), 0x11),
    # 6.10.2
    (BLOBS, {2: bytes(20), 3: 7}, 0x04),
    (BLOBS, {1: 10, 3: 0, 4: 20}, 0x02),
    (BLOBS, {1: 10, 3: 0, 5: bytes(32)}, 0x02),
    (BLOBS, {1: 10, 3: 0, 6: 2}, 0x02),
    (BLOBS, {1: 10}, 0x02),
    (BLOBS, {3: 0}, 0x02),
    (BLOBS, {1: 10, 2: b"x", 3: 0}, 0x02),
    (BLOBS, {1: True, 3: 0}, 0x11),
    (BLOBS, {1: 1, 3: 1 << 40}, 0x02),
    (BLOBS, {1: 1 << 40, 3: 0}, 0x03),
    # 6.11
    (CONFIG, {1: 0x01}, 0x02),
    (CONFIG, {1: 0x7F}, 0x02),
    (CONFIG, {1: 0xFF, 2: {}}, 0x02),
    (CONFIG, {1: True}, 0x11),
    (CONFIG, {1: "3"}, 0x11),
    (CONFIG, {}, 0x14),
    (CONFIG, {1: 2}, 0x36),
    (CONFIG, {1: 2, 4: bytes(32)}, 0x14),
    (CONFIG, {1: 2, 4: bytes(32), 3: 3}, 0x02),
    (CONFIG, {1: 2, 4: bytes(32), 3: True}, 0x11),
    (CONFIG, {1: 2, 4: "x", 3: 2}, 0x11),
    # 6.5.5
    (PIN, {2: True}, 0x11),
    (PIN, {2: "1"}, 0x11),
    (PIN, bytes.fromhex("a102f6"), 0x11),
    (PIN, {1: True, 2: 2}, 0x11),
    (PIN, {1: 3, 2: 2}, 0x02),
    (PIN, {2: 2}, 0x14),
    (PIN, {1: 2, 2: 9, 3: {}, 6: bytes(32), 9: True}, 0x11),
    (PIN, {1: 2, 2: 9, 3: {}, 6: bytes(32), 9: 0}, 0x02),
    (PIN, {1: 2, 2: 9, 3: {1: 2, -1: True, -2: bytes(32), -3: bytes(32)}, 6: bytes(32), 9: 4}, 2),
    (PIN, {1: 2, 2: 9, 3: {1: 2, -1: 1, -2: bytes(31), -3: bytes(33)}, 6: bytes(32), 9: 4}, 2),
    # 6.7
    (BIO, {1: 1, 2: True}, 0x11),
    (BIO, {1: 1, 2: "1"}, 0x11),
    (BIO, {1: 1, 2: 9}, 0x3E),
    (BIO, {1: 1, 2: 4, 5: 1, 4: 2}, 0x11),
    # 6.8
    (CREDENTIALS, {1: True}, 0x11),
    (CREDENTIALS, {1: "1"}, 0x11),
    (CREDENTIALS, {1: 8}, 0x3E),
    (CREDENTIALS, {1: 3}, 0x30),
    (CREDENTIALS, {1: 5}, 0x30),
    # 6.1.2
    (MAKE, {**_MAKE, 2: {"id": "example.com", "name": 1}}, 0x11),
    (MAKE, {**_MAKE, 2: {"id": "example.com", "icon": 1}}, 0x11),
    (MAKE, {**_MAKE, 3: {"id": b"user", "icon": 1}}, 0x11),
    (MAKE, {**_MAKE, 5: [{"id": b"x", "type": "public-key", "transports": "usb"}]}, 0x11),
    (MAKE, {**_MAKE, 7: {"up": False}}, 0x2C),
    (MAKE, {**_MAKE, 7: {"up": 1}}, 0x11),
    (MAKE, {**_MAKE, 8: bytes(32)}, 0x14),
    (MAKE, {**_MAKE, 8: bytes(32), 9: 3}, 0x02),
    (MAKE, {**_MAKE, 10: 1}, 0x02),
    (MAKE, {**_MAKE, 10: "1"}, 0x11),
    (MAKE, {**_MAKE, 7: {"rk": True}}, 0x36),
    # 6.2.2
    (ASSERT, cbor.encode({**_ASSERT, 3: False})[:-1] + b"\xf6", 0x11),
    (ASSERT, {**_ASSERT, 5: {"rk": False}}, 0x2B),
    (ASSERT, {**_ASSERT, 4: {"largeBlobKey": False}, 5: {"up": False}}, 0x2C),
    (ASSERT, {**_ASSERT, 6: bytes(32)}, 0x14),
    (ASSERT, {**_ASSERT, 5: {"up": False, "unknown": 1, "plat": "x"}}, 0x2E),
    (ASSERT, {1: "example.com"}, 0x14),
    (ASSERT, [], 0x11),
    (NEXT, None, 0x30),
    (NEXT, {}, 0x03),
]  # fmt: skip


@pytest.fixture(scope="module")
def asked(reader_image: Any, in_service: Life) -> Any:
    """A reader that is asked all of these, one after the other."""
    rig = Rig(reader_image, in_service.flash, in_service.sensor, spared=not WHOLE)
    yield rig
    rig.close()


@pytest.mark.parametrize(
    ("command", "request_", "status"), STATUSES,
    ids=[f"{command:02X}-{number}" for number, (command, _, _) in enumerate(STATUSES)],
)  # fmt: skip
def test_status(asked: Rig, command: int, request_: Any, status: int) -> None:
    assert Host(asked).status(command, request_) == status
    assert ClientPin(asked.ctap()).get_pin_retries() == (8, False)


@pytest.mark.parametrize("body", ["a1f502", "a2010202f5", "a141000a", "a1f600", "a180f5"])
def test_keys_that_are_no_numbers(asked: Rig, body: str) -> None:
    """8: True is not found under 1."""
    answer = Host(asked).device.call(0x10, bytes((PIN,)) + bytes.fromhex(body))
    assert answer[0] in (0x12, 0x11)


def test_configuration_without_parameters(rig: Rig) -> None:
    """6.11.4."""
    client, token = permitted(rig, PERMISSION.AUTHENTICATOR_CFG)
    param = client.protocol.authenticate(token, b"\xff" * 32 + b"\x0d\x03")
    assert Host(rig).status(CONFIG, {1: 3, 3: client.protocol.VERSION, 4: param}) == 0x14


def test_without_a_pin_only_the_switch_itself_is_open(fresh: Rig) -> None:
    """6.11: with alwaysUv on, nothing else is configured or written without a token."""
    host, longer = Host(fresh), {1: 3, 2: {1: 5}}
    assert host.status(CONFIG, {1: 2}) == 0
    assert host.status(CONFIG, longer) == 0x36
    whole = bytes(1) + sha256(bytes(1)).digest()[:16]
    blob = {2: whole, 3: 0, 4: len(whole)}
    assert host.status(BLOBS, blob) == 0x36  # 6.10.2
    assert host.status(CONFIG, {1: 2}) == 0
    assert host.status(BLOBS, blob) == 0
    assert host.status(CONFIG, longer) == 0


def test_the_least_length_that_no_pin_could_have_is_refused(fresh: Rig) -> None:
    """6.11.4 and 6.5.1: a PIN has 63 bytes at most."""
    host = Host(fresh)
    assert host.status(CONFIG, {1: 3, 2: {1: 64}}) == 0x37
    assert host.status(CONFIG, {1: 3, 2: {1: 63}}) == 0


def test_unknown_options_are_ignored(two: Rig) -> None:
    request = {1: "example.com", 2: HASH, 5: {"up": True, "new": "x", "plat": 7}}
    assert Host(two).status(ASSERT, request, press="thumb") == 0
