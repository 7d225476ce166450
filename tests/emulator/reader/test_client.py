"""python-fido2's client, unmodified, with the reader: what a person does with it."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest
from cryptography import x509
from fido2.attestation import PackedAttestation
from fido2.client import ClientError
from fido2.cose import ES256
from fido2.ctap import CtapError
from fido2.ctap2 import ClientPin, Config, LargeBlobs
from fido2.ctap2.bio import CaptureError, FPBioEnrollment
from fido2.ctap2.extensions import CredProtectExtension
from fido2.utils import websafe_decode
from fido2.webauthn import PublicKeyCredentialParameters, PublicKeyCredentialType

from tallystick.common.reader_identity import AAGUID, development_root
from tests.emulator.reader.rig import PIN, Rig

PERMISSION = ClientPin.PERMISSION


def test_what_a_new_reader_says_of_itself(fresh: Rig) -> None:
    info = fresh.ctap().info
    assert info.versions == ["FIDO_2_0", "FIDO_2_1_PRE", "FIDO_2_1"]
    assert info.aaguid == AAGUID.bytes
    assert info.options["rk"] and info.options["up"] and not info.options["plat"]
    assert (
        not info.options["uv"] and not info.options["bioEnroll"] and not info.options["clientPin"]
    )
    assert info.pin_uv_protocols == [2, 1]
    assert info.uv_modality == 2
    assert info.remaining_disc_creds >= 100


def test_pin_then_finger_then_options(rig: Rig) -> None:
    options = rig.ctap().info.options
    assert options["uv"] and options["bioEnroll"] and options["clientPin"]


def test_register_and_log_in_with_a_finger(rig: Rig) -> None:
    made = rig.register()
    assert made.is_user_verified() and made.is_user_present()
    assert rig.log_in([made.credential_data]).credential_id == made.credential_data.credential_id
    assert rig.log_in([made.credential_data], listed=True)


def test_the_attestation_holds_under_the_development_root(rig: Rig) -> None:
    begin, state = rig.server.register_begin(
        {"id": b"u", "name": "u", "displayName": "U"}, user_verification="required"
    )
    answer = rig.client().make_credential(begin.public_key)
    attestation = answer.response.attestation_object
    assert attestation.fmt == "packed"
    PackedAttestation().verify(
        attestation.att_stmt, attestation.auth_data, answer.response.client_data.hash
    )
    certificate = x509.load_der_x509_certificate(attestation.att_stmt["x5c"][0])
    certificate.verify_directly_issued_by(development_root())
    assert "DEVELOPMENT" in certificate.subject.rfc4514_string()
    assert rig.server.register_complete(state, answer).credential_data.aaguid == AAGUID.bytes


def test_a_wrong_finger_is_refused_and_counted(rig: Rig) -> None:
    made = rig.register()
    rig.person.finger = "stranger"
    rig.person.pin = None
    with pytest.raises(ClientError):
        rig.log_in([made.credential_data])
    client_pin = ClientPin(rig.ctap())
    assert client_pin.get_uv_retries() < 5


def test_fingerprint_blocks_and_a_right_pin_opens_it_again(rig: Rig) -> None:
    client_pin = ClientPin(rig.ctap())

    def present(status: int) -> None:
        if status == 2:
            for n in range(3):  # three tries in one command
                rig.reader.clock.after(n * 1_500_000, lambda: rig.sensor.press("stranger"))

    for status in (CtapError.ERR.UV_INVALID, CtapError.ERR.UV_BLOCKED, CtapError.ERR.UV_BLOCKED):
        with pytest.raises(CtapError) as refused:
            client_pin.get_uv_token(PERMISSION.GET_ASSERTION, "example.com", on_keepalive=present)
        assert refused.value.code == status
    assert client_pin.get_uv_retries() == 0
    client_pin.get_pin_token(PIN, PERMISSION.GET_ASSERTION, "example.com")
    assert client_pin.get_uv_retries() == 5
    assert client_pin.get_uv_token(
        PERMISSION.GET_ASSERTION, "example.com", on_keepalive=rig.pressing()
    )


def test_log_in_with_the_pin_alone(fresh: Rig) -> None:
    ClientPin(fresh.ctap()).set_pin(PIN)
    made = fresh.register()
    assert made.is_user_verified()
    assert fresh.log_in([made.credential_data])


def test_three_wrong_pins_then_out_and_in_again_then_eight(fresh: Rig) -> None:
    ClientPin(fresh.ctap()).set_pin(PIN)
    statuses = []
    for n in range(10):
        client_pin = ClientPin(fresh.ctap())
        with pytest.raises(CtapError) as refused:
            client_pin.get_pin_token("9999")
        statuses.append(refused.value.code)
        if refused.value.code == CtapError.ERR.PIN_AUTH_BLOCKED:
            fresh.replug()
        assert n < 9
        if refused.value.code == CtapError.ERR.PIN_BLOCKED:
            break
    error = CtapError.ERR
    assert statuses == [
        error.PIN_INVALID, error.PIN_INVALID, error.PIN_AUTH_BLOCKED,
        error.PIN_INVALID, error.PIN_INVALID, error.PIN_AUTH_BLOCKED,
        error.PIN_INVALID, error.PIN_BLOCKED,
    ]  # fmt: skip
    with pytest.raises(CtapError) as refused:
        ClientPin(fresh.ctap()).get_pin_token(PIN)
    assert refused.value.code == error.PIN_BLOCKED


@pytest.mark.parametrize("protocol", [1, 2])
def test_both_pin_protocols(fresh: Rig, protocol: int) -> None:
    from fido2.ctap2.pin import PinProtocolV1, PinProtocolV2

    chosen = PinProtocolV1() if protocol == 1 else PinProtocolV2()
    client_pin = ClientPin(fresh.ctap(), chosen)
    client_pin.set_pin(PIN)
    client_pin.change_pin(PIN, "13579")
    assert client_pin.get_pin_token("13579")
    with pytest.raises(CtapError):
        client_pin.get_pin_token(PIN)


@pytest.mark.parametrize("pin", ["123", "x" * 64, "äöü"])
def test_pins_against_the_policy(fresh: Rig, pin: str) -> None:
    client_pin = ClientPin(fresh.ctap())
    with pytest.raises((CtapError, ValueError)):
        client_pin.set_pin(pin)
    assert not fresh.ctap().info.options["clientPin"]
    client_pin.set_pin("äöüß")  # four characters, eight bytes


def test_discoverable_credentials_newest_first_and_one_a_user(rig: Rig) -> None:
    users = [b"anna", b"bert", b"carl"]
    made = {user: rig.register(user).credential_data for user in users}
    made[b"bert"] = rig.register(b"bert").credential_data  # replaces his first
    begin, _ = rig.server.authenticate_begin(user_verification="required")
    selection = rig.client().get_assertion(begin.public_key)
    found = selection.get_assertions()
    assert [one.user["id"] for one in found] == [b"bert", b"carl", b"anna"]
    assert found[0].user["name"] == "bert"
    assert found[0].credential["id"] == made[b"bert"].credential_id
    for one in found:
        made[one.user["id"]].public_key.verify(
            one.auth_data + selection._client_data.hash, one.signature
        )


def test_an_excluded_credential_is_not_made_twice(rig: Rig) -> None:
    made = rig.register()
    begin, _ = rig.server.register_begin(
        {"id": b"other", "name": "o", "displayName": "O"}, [made.credential_data],
        user_verification="required",
    )  # fmt: skip
    with pytest.raises(ClientError) as refused:
        rig.client().make_credential(begin.public_key)
    assert refused.value.code == ClientError.ERR.DEVICE_INELIGIBLE


def test_a_credential_that_is_not_resident_needs_no_room(rig: Rig) -> None:
    made = rig.register(resident="discouraged")
    assert rig.management().get_metadata()[1] == 0
    assert rig.log_in([made.credential_data], listed=True)
    with pytest.raises(ClientError):
        rig.log_in([made.credential_data])


def test_credential_management(rig: Rig) -> None:
    made = rig.register(b"anna").credential_data
    rig.register(b"bert")
    management = rig.management()
    assert management.get_metadata()[1] == 2
    (party,) = management.enumerate_rps()
    assert party[3] == {"id": "example.com"}
    entries = management.enumerate_creds(party[4])
    assert {entry[6]["id"] for entry in entries} == {b"anna", b"bert"}
    anna = next(entry for entry in entries if entry[6]["id"] == b"anna")
    assert ES256(anna[8]) == made.public_key
    management.update_user_info(anna[7], {"id": b"anna", "name": "anna.b", "displayName": "Anna B"})
    after = {e[6]["id"]: e[6] for e in management.enumerate_creds(party[4])}
    assert after[b"anna"]["displayName"] == "Anna B"
    management.delete_cred(anna[7])
    assert [e[6]["id"] for e in management.enumerate_creds(party[4])] == [b"bert"]
    with pytest.raises(CtapError) as refused:
        management.delete_cred(anna[7])
    assert refused.value.code == CtapError.ERR.NO_CREDENTIALS
    with pytest.raises(ClientError):
        rig.log_in([made], listed=True)


def test_an_assertion_goes_on_only_as_long_as_nothing_else_was_asked(rig: Rig) -> None:
    for user in (b"anna", b"bert"):
        rig.register(user)
    ctap = rig.ctap()
    first = ctap.get_assertion("example.com", b"\0" * 32, on_keepalive=rig.pressing())
    assert first.number_of_credentials == 2
    management = rig.management()
    for entry in management.enumerate_creds(rig.server.rp.id_hash):
        management.delete_cred(entry[7])
    with pytest.raises(CtapError) as refused:
        ctap.get_next_assertion()
    assert refused.value.code == CtapError.ERR.NOT_ALLOWED
    assert rig.ctap().info.options["clientPin"]


def test_a_list_goes_on_only_as_long_as_nothing_else_was_asked(rig: Rig) -> None:
    for user in (b"anna", b"bert"):
        rig.register(user)
    management = rig.management()
    management.enumerate_creds_begin(rig.server.rp.id_hash)
    rig.register(b"carl")
    with pytest.raises(CtapError) as refused:
        management.enumerate_creds_next()
    assert refused.value.code == CtapError.ERR.NOT_ALLOWED


def test_fingers_named_listed_removed(rig: Rig) -> None:
    rig.enrol("index")
    client_pin, token = rig.token(PERMISSION.BIO_ENROLL)
    bio = FPBioEnrollment(client_pin.ctap, client_pin.protocol, token)
    thumb, index = sorted(bio.enumerate_enrollments())
    bio.set_name(index, "Zeigefinger")
    assert bio.enumerate_enrollments() == {thumb: "", index: "Zeigefinger"}
    made = rig.register()
    client_pin, token = rig.token(PERMISSION.BIO_ENROLL)  # a new token ends the one before
    FPBioEnrollment(client_pin.ctap, client_pin.protocol, token).remove_enrollment(thumb)
    assert len(rig.sensor.templates) == 1
    rig.person.finger, rig.person.pin = "thumb", None
    with pytest.raises(ClientError):
        rig.log_in([made.credential_data])


def test_enrolment_says_what_went_wrong(rig: Rig) -> None:
    client_pin, token = rig.token(PERMISSION.BIO_ENROLL)
    bio = FPBioEnrollment(client_pin.ctap, client_pin.protocol, token)
    enroller = bio.enroll(timeout=2000)

    def fails(finger: str, code: int) -> None:
        with pytest.raises(CaptureError) as failed:
            enroller.capture(on_keepalive=rig.pressing(finger) if finger else None)
        assert failed.value.code == code

    fails("", 0x0D)  # nobody came
    fails("thumb", 0x0B)  # is there already
    rig.sensor.quality = 7
    fails("index", 0x07)
    rig.sensor.hint = 3
    fails("index", 0x03)
    rig.sensor.quality = rig.sensor.hint = 0
    rig.sensor.extraction = 6
    fails("index", 0x08)
    rig.sensor.extraction = 7
    fails("index", 0x09)
    rig.sensor.extraction = 0
    for _ in range(5):
        assert enroller.capture(on_keepalive=rig.pressing("index")) is None
    fails("middle", 0x0A)  # another finger among the samples
    assert enroller.remaining == 6
    for _ in range(5):
        enroller.capture(on_keepalive=rig.pressing("index"))
    assert enroller.capture(on_keepalive=rig.pressing("index")) is not None


def test_a_full_sensor_says_so(rig: Rig) -> None:
    """Before the first sample where the reader's own places are taken, after the last one where the
    module has no room after all."""
    rig.sensor.room = 1
    client_pin, token = rig.token(PERMISSION.BIO_ENROLL)
    enroller = FPBioEnrollment(client_pin.ctap, client_pin.protocol, token).enroll()
    for _ in range(5):
        enroller.capture(on_keepalive=rig.pressing("index"))
    with pytest.raises(CaptureError) as full:
        enroller.capture(on_keepalive=rig.pressing("index"))
    assert full.value.code == 0x0C
    enroller.cancel()
    rig.sensor.room = 200
    for number in range(19):
        rig.enrol(f"finger-{number}")
    with pytest.raises(CtapError) as refused:
        rig.enrol("one too many")
    assert refused.value.code == CtapError.ERR.FP_DATABASE_FULL


def test_protected_credentials_are_not_shown_without_verification(rig: Rig) -> None:
    policy = CredProtectExtension.POLICY
    made = {}
    for level in (policy.OPTIONAL, policy.OPTIONAL_WITH_LIST, policy.REQUIRED):
        user = level.value.encode()[-20:]
        made[level] = rig.register(
            user,
            extensions={
                "credentialProtectionPolicy": level,
                "enforceCredentialProtectionPolicy": True,
            },
        ).credential_data
    ctap = rig.ctap()
    answer = ctap.get_assertion(
        "example.com", b"\x01" * 32, options={"up": True}, on_keepalive=rig.pressing()
    )
    assert answer.credential["id"] == made[policy.OPTIONAL].credential_id
    assert answer.number_of_credentials is None
    for level, allowed in (
        (policy.OPTIONAL_WITH_LIST, True), (policy.REQUIRED, False),
    ):  # fmt: skip
        listed = [{"id": made[level].credential_id, "type": "public-key"}]
        if allowed:
            ctap.get_assertion("example.com", b"\x01" * 32, listed, on_keepalive=rig.pressing())
        else:
            with pytest.raises(CtapError) as refused:
                ctap.get_assertion("example.com", b"\x01" * 32, listed, on_keepalive=rig.pressing())
            assert refused.value.code == CtapError.ERR.NO_CREDENTIALS


def test_hmac_secret_depends_on_salt_and_credential(rig: Rig) -> None:
    from fido2.client import DefaultClientDataCollector, Fido2Client
    from fido2.ctap2.extensions import HmacSecretExtension

    def client() -> Fido2Client:
        return Fido2Client(
            rig.device(), DefaultClientDataCollector("https://example.com"),
            user_interaction=rig.person, extensions=[HmacSecretExtension(allow_hmac_secret=True)],
        )  # fmt: skip

    begin, state = rig.server.register_begin(
        {"id": b"h", "name": "h", "displayName": "H"}, user_verification="required",
        resident_key_requirement="required", extensions={"hmacCreateSecret": True},
    )  # fmt: skip
    answer = client().make_credential(begin.public_key)
    assert answer.client_extension_results["hmacCreateSecret"]
    rig.server.register_complete(state, answer)

    def secrets(*salts: bytes) -> tuple[str, ...]:
        names = dict(zip(("salt1", "salt2"), salts, strict=False))
        request, _ = rig.server.authenticate_begin(
            user_verification="required", extensions={"hmacGetSecret": names}
        )
        got = client().get_assertion(request.public_key).get_response(0)
        values = got.client_extension_results["hmacGetSecret"]
        return tuple(values[name] for name in ("output1", "output2") if values.get(name))

    one, two = secrets(b"a" * 32, b"b" * 32)
    assert one != two
    assert secrets(b"b" * 32) == (two,)
    assert len(websafe_decode(one)) == 32


def test_large_blobs(rig: Rig) -> None:
    client_pin, token = rig.token(PERMISSION.LARGE_BLOB_WRITE)
    blobs = LargeBlobs(client_pin.ctap, client_pin.protocol, token)
    assert blobs.read_blob_array() == []
    blobs.put_blob(b"k" * 32, b"a certificate, say" * 20)
    rig.replug()
    client_pin, token = rig.token(PERMISSION.LARGE_BLOB_WRITE)
    blobs = LargeBlobs(client_pin.ctap, client_pin.protocol, token)
    assert blobs.get_blob(b"k" * 32) == b"a certificate, say" * 20
    with pytest.raises(CtapError) as refused:
        blobs.put_blob(b"n" * 32, os.urandom(3000))
    assert refused.value.code == CtapError.ERR.LARGE_BLOB_STORAGE_FULL


def test_config_always_uv_and_least_pin_length(rig: Rig) -> None:
    client_pin, token = rig.token(PERMISSION.AUTHENTICATOR_CFG)
    config = Config(client_pin.ctap, client_pin.protocol, token)
    config.toggle_always_uv()
    info = rig.ctap().info
    assert info.options["alwaysUv"] and not info.options["makeCredUvNotRqd"]
    made = rig.register()
    ctap = rig.ctap()
    answer = ctap.get_assertion(
        "example.com", b"\x02" * 32,
        [{"id": made.credential_data.credential_id, "type": "public-key"}],
        on_keepalive=rig.pressing(),
    )  # fmt: skip
    assert answer.auth_data.is_user_verified()
    client_pin, token = rig.token(PERMISSION.AUTHENTICATOR_CFG)
    Config(client_pin.ctap, client_pin.protocol, token).set_min_pin_length(6)
    info = rig.ctap().info
    assert info.min_pin_length == 6 and info.force_pin_change
    with pytest.raises(CtapError):
        rig.token(PERMISSION.AUTHENTICATOR_CFG)
    ClientPin(rig.ctap()).change_pin(PIN, "123456")
    assert not rig.ctap().info.force_pin_change
    client_pin, token = rig.token(PERMISSION.AUTHENTICATOR_CFG, "123456")
    with pytest.raises(CtapError) as refused:
        Config(client_pin.ctap, client_pin.protocol, token).set_min_pin_length(5)
    assert refused.value.code == CtapError.ERR.PIN_POLICY_VIOLATION


def test_a_token_is_good_for_what_it_says_only(rig: Rig) -> None:
    client_pin, token = rig.token(PERMISSION.CREDENTIAL_MGMT)
    bio = FPBioEnrollment(client_pin.ctap, client_pin.protocol, token)
    with pytest.raises(CtapError) as refused:
        bio.enumerate_enrollments()
    assert refused.value.code == CtapError.ERR.PIN_AUTH_INVALID


def test_reset_forgets_everything(rig: Rig) -> None:
    made = rig.register()
    rig.replug()
    rig.ctap().reset(on_keepalive=rig.pressing())
    info = rig.ctap().info
    assert not info.options["uv"] and not info.options["clientPin"]
    assert rig.sensor.templates == {}
    with pytest.raises(CtapError) as refused:
        rig.ctap().get_assertion(
            "example.com",
            b"\0" * 32,
            [{"id": made.credential_data.credential_id, "type": "public-key"}],
        )
    assert refused.value.code == CtapError.ERR.NO_CREDENTIALS
    rig.replug()
    assert not rig.ctap().info.options["clientPin"]


def test_selection_and_cancel(rig: Rig) -> None:
    from threading import Event

    rig.ctap().selection(on_keepalive=rig.pressing())
    cancel = Event()
    with pytest.raises(CtapError) as refused:
        rig.ctap().selection(event=cancel, on_keepalive=lambda _: cancel.set())
    assert refused.value.code == CtapError.ERR.KEEPALIVE_CANCEL


def test_a_hundred_credentials_and_ten_fingers(new_rig: Callable[..., Rig]) -> None:
    rig = new_rig()
    ClientPin(rig.ctap()).set_pin(PIN)
    for n in range(10):
        rig.enrol(f"finger-{n}")
    rig.person.finger = "finger-7"
    last = None
    for n in range(104):
        last = rig.register(b"user-%03d" % n).credential_data
    assert rig.management().get_metadata()[1] == 104
    assert rig.log_in([last], listed=True)
    rig.replug()
    assert rig.log_in([last])


@pytest.mark.parametrize("resident", ["required", "discouraged"])
def test_ed25519(rig: Rig, resident: str) -> None:
    """EdDSA (-8), when it stands first in the server's list."""
    rig.server.allowed_algorithms = [
        PublicKeyCredentialParameters(type=PublicKeyCredentialType.PUBLIC_KEY, alg=alg)
        for alg in (-999, -8, -7)
    ]
    made = rig.register(resident=resident)
    assert made.credential_data.public_key.ALGORITHM == -8
    assert rig.log_in([made.credential_data], listed=resident == "discouraged")
    if resident == "required":
        management = rig.management()
        party = management.enumerate_rps()[0]
        (entry,) = management.enumerate_creds(party[4])
        assert entry[8] == dict(made.credential_data.public_key)
