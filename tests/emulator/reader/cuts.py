"""Every command of the reader that changes its state, and what must hold when the power goes during
it.

For each scenario: the life of a reader in service, one command, a cut at flash operation n (before,
during or after), a new start, and an observer with python-fido2. The state must be the one before
or the one after the command, and retry counters must not have risen by the cut.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from fido2.ctap import CtapError
from fido2.ctap2 import ClientPin, Config, Ctap2
from fido2.ctap2.bio import FPBioEnrollment
from fido2.ctap2.credman import CredentialManagement

from tallystick.emulator.parts.nor_flash import Cut, FlashOperation, Phase
from tests.emulator.reader.rig import PIN, Rig

PERMISSION = ClientPin.PERMISSION
HASH = b"\x07" * 32


@dataclass(frozen=True)
class Scenario:
    """prepare: brings the reader to where the command is one call away, and returns that call."""

    name: str
    prepare: Callable[[Rig], Callable[[], object]]


def _token(
    rig: Rig, permission: int, rp_id: str | None = None, uv: bool = False
) -> tuple[Ctap2, Any, bytes]:
    client_pin = ClientPin(rig.ctap())
    if uv:
        token = client_pin.get_uv_token(permission, rp_id, on_keepalive=rig.pressing())
    else:
        token = client_pin.get_pin_token(PIN, permission, rp_id)
    return client_pin.ctap, client_pin.protocol, token


def _make(rig: Rig, user: bytes = b"new") -> Callable[[], object]:
    ctap, protocol, token = _token(rig, PERMISSION.MAKE_CREDENTIAL, "example.com", uv=True)
    return lambda: ctap.make_credential(
        HASH, {"id": "example.com", "name": "x"}, {"id": user, "name": "n", "displayName": "N"},
        [{"type": "public-key", "alg": -7}], options={"rk": True},
        pin_uv_param=protocol.authenticate(token, HASH), pin_uv_protocol=protocol.VERSION,
    )  # fmt: skip


def _log_in(rig: Rig) -> Callable[[], object]:
    ctap, protocol, token = _token(rig, PERMISSION.GET_ASSERTION, "example.com", uv=True)
    return lambda: ctap.get_assertion(
        "example.com", HASH, pin_uv_param=protocol.authenticate(token, HASH),
        pin_uv_protocol=protocol.VERSION,
    )  # fmt: skip


def _manage(rig: Rig) -> CredentialManagement:
    ctap, protocol, token = _token(rig, PERMISSION.CREDENTIAL_MGMT)
    return CredentialManagement(ctap, protocol, token)


def _entry(management: CredentialManagement) -> Any:
    (party,) = management.enumerate_rps()
    return management.enumerate_creds(party[4])[0]


def _delete(rig: Rig) -> Callable[[], object]:
    management = _manage(rig)
    identifier = _entry(management)[7]
    return lambda: management.delete_cred(identifier)


def _update(rig: Rig) -> Callable[[], object]:
    management = _manage(rig)
    entry = _entry(management)
    user = {"id": entry[6]["id"], "name": "changed", "displayName": "Changed"}
    return lambda: management.update_user_info(entry[7], user)


def _bio(rig: Rig) -> FPBioEnrollment:
    ctap, protocol, token = _token(rig, PERMISSION.BIO_ENROLL)
    return FPBioEnrollment(ctap, protocol, token)


def _enrol(rig: Rig) -> Callable[[], object]:
    enroller = _bio(rig).enroll()
    for _ in range(5):
        enroller.capture(on_keepalive=rig.pressing("index"))
    return lambda: enroller.capture(on_keepalive=rig.pressing("index"))


def _rename(rig: Rig) -> Callable[[], object]:
    bio = _bio(rig)
    return lambda: bio.set_name(next(iter(bio.enumerate_enrollments())), "Daumen")


def _remove(rig: Rig) -> Callable[[], object]:
    bio = _bio(rig)
    return lambda: bio.remove_enrollment(next(iter(bio.enumerate_enrollments())))


def _config(rig: Rig) -> Config:
    ctap, protocol, token = _token(rig, PERMISSION.AUTHENTICATOR_CFG)
    return Config(ctap, protocol, token)


def _min_pin(rig: Rig) -> Callable[[], object]:
    config = _config(rig)
    return lambda: config.set_min_pin_length(6)


def _blobs(rig: Rig) -> Callable[[], object]:
    ctap, protocol, token = _token(rig, PERMISSION.LARGE_BLOB_WRITE)
    array = b"\x81\x59\x01\x90" + b"text" * 100  # the same in every run, unlike what is encrypted
    array += sha256(array).digest()[:16]
    message = b"\xff" * 32 + b"\x0c\x00" + bytes(4) + sha256(array).digest()
    return lambda: ctap.large_blobs(
        0, set=array, length=len(array), pin_uv_protocol=protocol.VERSION,
        pin_uv_param=protocol.authenticate(token, message),
    )  # fmt: skip


def _refused(call: Callable[[], object]) -> Callable[[], object]:
    def tried() -> None:
        try:
            call()
        except CtapError:
            return
        raise AssertionError("it was not refused")

    return tried


def _wrong_pin(rig: Rig) -> Callable[[], object]:
    client_pin = ClientPin(rig.ctap())
    return _refused(lambda: client_pin.get_pin_token("0000"))


def _wrong_finger(rig: Rig) -> Callable[[], object]:
    client_pin = ClientPin(rig.ctap())

    def press(status: int) -> None:
        if status == 2:
            for n in range(3):
                rig.reader.clock.after(n * 1_500_000, lambda: rig.sensor.press("stranger"))

    return _refused(
        lambda: client_pin.get_uv_token(PERMISSION.GET_ASSERTION, "x", on_keepalive=press)
    )


def _reset(rig: Rig) -> Callable[[], object]:
    rig.replug()
    ctap = rig.ctap()
    return lambda: ctap.reset(on_keepalive=rig.pressing())


SCENARIOS = [
    Scenario("make a resident credential", _make),
    Scenario("replace a resident credential", lambda rig: _make(rig, b"user-1")),
    Scenario("log in", _log_in),
    Scenario("delete a credential", _delete),
    Scenario("update a user", _update),
    Scenario("enrol a finger", _enrol),
    Scenario("name a finger", _rename),
    Scenario("remove a finger", _remove),
    Scenario("change the PIN", lambda rig: lambda: ClientPin(rig.ctap()).change_pin(PIN, "97531")),
    Scenario("a right PIN", lambda rig: lambda: ClientPin(rig.ctap()).get_pin_token(PIN)),
    Scenario("a wrong PIN", _wrong_pin),
    Scenario("a wrong finger, three times", _wrong_finger),
    Scenario("toggle alwaysUv", lambda rig: _config(rig).toggle_always_uv),
    Scenario("least PIN length", _min_pin),
    Scenario("large blobs", _blobs),
    Scenario("reset", _reset),
]


def observe(rig: Rig) -> dict[str, Any]:
    """What can be seen from outside, without changing more than a token must."""
    info = rig.ctap().info
    client_pin = ClientPin(rig.ctap())
    seen: dict[str, Any] = {
        "options": dict(info.options),
        "min_pin": (info.min_pin_length, info.force_pin_change),
        "retries": client_pin.get_pin_retries()[0],
        "uv_retries": client_pin.get_uv_retries(),
    }
    pin = None
    if info.options["clientPin"] and seen["retries"]:
        for candidate in (PIN, "97531"):
            try:
                client_pin.get_pin_token(candidate, PERMISSION.CREDENTIAL_MGMT)
                pin = candidate
                break
            except CtapError as error:
                if error.code == CtapError.ERR.PIN_POLICY_VIOLATION:
                    pin = candidate
                    break
    seen["pin"] = pin
    if pin and not info.force_pin_change:
        ctap = rig.ctap()
        client_pin = ClientPin(ctap)
        token = client_pin.get_pin_token(pin, PERMISSION.CREDENTIAL_MGMT | PERMISSION.BIO_ENROLL)
        management = CredentialManagement(ctap, client_pin.protocol, token)
        seen["credentials"] = sorted(
            (entry[6]["id"], entry[6].get("name"), bytes(entry[7]["id"]))
            for party in management.enumerate_rps()
            for entry in management.enumerate_creds(party[4])
        )
        bio = FPBioEnrollment(ctap, client_pin.protocol, token)
        seen["fingers"] = bio.enumerate_enrollments() if info.options["bioEnroll"] else {}
        seen["templates"] = sorted(rig.sensor.templates)
    seen["blobs"] = rig.ctap().large_blobs(0, get=1000)[1]
    return seen


class CutAt:
    """A fault plan: cuts at the operation that is `number` from now, in a way that a seed fixes."""

    def __init__(self, number: int, phase: Phase, seed: int) -> None:
        self._left = number
        self._phase = phase
        self._rng = random.Random(seed)

    def __call__(self, operation: FlashOperation) -> Cut | None:
        self._left -= 1
        if self._left:
            return None
        if self._phase is not Phase.DURING:
            return Cut(self._phase)
        changing = [
            bit for bit in range(len(operation.new) * 8)
            if (operation.old[bit >> 3] ^ operation.new[bit >> 3]) >> (bit & 7) & 1
        ]  # fmt: skip
        content = bytearray(operation.old)
        share = self._rng.choice((0.01, 0.5, 0.99, 1.0))
        for bit in changing:
            if self._rng.random() < share:
                content[bit >> 3] ^= 1 << (bit & 7)
        weak = self._rng.sample(changing, min(len(changing), self._rng.choice((0, 1, 4))))
        return Cut(self._phase, bytes(content), frozenset(weak))


def without_retries(seen: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in seen.items() if not key.endswith("retries")}


def count_operations(rig: Rig, call: Callable[[], object]) -> int:
    """Flash operations of a command that nothing disturbs."""
    begun = rig.reader.flash.operations
    call()
    return rig.reader.flash.operations - begun


def cuts(operations: int, seeds: int) -> Iterator[tuple[int, Phase, int]]:
    """Every operation and phase; torn operations in as many ways as `seeds`."""
    for number in range(1, operations + 1):
        yield number, Phase.BEFORE, 0
        yield number, Phase.AFTER, 0
        for seed in range(seeds):
            yield number, Phase.DURING, seed
