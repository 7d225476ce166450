"""What a command, or its end, must not leave behind. Sections are of CTAP 2.1."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from typing import Any

import pytest
from fido2 import cbor
from fido2.ctap2 import ClientPin, Config
from fido2.ctap2.bio import FPBioEnrollment
from fido2.ctap2.pin import PinProtocolV1, PinProtocolV2

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
    RESET,
    SELECTION,
    USER,
    Host,
    permitted,
    refused,
)
from tests.emulator.reader.raw import PIN as PIN_COMMAND
from tests.emulator.reader.rig import PIN, Rig

PERMISSION = ClientPin.PERMISSION
EVERY = 0x3F


def _key(host: Host) -> Any:
    return host.ask(PIN_COMMAND, {1: 2, 2: 2})[1][1]


def test_a_reset_makes_another_key_agreement(new_rig: Callable[..., Rig], in_service: Life) -> None:
    """6.6: as after power-up, 6.5.5.1."""
    host = Host(new_rig(in_service))
    before = _key(host)
    assert _key(host) == before
    assert host.status(RESET, press="thumb") == 0
    assert _key(host) != before


def test_nothing_of_before_a_reset_is_in_the_flash(
    new_rig: Callable[..., Rig], in_service: Life
) -> None:
    """6.6: all is erased, also what is sealed."""
    rig = new_rig(in_service)
    rig.register()
    before = rig.image_of_flash()
    rig.replug()
    assert Host(rig).status(RESET, press="thumb") == 0
    written = {at for at in range(0, len(before), 16) if before[at : at + 16].strip(b"\xff\0")}
    at_power_up = Rig(rig.reader.image)  # the programs, and who the reader is, stay
    same = at_power_up.image_of_flash()
    at_power_up.close()
    after = rig.image_of_flash()
    kept = {at for at in written if after[at : at + 16] == before[at : at + 16]}
    assert written > kept
    assert {at for at in kept if same[at : at + 16] != before[at : at + 16]} == set()


def test_a_reset_does_not_begin_with_the_sensors_first_page_anew(
    new_rig: Callable[..., Rig], in_service: Life
) -> None:
    """An old copy of the sensor's memory must show nobody's finger where a new one counts."""
    rig = new_rig(in_service)
    (before,) = rig.sensor.templates
    assert Host(rig).status(RESET, press="thumb") == 0
    ClientPin(rig.ctap()).set_pin(PIN)
    rig.enrol("index")
    (after,) = rig.sensor.templates
    assert after == before + 1


def test_a_reset_forgets_wrong_pins(new_rig: Callable[..., Rig], in_service: Life) -> None:
    """6.6: the PIN that comes after it is tried at once."""
    rig = new_rig(in_service)
    client = ClientPin(rig.ctap())
    for status in (0x31, 0x31, 0x34):
        assert refused(lambda: client.get_pin_token("0000")) == status
    assert Host(rig).status(RESET, press="thumb") == 0
    client.set_pin("97531")
    assert client.get_pin_token("97531")
    assert client.get_pin_retries() == (8, False)


def test_each_relying_party_is_listed_once(rig: Rig) -> None:
    """6.8.3."""
    host, parties = Host(rig), [f"{number}.example" for number in range(40)]
    for number, party in enumerate((*parties, parties[0], parties[39])):
        user = {"id": bytes((number,))}
        new = {1: HASH, 2: {"id": party}, 3: user, 4: ES256, 7: {"rk": True, "uv": True}}
        assert host.status(MAKE, new, press="thumb") == 0
    listed = rig.management().enumerate_rps()
    assert sorted(one[3]["id"] for one in listed) == sorted(parties)


def test_a_wrong_pin_makes_another_key_agreement(rig: Rig) -> None:
    """6.5.5.7.2 step 8."""
    host, client = Host(rig), ClientPin(rig.ctap())
    before = _key(host)
    assert client.get_pin_token(PIN) and _key(host) == before
    assert refused(lambda: client.get_pin_token("0000")) == 0x31
    assert _key(host) != before


def _manage(client: ClientPin, token: bytes) -> dict[int, Any]:
    param = client.protocol.authenticate(token, b"\x01")
    return {1: 1, 3: client.protocol.VERSION, 4: param}


@pytest.mark.parametrize("command", [ASSERT, MAKE])
def test_after_a_log_in_a_token_only_writes_blobs(rig: Rig, command: int) -> None:
    """6.1.2 step 14 and 6.2.2 step 9: clearPinUvAuthTokenPermissionsExceptLbw."""
    rig.register()
    client, token = permitted(rig, EVERY, "example.com")
    host = Host(rig)
    param, version = client.protocol.authenticate(token, HASH), client.protocol.VERSION
    request: dict[int, Any] = {1: "example.com", 2: HASH, 6: param, 7: version}
    if command == MAKE:
        request = {1: HASH, 2: PARTY, 3: USER, 4: ES256, 8: param, 9: version}
    assert host.status(command, request, press="thumb") == 0
    assert host.status(command, request, press="thumb") == 0x33
    assert host.status(CREDENTIALS, _manage(client, token)) == 0x33
    fingers = {1: 1, 2: 4, 4: version, 5: client.protocol.authenticate(token, b"\x01\x04")}
    assert host.status(BIO, fingers) == 0x33
    always = client.protocol.authenticate(token, b"\xff" * 32 + b"\x0d\x02")
    assert host.status(CONFIG, {1: 2, 3: version, 4: always}) == 0x33
    own = {1: sha256(b"example.com").digest()}  # what a token for this party may look at
    param = client.protocol.authenticate(token, b"\x04" + cbor.encode(own))
    assert host.status(CREDENTIALS, {1: 4, 2: own, 3: version, 4: param}) == 0x33


@pytest.mark.parametrize("permissions", [0, -1])
def test_a_token_for_nothing_is_not_given(rig: Rig, permissions: int) -> None:
    """6.5.5.7: INVALID_PARAMETER, all else being right; and no PIN is looked at."""
    client = ClientPin(rig.ctap())
    keys, shared = client._get_shared_secret()
    wrong = client.protocol.encrypt(shared, sha256(b"0000").digest()[:16])
    host = Host(rig)
    assert host.status(PIN_COMMAND, {1: 2, 2: 9, 3: keys, 6: wrong, 9: permissions}) == 0x02
    assert host.status(PIN_COMMAND, {1: 2, 2: 6, 3: keys, 9: permissions}) == 0x02
    assert client.get_pin_retries() == (8, False)


@pytest.mark.parametrize(("issued", "used"), [(1, 2), (2, 1)])
def test_a_token_is_for_the_protocol_that_it_came_by(rig: Rig, issued: int, used: int) -> None:
    """6.5.5.7: each protocol has a token of its own."""
    protocols: dict[int, Any] = {1: PinProtocolV1(), 2: PinProtocolV2()}
    client = ClientPin(rig.ctap(), protocols[issued])
    token = client.get_pin_token(PIN, PERMISSION.CREDENTIAL_MGMT)
    other = ClientPin(rig.ctap(), protocols[used])
    assert Host(rig).status(CREDENTIALS, _manage(other, token)) == 0x33
    assert Host(rig).status(CREDENTIALS, _manage(client, token)) == 0


def test_a_token_for_one_relying_party_manages_no_other(rig: Rig) -> None:
    """6.8.2 to 6.8.6: neither all of them, nor what is another's."""
    host, identifiers = Host(rig), {}
    for party in ("example.com", "other.example"):
        new = {1: HASH, 2: {"id": party}, 3: USER, 4: ES256, 7: {"rk": True, "uv": True}}
        data = host.ask(MAKE, new, press="thumb")[1][2]
        identifiers[party] = data[55 : 55 + int.from_bytes(data[53:55], "big")]
    client, token = permitted(rig, PERMISSION.CREDENTIAL_MGMT, "example.com")

    def ask(command: int, parameters: Any = None) -> int:
        message, request = bytes((command,)), {1: command, 3: client.protocol.VERSION}
        if parameters is not None:
            request[2] = parameters
            message += cbor.encode(parameters)
        request[4] = client.protocol.authenticate(token, message)
        return host.status(CREDENTIALS, request)

    def named(party: str) -> dict[int, Any]:
        return {2: {"id": identifiers[party], "type": "public-key"}}

    assert ask(1) == ask(2) == 0x33
    user = {3: USER | {"name": "another"}}
    for party, status in (("other.example", 0x33), ("example.com", 0)):
        assert ask(4, {1: sha256(party.encode()).digest()}) == status
        assert ask(7, named(party) | user) == status
        assert ask(6, named(party)) == status
    manager = rig.management()
    assert manager.get_metadata()[1] == 1
    spoiled = identifiers["other.example"][:-1] + bytes((identifiers["other.example"][-1] ^ 1,))
    assert refused(lambda: manager.delete_cred({"id": spoiled, "type": "public-key"})) == 0x2E


def test_another_pin_ends_a_token(rig: Rig) -> None:
    """6.5.5.6: resetPinUvAuthToken."""
    client, token = permitted(rig, PERMISSION.CREDENTIAL_MGMT)
    ClientPin(rig.ctap()).change_pin(PIN, "97531")
    assert Host(rig).status(CREDENTIALS, _manage(client, token)) == 0x33


def test_a_forced_change_takes_another_pin(rig: Rig) -> None:
    """6.5.5.6: PIN_POLICY_VIOLATION for the same one; it is not counted as wrong."""
    client, token = permitted(rig, PERMISSION.AUTHENTICATOR_CFG)
    Config(client.ctap, client.protocol, token).set_min_pin_length(force_change_pin=True)
    changing = ClientPin(rig.ctap())
    # 6.5.5.7.2: the PIN is looked at first, and a wrong one costs a try.
    permissions = PERMISSION.CREDENTIAL_MGMT
    assert refused(lambda: changing.get_pin_token("0000", permissions)) == 0x31
    assert changing.get_pin_retries() == (7, False)
    assert refused(lambda: changing.get_pin_token(PIN, permissions)) == 0x37
    assert refused(lambda: changing.change_pin(PIN, PIN)) == 0x37
    assert changing.get_pin_retries() == (8, False) and rig.ctap().info.force_pin_change
    changing.change_pin(PIN, "97531")
    assert not rig.ctap().info.force_pin_change


@pytest.mark.parametrize("command", [ASSERT, MAKE])
@pytest.mark.parametrize("with_pin", [True, False])
def test_an_empty_proof_asks_for_a_touch(new_rig: Any, command: int, with_pin: bool) -> None:
    """6.1.2 and 6.2.2, step 1: which reader is meant, and whether it has a PIN."""
    rig: Rig = new_rig()
    host = Host(rig)
    if with_pin:
        ClientPin(rig.ctap()).set_pin(PIN)
    request: dict[int, Any] = {1: "example.com", 2: HASH, 6: b"", 7: 2}
    if command == MAKE:
        request = {1: HASH, 2: PARTY, 3: USER, 4: ES256, 8: b"", 9: 2}
    assert host.status(command, request) == 0x27
    assert host.status(command, request, press="index") == (0x31 if with_pin else 0x35)
    # Step 1 comes before what else may be wrong with it.
    wrong = {4: [{"alg": -257, "type": "public-key"}]} if command == MAKE else {5: {"rk": True}}
    said = host.status(command, request | wrong, press="index")
    assert said == (0x31 if with_pin else 0x35)


@pytest.mark.parametrize(
    ("command", "request_"),
    [(BIO, {1: 1, 2: number}) for number in (2, 5, 6)]
    + [(BIO, {1: 1, 2: 5, 3: {1: b"\x54\x00"}})]
    + [(CREDENTIALS, {1: number}) for number in (4, 6, 7)]
    + [(CREDENTIALS, {1: 7, 2: {2: {"id": b"", "type": "public-key"}}})],
)
def test_what_is_missing_is_said_before_the_token_is_looked_at(
    rig: Rig, command: int, request_: dict[int, Any]
) -> None:
    """6.7.4 to 6.7.8, 6.8.4 to 6.8.6, steps 1 and 2."""
    host, (proof, version) = Host(rig), (5, 4) if command == BIO else (4, 3)
    for parameters in ({}, {2 if command == CREDENTIALS else 3: {}}):
        asked = parameters | request_
        assert host.status(command, asked) == 0x36
        assert host.status(command, asked | {proof: bytes(32), version: 2}) == 0x14


def test_without_a_pin_nobody_is_verified(fresh: Rig) -> None:
    """6.1.2 step 11: a touch is no verification, also of who keeps a credential in the reader."""
    for rk in (True, False):
        new = {1: HASH, 2: PARTY, 3: USER, 4: ES256, 7: {"rk": rk}}
        status, answer = Host(fresh).ask(MAKE, new, press="index")
        assert status == 0 and answer[2][32] == 0x41  # UP, AT


@pytest.mark.parametrize("options", [{}, {"rk": False}])
def test_a_credential_that_is_not_kept_has_no_blob_key(rig: Rig, options: dict[str, bool]) -> None:
    """12.3: INVALID_OPTION."""
    new = {1: HASH, 2: PARTY, 3: USER, 4: ES256, 6: {"largeBlobKey": True}, 7: options}
    assert Host(rig).status(MAKE, new) == 0x2C


def test_a_long_name_ends_with_a_whole_character(rig: Rig) -> None:
    """6.8.7: 64 bytes."""
    names = {"name": "x" + "ä" * 40, "displayName": "水" * 30}
    new = {1: HASH, 2: PARTY, 3: USER | names, 4: ES256, 7: {"rk": True, "uv": True}}
    assert Host(rig).status(MAKE, new, press="thumb") == 0
    manager = rig.management()
    (party,) = manager.enumerate_rps()
    (kept,) = manager.enumerate_creds(party[4])
    assert kept[6] == USER | {"name": "x" + "ä" * 31, "displayName": "水" * 21}


def test_names_of_users_are_told_to_who_verified(rig: Rig) -> None:
    """6.2.2 step 13 and 6.2.3: with a touch alone only the user's id is told, and where there is no
    choice nothing else is needed."""
    host = Host(rig)
    rig.register(b"user-1")
    request: dict[int, Any] = {1: "example.com", 2: HASH, 5: {"uv": True}}
    status, answer = host.ask(ASSERT, request, press="thumb")
    assert status == 0 and set(answer[4]) == {"id"}
    rig.register(b"user-2")
    for verified, names in ((False, {"id"}), (True, {"id", "name", "displayName"})):
        request = {1: "example.com", 2: HASH, 5: {"uv": verified}}
        status, answer = host.ask(ASSERT, request, press="thumb")
        assert status == 0 and answer[5] == 2 and set(answer[4]) == names
        status, answer = host.ask(NEXT)
        assert status == 0 and set(answer[4]) == names


def test_secrets_are_others_without_verification(rig: Rig) -> None:
    """12.5: CredRandomWithUV and CredRandomWithoutUV."""
    host, client = Host(rig), ClientPin(rig.ctap())
    assert (
        host.status(
            MAKE, {1: HASH, 2: PARTY, 3: USER, 4: ES256, 7: {"rk": True, "uv": True}}, press="thumb"
        )
        == 0
    )

    def secret(*, uv: bool) -> bytes:
        key, shared = client._get_shared_secret()
        salt = client.protocol.encrypt(shared, b"\x01" * 32)
        asked = {1: key, 2: salt, 3: client.protocol.authenticate(shared, salt), 4: 2}
        request = {1: "example.com", 2: HASH, 4: {"hmac-secret": asked}, 5: {"uv": uv}}
        data = host.ask(ASSERT, request, press="thumb")[1][2]
        return client.protocol.decrypt(shared, cbor.decode(data[37:])["hmac-secret"])

    assert secret(uv=True) == secret(uv=True) != secret(uv=False) == secret(uv=False)


def test_what_a_new_reader_does_not_take(fresh: Rig) -> None:
    """6.11.4: no PIN to change; 6.5.5.5: characters count, not bytes."""
    assert Host(fresh).status(CONFIG, {1: 3, 2: {3: True}}) == 0x35
    assert refused(lambda: ClientPin(fresh.ctap()).set_pin("2468")) == 0
    change = ClientPin(fresh.ctap()).change_pin
    key, shared = ClientPin(fresh.ctap())._get_shared_secret()
    protocol = PinProtocolV2()
    new = protocol.encrypt(shared, "üüü".encode().ljust(64, b"\0"))
    old = protocol.encrypt(shared, sha256(PIN.encode()).digest()[:16])
    param = protocol.authenticate(shared, new + old)
    request = {1: 2, 2: 4, 3: key, 4: param, 5: new, 6: old}
    assert Host(fresh).status(PIN_COMMAND, request) == 0x37
    change(PIN, "üüüü")


@pytest.mark.parametrize("size", [16, 48, 80])
def test_salts_are_one_or_two(rig: Rig, size: int) -> None:
    """12.5."""
    host, client = Host(rig), ClientPin(rig.ctap())
    rig.register()
    key, shared = client._get_shared_secret()
    salt = client.protocol.encrypt(shared, bytes(size))
    asked = {1: key, 2: salt, 3: client.protocol.authenticate(shared, salt), 4: 2}
    request = {1: "example.com", 2: HASH, 4: {"hmac-secret": asked}, 5: {"uv": True}}
    assert host.status(ASSERT, request, press="thumb") == 0x03


@pytest.mark.parametrize("version", [1, 2])
def test_salts_that_do_not_name_their_protocol_are_of_the_first(rig: Rig, version: int) -> None:
    """12.5: pinUvAuthProtocol is left out when it is 1."""
    protocols: dict[int, Any] = {1: PinProtocolV1(), 2: PinProtocolV2()}
    host, client = Host(rig), ClientPin(rig.ctap(), protocols[version])
    rig.register()
    key, shared = client._get_shared_secret()
    salt = client.protocol.encrypt(shared, bytes(32))
    asked = {1: key, 2: salt, 3: client.protocol.authenticate(shared, salt)}
    request = {1: "example.com", 2: HASH, 4: {"hmac-secret": asked}, 5: {"uv": True}}
    assert host.status(ASSERT, request, press="thumb") == (0 if version == 1 else 0x33)


class _Enrolment:
    """Begun, with one sample of the index finger."""

    def __init__(self, rig: Rig) -> None:
        self.host = Host(rig)
        self._client = ClientPin(rig.ctap())
        self._token = self._client.get_pin_token(PIN, PERMISSION.BIO_ENROLL)
        status, answer = self.host.ask(BIO, self.request(1), press="index")
        assert (status, answer[6]) == (0, 5)
        self.name: bytes = answer[4]

    def request(self, command: int, parameters: Any = None) -> dict[int, Any]:
        message, request = bytes((1, command)), {1: 1, 2: command}
        if parameters is not None:
            request[3] = parameters
            message += cbor.encode(parameters)
        request[4] = self._client.protocol.VERSION
        request[5] = self._client.protocol.authenticate(self._token, message)
        return request

    def go_on(self, name: bytes) -> tuple[int, Any]:
        return self.host.ask(BIO, self.request(2, {1: name}), press="index")


def test_an_enrolment_goes_on_under_its_own_name_only(rig: Rig) -> None:
    """6.7.4: the templateId that enrollBegin gave."""
    begun = _Enrolment(rig)
    assert begun.go_on(b"\x54\x07")[0] == 0x02
    assert begun.go_on(begun.name[:1])[0] == 0x02
    assert begun.go_on(begun.name) == (0, {5: 0, 6: 4})


def test_a_finger_has_one_name_only(rig: Rig) -> None:
    """6.7.7 and 6.7.8: a templateId that was never given names nothing."""
    client, token = permitted(rig, PERMISSION.BIO_ENROLL)
    bio = FPBioEnrollment(client.ctap, client.protocol, token)
    (thumb,) = bio.enumerate_enrollments()
    for other in (b"\x53" + thumb[1:], thumb[1:], thumb + b"\0", b"\0" + thumb):
        assert refused(lambda one=other: bio.set_name(one, "x")) == 0x2C
        assert refused(lambda one=other: bio.remove_enrollment(one)) == 0x2C
    assert list(bio.enumerate_enrollments()) == [thumb]


def test_a_cancelled_sample_ends_an_enrolment(rig: Rig) -> None:
    """6.7.4: what it has kept is not gone on with."""
    begun = _Enrolment(rig)
    device = begun.host.device
    channel = device._channel_id.to_bytes(4, "big")
    body = bytes((BIO,)) + cbor.encode(begun.request(2, {1: begun.name}))
    cancel = channel + b"\x91" + bytes(59)
    answer = device.call(0x10, body, on_keepalive=lambda _: rig.reader.write_report(cancel))
    assert answer[0] == 0x2D
    assert begun.go_on(begun.name)[0] == 0x02


def test_a_malformed_beginning_ends_an_enrolment_and_leaves_none(rig: Rig) -> None:
    begun = _Enrolment(rig)
    assert begun.host.status(BIO, begun.request(1, {3: "soon"})) == 0x11
    for page in range(200):  # whatever its name might be
        assert begun.go_on(bytes((0x54, page)))[0] == 0x02


@pytest.mark.parametrize(
    ("wished_ms", "waited_ms"), [(0, 1000), (-5, 1000), (2000, 2000), (1 << 40, 30_000)]
)
def test_a_sample_is_waited_for_as_long_as_is_sensible(
    rig: Rig, wished_ms: int, waited_ms: int
) -> None:
    """6.7.4: timeoutMilliseconds."""
    begun, before = _Enrolment(rig), rig.reader.clock.now
    request = begun.request(2, {1: begun.name, 3: wished_ms})
    assert begun.host.ask(BIO, request) == (0, {5: 0x0D, 6: 5})
    assert waited_ms * 1000 <= rig.reader.clock.now - before < (waited_ms + 1000) * 1000


def test_a_finger_that_goes_before_its_image_was_too_fast(rig: Rig) -> None:
    """6.7.4: lastEnrollSampleStatus; nobody is kept waiting for what does not come."""
    begun, presses = _Enrolment(rig), [30]

    def press(status: int) -> None:
        if status == 2 and presses:
            rig.sensor.press("index", ms=presses.pop())

    body = bytes((BIO,)) + cbor.encode(begun.request(2, {1: begun.name}))
    before = rig.reader.clock.now
    answer = begun.host.device.call(0x10, body, on_keepalive=press)
    assert answer[0] == 0 and cbor.decode(answer[1:]) == {5: 0x05, 6: 5}
    assert rig.reader.clock.now - before < 1_500_000


def test_a_name_of_a_finger_has_64_bytes_at_most(rig: Rig) -> None:
    """6.7.7: maxTemplateFriendlyName."""
    client, token = permitted(rig, PERMISSION.BIO_ENROLL)
    bio = FPBioEnrollment(client.ctap, client.protocol, token)
    (thumb,) = bio.enumerate_enrollments()
    assert bio.get_fingerprint_sensor_info()[8] == 64
    bio.set_name(thumb, "ä" * 32)
    assert refused(lambda: bio.set_name(thumb, "ä" * 32 + "x")) == 0x03
    assert bio.enumerate_enrollments() == {thumb: "ä" * 32}


def test_a_fragment_goes_on_where_the_one_before_ended(rig: Rig) -> None:
    """6.10.2."""
    host = Host(rig)
    client, token = permitted(rig, PERMISSION.LARGE_BLOB_WRITE)

    def fragment(offset: int, size: int) -> dict[int, Any]:
        part = bytes(size)
        message = b"\xff" * 32 + b"\x0c\x00" + offset.to_bytes(4, "little") + sha256(part).digest()
        param = client.protocol.authenticate(token, message)
        return {2: part, 3: offset, 5: param, 6: client.protocol.VERSION}

    assert host.status(BLOBS, fragment(0, 20) | {4: 19}) == 0x02
    assert host.status(BLOBS, fragment(0, 20) | {4: 40}) == 0
    assert host.status(BLOBS, fragment(20, 21)) == 0x02
    assert host.status(BLOBS, fragment(0, 20) | {4: 20}) == 0x3D  # not the hash of its content
    assert host.status(BLOBS, fragment(20, 1)) == 0x04  # nothing of it is gone on with
    for offset in (0, 10, 19, 21):  # 6.10.2: a fragment follows the one before, byte for byte
        assert host.status(BLOBS, fragment(0, 20) | {4: 40}) == 0
        assert host.status(BLOBS, fragment(offset, 20)) == (0x04 if offset else 0x02), offset


def test_the_bounds_of_large_blobs(rig: Rig) -> None:
    """6.10.2: an array has 17 bytes at least, and is read up to its end."""
    host = Host(rig)
    proof = {5: bytes(32), 6: 2}
    for length, status in ((0, 0x02), (16, 0x02), (17, 0x33), (2048, 0x33), (2049, 0x18)):
        assert host.status(BLOBS, {2: bytes(10), 3: 0, 4: length} | proof) == status, length
    assert host.ask(BLOBS, {1: 5, 3: 16}) == (0, {1: b"\x3c"})
    assert host.ask(BLOBS, {1: 5, 3: 17}) == (0, {1: b""})
    assert host.status(BLOBS, {1: 5, 3: 18}) == 0x02
    assert host.status(BLOBS, {1: 1984, 3: 0}) == 0
    assert host.status(BLOBS, {1: 1985, 3: 0}) == 0x03


def test_an_old_platforms_token_is_for_log_ins(rig: Rig) -> None:
    """6.5.5.7.1, getPinToken: `mc` and `ga`, and nothing else."""
    client, host = ClientPin(rig.ctap()), Host(rig)
    keys, shared = client._get_shared_secret()
    pin = client.protocol.encrypt(shared, sha256(PIN.encode()).digest()[:16])
    status, answer = host.ask(PIN_COMMAND, {1: 2, 2: 5, 3: keys, 6: pin})
    assert status == 0
    token = client.protocol.decrypt(shared, answer[2])
    assert host.status(CREDENTIALS, _manage(client, token)) == 0x33


@pytest.mark.parametrize("command", [ASSERT, MAKE])
def test_a_proof_takes_the_place_of_a_finger(rig: Rig, command: int) -> None:
    """6.1.2 step 5 and 6.2.2 step 4: beside pinUvAuthParam, `uv` asks for no finger. It is no
    presence, either."""
    rig.register()
    client, token = permitted(rig, EVERY, "example.com")
    param, version = client.protocol.authenticate(token, HASH), client.protocol.VERSION
    request: dict[int, Any] = {1: "example.com", 2: HASH, 5: {"uv": True}, 6: param, 7: version}
    if command == MAKE:
        request = {1: HASH, 2: PARTY, 3: USER, 4: ES256, 7: {"uv": True}, 8: param, 9: version}
    assert Host(rig).status(command, request) == 0x27
    status, answer = Host(rig).ask(command, request, press="index")  # which is not enrolled
    assert status == 0 and answer[2][32] & 5 == 5
    assert client.get_uv_retries() == 5


def test_it_says_how_many_credentials_fit(rig: Rig) -> None:
    """6.4, remainingDiscoverableCredentials."""
    assert rig.ctap().info.remaining_disc_creds == 128
    rig.register(b"user-1")
    rig.register(b"user-2")
    assert rig.ctap().info.remaining_disc_creds == 126


def test_a_name_that_is_not_given_again_goes(rig: Rig) -> None:
    """6.8.6: what an update does not say is removed."""
    made = rig.register(b"user-1")
    named = {"id": made.credential_data.credential_id, "type": "public-key"}
    for user in ({"id": b"user-1", "name": "n"}, {"id": b"user-1"}):
        rig.management().update_user_info(named, user)
        (one,) = rig.management().enumerate_creds(sha256(b"example.com").digest())
        assert one[6] == user


@pytest.mark.parametrize("at", [0, 1, 11])
def test_a_credential_is_found_wherever_a_list_names_it(rig: Rig, at: int) -> None:
    """6.1.2 step 12 and 6.2.2 step 7."""
    host = Host(rig)
    new = {1: HASH, 2: PARTY, 3: USER, 4: ES256}
    data = host.ask(MAKE, new, press="index")[1][2]
    own = data[55 : 55 + int.from_bytes(data[53:55], "big")]
    named = [{"type": "public-key", "id": bytes((n,)) * 50} for n in range(12)]
    named[at]["id"] = own
    request = {1: "example.com", 2: HASH, 3: named, 5: {"up": False}}
    status, answer = host.ask(ASSERT, request)
    assert (status, answer[1]["id"]) == (0, own)
    assert host.status(MAKE, new | {5: named}, press="index") == 0x19


def test_a_wink_is_short(rig: Rig) -> None:
    """11.2.9.2.1."""
    rig.device().wink()
    assert rig.reader.led
    rig.reader.run_for(1000)
    assert not rig.reader.led


def test_a_removed_fingers_page_is_not_the_next_ones(rig: Rig) -> None:
    """An old copy of the sensor's memory has the removed finger there."""
    client, token = permitted(rig, PERMISSION.BIO_ENROLL)
    bio = FPBioEnrollment(client.ctap, client.protocol, token)
    (thumb,) = rig.sensor.templates
    for number in (1, 2):
        (named,) = bio.enumerate_enrollments()
        enroller = bio.enroll()
        while enroller.capture(on_keepalive=rig.pressing(f"other-{number}")) is None:
            pass
        bio.remove_enrollment(named)
        assert list(rig.sensor.templates) == [thumb + number]


@pytest.mark.parametrize("length", [4, 5])
def test_a_pin_that_is_one_too_short_must_be_changed(rig: Rig, length: int) -> None:
    """6.11.4: and one that is as long as the least is long enough."""
    client, token = permitted(rig, PERMISSION.AUTHENTICATOR_CFG)
    Config(client.ctap, client.protocol, token).set_min_pin_length(length)
    assert rig.ctap().info.min_pin_length == length
    assert bool(rig.ctap().info.force_pin_change) == (len(PIN) < length)


@pytest.mark.parametrize("pin", [b"1357\x009", b"13\x0057", b"\x00135790", b"1" * 64])
def test_a_pin_with_a_zero_is_none(fresh: Rig, pin: bytes) -> None:
    """6.5.5.5: zeros fill up, and end a PIN, which has 63 bytes at most."""
    client = ClientPin(fresh.ctap())
    keys, shared = client._get_shared_secret()
    new = client.protocol.encrypt(shared, pin.ljust(64, b"\0"))
    proof = client.protocol.authenticate(shared, new)
    host = Host(fresh)
    assert host.status(PIN_COMMAND, {1: 2, 2: 3, 3: keys, 4: proof, 5: new}) == 0x37
    assert not fresh.ctap().info.options["clientPin"]


@pytest.mark.parametrize("protect", [1, 2, 3])
def test_a_list_says_how_a_credential_is_protected(rig: Rig, protect: int) -> None:
    """6.8.4: credProtect, as it was asked for."""
    request = {1: HASH, 2: PARTY, 3: USER, 4: ES256, 6: {"credProtect": protect}}
    assert Host(rig).status(MAKE, request | {7: {"rk": True, "uv": True}}, press="thumb") == 0
    manager = rig.management()
    (one,) = manager.enumerate_creds(sha256(b"example.com").digest())
    assert one[10] == protect


@pytest.mark.parametrize("uv", [False, True])
def test_who_was_not_asked_to_touch_is_not_said_to_be_there(rig: Rig, uv: bool) -> None:
    """6.2.2 step 9: with `up` false, the flag is not set, whoever else was verified."""
    host = Host(rig)
    data = host.ask(MAKE, {1: HASH, 2: PARTY, 3: USER, 4: ES256}, press="index")[1][2]
    named = {"type": "public-key", "id": data[55 : 55 + int.from_bytes(data[53:55], "big")]}
    request = {1: "example.com", 2: HASH, 3: [named], 5: {"up": False, "uv": uv}}
    status, answer = host.ask(ASSERT, request, press="thumb" if uv else None)
    assert status == 0 and answer[2][32] & 5 == (4 if uv else 0)


def test_nor_in_the_assertions_that_follow(rig: Rig) -> None:
    """6.3: they say what the first one said. And with alwaysUv such a request verifies nobody, as
    it takes no touch (6.2.2 step 5)."""
    host = Host(rig)
    for user in (b"anna", b"bert"):
        request = {1: HASH, 2: PARTY, 3: {"id": user}, 4: ES256, 7: {"rk": True, "uv": True}}
        assert host.status(MAKE, request, press="thumb") == 0
    client, token = permitted(rig, PERMISSION.AUTHENTICATOR_CFG)
    for _ in range(2):
        status, first = host.ask(ASSERT, {1: "example.com", 2: HASH, 5: {"up": False}})
        assert status == 0 and first[2][32] & 5 == host.ask(NEXT)[1][2][32] & 5 == 0
        Config(client.ctap, client.protocol, token).toggle_always_uv()


def test_a_reset_forgets_what_was_configured(new_rig: Any, in_service: Life) -> None:
    """6.6: alwaysUv, the least length of a PIN, and who is told it."""
    rig: Rig = new_rig(in_service)
    before = rig.ctap().info
    client, token = permitted(rig, PERMISSION.AUTHENTICATOR_CFG)
    config = Config(client.ctap, client.protocol, token)
    config.toggle_always_uv()
    config.set_min_pin_length(6, rp_ids=["example.com"])
    rig.replug()
    assert Host(rig).status(RESET, press="thumb") == 0
    host, after = Host(rig), rig.ctap().info
    for name in ("alwaysUv", "makeCredUvNotRqd"):
        assert after.options[name] == before.options[name]
    assert (after.min_pin_length, after.force_pin_change) == (4, False)
    new = {1: HASH, 2: PARTY, 3: USER, 4: ES256, 6: {"minPinLength": True}}
    assert not host.ask(MAKE, new, press="thumb")[1][2][32] & 0x80  # nothing is told


def test_each_bit_of_large_blobs_is_vouched_for(rig: Rig) -> None:
    """6.10.2: the last 16 bytes are those of the hash of what is before them."""
    host = Host(rig)
    client, token = permitted(rig, PERMISSION.LARGE_BLOB_WRITE)

    def written(array: bytes) -> int:
        message = b"\xff" * 32 + b"\x0c\x00" + bytes(4) + sha256(array).digest()
        param = client.protocol.authenticate(token, message)
        return host.status(BLOBS, {2: array, 3: 0, 4: len(array), 5: param, 6: 2})

    whole = b"\x81\xa0" + sha256(b"\x81\xa0").digest()[:16]
    for at in range(len(whole)):
        spoiled = bytearray(whole)
        spoiled[at] ^= 1 << at % 8
        assert written(bytes(spoiled)) == 0x3D, at
    assert written(whole) == 0
    assert host.ask(BLOBS, {1: 100, 3: 0}) == (0, {1: whole})


def _channel(host: Host) -> bytes:
    return host.device._channel_id.to_bytes(4, "big")


def test_only_its_own_channel_cancels_a_command(rig: Rig) -> None:
    """11.2.9.1.5."""
    host, other = Host(rig), Host(rig)

    def meddle(_status: int) -> None:
        rig.reader.write_report(_channel(other) + b"\x91" + bytes(59))
        rig.sensor.press("index", after_ms=500)

    assert host.device.call(0x10, bytes((SELECTION,)), on_keepalive=meddle) == b"\0"
    rig.reader.run_for(1000)
    assert not rig.reader.reports  # and nothing is said to the other one


def test_a_channel_that_begins_anew_gets_no_answer_of_before(rig: Rig) -> None:
    """11.2.9.1.3: INIT ends what its channel was at."""
    channel = _channel(Host(rig))
    rig.reader.write_report(channel + b"\x90\x00\x01" + bytes((SELECTION,)) + bytes(56))
    rig.reader.run_for(500)
    rig.reader.reports.clear()
    rig.reader.write_report(channel + b"\x86\x00\x08" + b"12345678" + bytes(49))
    rig.sensor.press("index")
    rig.reader.run_for(35_000)
    (answer,) = rig.reader.reports
    assert answer[:15] == channel + b"\x86\x00\x11" + b"12345678"
    rig.reader.reports.clear()
    rig.reader.write_report(channel + b"\x90\x00\x01" + bytes((INFO,)) + bytes(56))
    rig.reader.run_for(1000)
    assert rig.reader.reports[0][:5] == channel + b"\x90"  # the command that follows is answered
