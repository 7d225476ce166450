"""Extensions and what CTAP 2.2 has added, with python-fido2 as the other side."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from fido2 import cbor
from fido2.client import DefaultClientDataCollector, Fido2Client
from fido2.ctap import CtapError
from fido2.ctap2 import ClientPin, Config
from fido2.ctap2.credman import CredentialManagement
from fido2.ctap2.extensions import HmacSecretExtension, ThirdPartyPaymentExtension
from fido2.ctap2.pin import PinProtocolV1, PinProtocolV2

from tallystick.tools.campaign.ctap.channels import PLATFORM_KEY
from tests.emulator.reader.conftest import Life
from tests.emulator.reader.raw import (
    ASSERT,
    CONFIG,
    CREDENTIALS,
    ES256,
    HASH,
    MAKE,
    NEXT,
    PARTY,
    USER,
    Host,
    permitted,
)
from tests.emulator.reader.raw import PIN as PIN_COMMAND
from tests.emulator.reader.rig import ORIGIN, PIN, Rig

PERMISSION = ClientPin.PERMISSION
PROTOCOLS = [PinProtocolV1(), PinProtocolV2()]
_NEW: dict[int, Any] = {1: HASH, 2: PARTY, 3: USER, 4: ES256}
_OLD: dict[int, Any] = {1: "example.com", 2: HASH}


def _look_token(rig: Rig, pin: str = PIN) -> bytes:
    return ClientPin(rig.ctap()).get_pin_token(pin, PERMISSION.PERSISTENT_CREDENTIAL_MGMT)


def _looking(rig: Rig, token: bytes) -> CredentialManagement:
    ctap = rig.ctap()
    return CredentialManagement(ctap, ClientPin(ctap).protocol, token)


def _refused(call: Callable[[], object]) -> int:
    with pytest.raises(CtapError) as refused:
        call()
    return int(refused.value.code)


def test_what_it_says_of_itself(rig: Rig) -> None:
    info = rig.ctap().info
    assert info.extensions == [
        "credBlob", "credProtect", "hmac-secret", "hmac-secret-mc", "largeBlobKey", "minPinLength",
        "thirdPartyPayment",
    ]  # fmt: skip
    assert info.options["perCredMgmtRO"] and "ep" not in info.options
    assert info.max_cred_blob_length == 32 and info.max_rpids_for_min_pin == 8
    assert info.attestation_formats == ["packed"] and info.transports_for_reset == ["usb"]
    assert not info.long_touch_for_reset and info.max_pin_length == 63
    assert info.authenticator_config_commands == [2, 3]
    assert info.firmware_version > 0
    # CTAP 2.1, 6.4: a platform may not take more before it knows maxMsgSize.
    assert len(bytes(rig.device().call(0x10, b"\x04"))) <= 1024


# -- the persistent token ----------------------------------------------------------------------


def test_a_persistent_token_outlives_power_and_only_looks(rig: Rig) -> None:
    made = rig.register()
    token = _look_token(rig)
    rig.replug()
    manager = _looking(rig, token)
    assert manager.get_metadata()[1] == 1
    (party,) = manager.enumerate_rps()
    (found,) = manager.enumerate_creds(party[4])
    assert found[7]["id"] == made.credential_data.credential_id
    named = {"id": made.credential_data.credential_id, "type": "public-key"}
    assert _refused(lambda: manager.delete_cred(named)) == 0x33
    assert _refused(lambda: manager.update_user_info(named, {"id": b"user-1"})) == 0x33


def test_a_persistent_token_leaves_the_one_of_now_alone(rig: Rig) -> None:
    client, token = permitted(rig, PERMISSION.CREDENTIAL_MGMT)
    assert _look_token(rig) == _look_token(rig)
    assert CredentialManagement(client.ctap, client.protocol, token).get_metadata()[1] == 0


def test_a_finger_gives_it_too(rig: Rig) -> None:
    client = ClientPin(rig.ctap())
    allowed = PERMISSION.PERSISTENT_CREDENTIAL_MGMT
    assert client.get_uv_token(allowed, on_keepalive=rig.pressing()) == _look_token(rig)


def test_a_new_pin_ends_it_and_the_old_pin_does_not_bring_it_back(rig: Rig) -> None:
    token = _look_token(rig)
    ClientPin(rig.ctap()).change_pin(PIN, "97531")
    assert _refused(_looking(rig, token).get_metadata) == 0x33
    ClientPin(rig.ctap()).change_pin("97531", PIN)
    assert _refused(_looking(rig, token).get_metadata) == 0x33
    assert _looking(rig, _look_token(rig)).get_metadata()[1] == 0


def test_a_reset_ends_it_and_the_same_pin_does_not_bring_it_back(
    new_rig: Callable[..., Rig], in_service: Life
) -> None:
    rig = new_rig(in_service)
    token = _look_token(rig)
    rig.replug()
    rig.ctap().reset(on_keepalive=rig.pressing())
    ClientPin(rig.ctap()).set_pin(PIN)
    assert _refused(_looking(rig, token).get_metadata) == 0x33


def test_a_forced_change_ends_it(rig: Rig) -> None:
    token = _look_token(rig)
    client, config = permitted(rig, PERMISSION.AUTHENTICATOR_CFG)
    Config(client.ctap, client.protocol, config).set_min_pin_length(force_change_pin=True)
    assert _refused(_looking(rig, token).get_metadata) == 0x33


def test_it_comes_alone(rig: Rig) -> None:
    both = PERMISSION.PERSISTENT_CREDENTIAL_MGMT | PERMISSION.CREDENTIAL_MGMT
    assert _refused(lambda: ClientPin(rig.ctap()).get_pin_token(PIN, both)) == 0x40


def test_who_holds_it_knows_the_reader_again_and_others_do_not(rig: Rig) -> None:
    token = _look_token(rig)
    one, two = rig.ctap().info, rig.ctap().info
    assert one.enc_identifier != two.enc_identifier
    assert one.get_identifier(token) == two.get_identifier(token)
    rig.replug()
    assert rig.ctap().info.get_identifier(token) == one.get_identifier(token)
    assert rig.ctap().info.get_identifier(bytes(32)) != one.get_identifier(token)


def test_the_state_of_the_credentials_changes_with_them_only(rig: Rig) -> None:
    token = _look_token(rig)

    def state() -> bytes | None:
        return rig.ctap().info.get_cred_store_state(token)

    seen = [state()]
    made = rig.register()
    seen.append(state())
    rig.log_in([made.credential_data])
    assert state() == seen[-1]
    named = {"id": made.credential_data.credential_id, "type": "public-key"}
    rig.management().update_user_info(named, {"id": b"user-1", "name": "renamed"})
    seen.append(state())
    rig.management().delete_cred(named)
    seen.append(state())
    rig.replug()
    assert state() == seen[-1]
    assert len(set(seen)) == 4 and None not in seen


def test_fingers_since_the_last_pin(rig: Rig) -> None:
    _look_token(rig)
    assert rig.ctap().info.uv_count_since_pin == 0
    made = rig.register()
    rig.log_in([made.credential_data])
    assert rig.ctap().info.uv_count_since_pin == 2
    rig.replug()
    assert rig.ctap().info.uv_count_since_pin == 2
    _look_token(rig)
    assert rig.ctap().info.uv_count_since_pin == 0


# -- extensions --------------------------------------------------------------------------------


def test_a_blob_comes_back(rig: Rig) -> None:
    made = rig.register(extensions={"credBlob": b"b" * 32})
    assert made.extensions["credBlob"] is True
    begin, _ = rig.server.authenticate_begin(user_verification="required")
    options = {**begin["publicKey"], "extensions": {"getCredBlob": True}}
    answer = rig.client().get_assertion(options).get_response(0)
    assert answer.response.authenticator_data.extensions == {"credBlob": b"b" * 32}


@pytest.mark.parametrize(("blob", "rk"), [(b"b" * 33, True), (b"b", False)])
def test_a_blob_that_is_not_kept(rig: Rig, blob: bytes, rk: bool) -> None:
    request = _NEW | {6: {"credBlob": blob}, 7: {"uv": True, "rk": rk}}
    status, answer = Host(rig).ask(MAKE, request, press="thumb")
    assert status == 0
    data = answer[2]
    assert data.endswith(b"\xa1\x68credBlob\xf4")
    identifier = data[55 : 55 + int.from_bytes(data[53:55], "big")]
    allowed = [{"id": identifier, "type": "public-key"}]
    question = {1: "example.com", 2: HASH, 3: allowed, 4: {"credBlob": True}}
    status, answer = Host(rig).ask(ASSERT, question, press="thumb")
    assert status == 0 and answer[2].endswith(b"\xa1\x68credBlob\x40")


def test_the_least_length_is_told_to_whom_the_pin_says(rig: Rig) -> None:
    assert rig.register(extensions={"minPinLength": True}).extensions is None
    client, token = permitted(rig, PERMISSION.AUTHENTICATOR_CFG)
    Config(client.ctap, client.protocol, token).set_min_pin_length(
        4, ["other.example", "example.com"]
    )
    rig.replug()
    assert rig.register(extensions={"minPinLength": True}).extensions["minPinLength"] == 4
    client, token = permitted(rig, PERMISSION.AUTHENTICATOR_CFG)
    config = Config(client.ctap, client.protocol, token)
    many = [f"{n}.example" for n in range(9)]
    assert _refused(lambda: config.set_min_pin_length(5, many)) == 0x28
    assert rig.ctap().info.min_pin_length == 4
    config.set_min_pin_length(4, [])
    assert rig.register(extensions={"minPinLength": True}).extensions is None


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_secret_with_a_new_credential(rig: Rig, protocol: Any) -> None:
    """WebAuthn's prf: what registration gives is what a log-in gives."""
    extension = HmacSecretExtension(allow_hmac_secret=True)

    def client() -> Fido2Client:
        return Fido2Client(
            rig.device(), DefaultClientDataCollector(ORIGIN), rig.person, extensions=[extension]
        )

    begin, _ = rig.server.register_begin(
        {"id": b"u", "name": "u"}, resident_key_requirement="required", user_verification="required"
    )
    first, second = b"\x01" * 32, b"\x02" * 32
    salts = {"salt1": first, "salt2": second}
    options = {
        **begin["publicKey"],
        "extensions": {"hmacCreateSecret": True, "hmacGetSecret": salts},
    }
    made = client().make_credential(options)
    secrets = made.client_extension_results["hmacGetSecret"]
    begin, _ = rig.server.authenticate_begin(user_verification="required")
    options = {**begin["publicKey"], "extensions": {"hmacGetSecret": salts}}
    answer = client().get_assertion(options).get_response(0)
    assert answer.client_extension_results["hmacGetSecret"] == secrets
    assert secrets["output1"] != secrets["output2"]


def test_a_payment_credential_says_so(rig: Rig) -> None:
    extension = ThirdPartyPaymentExtension()
    client = Fido2Client(
        rig.device(), DefaultClientDataCollector(ORIGIN), rig.person, extensions=[extension]
    )
    payment = {"payment": {"isPayment": True}}
    plain = rig.register(b"plain", resident="discouraged")
    begin, _ = rig.server.register_begin({"id": b"u", "name": "u"}, user_verification="required")
    made = client.make_credential({**begin["publicKey"], "extensions": payment})
    paying = made.response.attestation_object.auth_data
    for one, pays in ((paying, True), (plain, False)):
        begin, _ = rig.server.authenticate_begin(
            [one.credential_data], user_verification="required"
        )
        options = {**begin["publicKey"], "extensions": payment}
        answer = client.get_assertion(options).get_response(0)
        assert answer.response.authenticator_data.extensions == {"thirdPartyPayment": pays}


@pytest.mark.parametrize("pays", [True, False])
def test_a_list_says_what_a_credential_is_for(rig: Rig, pays: bool) -> None:
    """CTAP 2.2, 6.8.4; 12.3: one of the two extensions is not taken for the other."""
    asked = {"thirdPartyPayment": True} if pays else {"largeBlobKey": True}
    request = _NEW | {6: asked, 7: {"rk": True, "uv": True}}
    status, made = Host(rig).ask(MAKE, request, press="thumb")
    assert status == 0
    manager = rig.management()
    (one,) = manager.enumerate_creds(manager.enumerate_rps()[0][4])
    assert (one[12], one.get(11)) == (pays, made.get(5)) and (5 in made) != pays


def test_each_next_assertion_has_its_own_secret(rig: Rig) -> None:
    """6.3, and 12.5: what the first one was asked for is answered for each."""
    for number in range(3):
        rig.register(b"user-%d" % number)
    client = ClientPin(rig.ctap())
    key, shared = client._get_shared_secret()
    salt = client.protocol.encrypt(shared, b"\x01" * 32)
    asked = {1: key, 2: salt, 3: client.protocol.authenticate(shared, salt), 4: 2}
    host = Host(rig)
    answers = [host.ask(ASSERT, _OLD | {4: {"hmac-secret": asked}}, press="index")]
    answers += [host.ask(NEXT) for _ in range(2)]
    secrets = set()
    for status, answer in answers:
        assert status == 0
        said = cbor.decode(answer[2][37:])
        secrets.add(client.protocol.decrypt(shared, said["hmac-secret"]))
    assert len(secrets) == 3


def test_a_blob_key_is_told_to_who_asks(rig: Rig) -> None:
    """12.3: largeBlobKey is in an answer when the extension was asked for."""
    host = Host(rig)
    resident = {7: {"rk": True, "uv": True}}
    made = host.ask(MAKE, _NEW | resident | {6: {"largeBlobKey": True}}, press="thumb")[1]
    assert 7 not in host.ask(ASSERT, _OLD, press="index")[1]
    assert host.ask(ASSERT, _OLD | {4: {"largeBlobKey": True}}, press="index")[1][7] == made[5]


def test_a_touch_alone_is_counted_for_good(rig: Rig) -> None:
    """6.2.2: the counter of an assertion that writes nothing else is higher after power went."""
    rig.register()
    before = 0
    for _ in range(3):
        answer = Host(rig).ask(ASSERT, _OLD, press="index")[1]
        count = int.from_bytes(answer[2][33:37], "big")
        assert count > before
        before = count
        rig.replug()


@pytest.mark.parametrize(
    ("wanted", "form"),
    [(["none"], "none"), (["none", "packed"], "packed"), (["tpm"], "packed"), ([], "packed")],
)
def test_a_platform_may_want_no_attestation(rig: Rig, wanted: list[str], form: str) -> None:
    """CTAP 2.2, 6.1.2, attestationFormatsPreference."""
    status, answer = Host(rig).ask(MAKE, _NEW | {11: wanted}, press="index")
    assert status == 0 and answer[1] == form
    assert set(answer[3]) == (set() if form == "none" else {"alg", "sig", "x5c"})


# -- malformed ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "request_", "status"),
    [
        (MAKE, _NEW | {6: {"credBlob": True}}, 0x11),
        (MAKE, _NEW | {6: {"minPinLength": 1}}, 0x11),
        (MAKE, _NEW | {6: {"thirdPartyPayment": "yes"}}, 0x11),
        (MAKE, _NEW | {6: {"hmac-secret-mc": True}}, 0x11),
        (MAKE, _NEW | {6: {"hmac-secret-mc": {}}}, 0x14),
        (MAKE, _NEW | {6: {"hmac-secret": False, "hmac-secret-mc": {}}}, 0x14),
        (MAKE, _NEW | {6: {"hmac-secret": True, "hmac-secret-mc": {}}}, 0x14),
        (MAKE, _NEW | {6: {"hmac-secret": True, "hmac-secret-mc": {1: {}, 2: b"", 3: b""}}}, 0x02),
        (MAKE, _NEW | {10: 1}, 0x02),  # 6.1.2 step 9: no enterprise attestation
        (MAKE, _NEW | {10: True}, 0x11),
        (MAKE, _NEW | {11: "none"}, 0x11),
        (MAKE, _NEW | {11: [1]}, 0x11),
        (ASSERT, _OLD | {4: {"credBlob": b""}}, 0x11),
        (ASSERT, _OLD | {4: {"thirdPartyPayment": 1}}, 0x11),
        (MAKE, _NEW | {5: [{"id": b"x", "type": "public-key", "transports": [1]}]}, 0x11),
        (ASSERT, _OLD | {3: [{"id": b"x", "type": "public-key", "transports": [True]}]}, 0x11),
        (PIN_COMMAND, {1: 2, 2: 6, 3: PLATFORM_KEY | {3: "-25"}, 9: 4}, 0x02),
        (CONFIG, {1: 1}, 0x02),
        (CONFIG, {1: 4}, 0x02),
    ],
)  # fmt: skip
def test_what_is_malformed_is_refused_at_once(
    rig: Rig, command: int, request_: dict[int, Any], status: int
) -> None:
    rig.register()
    began = rig.reader.clock.now
    assert Host(rig).status(command, request_) == status
    assert rig.reader.clock.now - began < 3_000_000  # µs


@pytest.mark.parametrize(
    ("parameters", "status"),
    [({2: [1]}, 0x11), ({2: "example.com"}, 0x11), ({4: True}, 0x02), ({4: 1}, 0x11)],
)
def test_malformed_configurations(rig: Rig, parameters: dict[int, Any], status: int) -> None:
    client, token = permitted(rig, PERMISSION.AUTHENTICATOR_CFG)
    message = b"\xff" * 32 + b"\x0d\x03" + cbor.encode(parameters)
    request = {1: 3, 2: parameters, 3: client.protocol.VERSION}
    request[4] = client.protocol.authenticate(token, message)
    assert Host(rig).status(CONFIG, request) == status


@pytest.mark.parametrize("command", [6, 7])
@pytest.mark.parametrize(
    ("named", "status"),
    [({}, 0x14), ({"type": 1}, 0x11), ({"type": "private-key"}, 0x2E), ({"type": True}, 0x11)],
)
def test_a_descriptor_without_its_type_names_nothing(
    rig: Rig, command: int, named: dict[str, Any], status: int
) -> None:
    made = rig.register()
    client, token = permitted(rig, PERMISSION.CREDENTIAL_MGMT)
    parameters: dict[int, Any] = {2: named | {"id": made.credential_data.credential_id}}
    if command == 7:
        parameters[3] = {"id": b"user-1"}
    message = bytes((command,)) + cbor.encode(parameters)
    request = {1: command, 2: parameters, 3: client.protocol.VERSION}
    request[4] = client.protocol.authenticate(token, message)
    assert Host(rig).status(CREDENTIALS, request) == status
    assert rig.management().get_metadata()[1] == 1


def test_there_is_no_enterprise_attestation(rig: Rig) -> None:
    """A client that asks for it gets what everybody gets."""
    begin, _ = rig.server.register_begin({"id": b"u", "name": "u"})
    made = rig.client().make_credential({**begin["publicKey"], "attestation": "enterprise"})
    assert made.response.attestation_object.fmt in ("packed", "none")
    client, token = permitted(rig, PERMISSION.AUTHENTICATOR_CFG)
    config = Config(client.ctap, client.protocol, token)
    with pytest.raises(ValueError):
        config.enable_enterprise_attestation()
