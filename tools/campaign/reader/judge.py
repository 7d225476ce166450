"""How a reader is judged after a cut: it starts, and a host looks and asks."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

from fido2.ctap import CtapError
from fido2.ctap2.base import Ctap2
from fido2.ctap2.bio import FPBioEnrollment
from fido2.ctap2.credman import CredentialManagement
from fido2.ctap2.pin import ClientPin

from tallystick import faults
from tallystick.tools.campaign.engine.flash_state import PIECE
from tallystick.tools.campaign.engine.line import split
from tallystick.tools.campaign.engine.subject import Node, ViolationError
from tallystick.tools.campaign.reader.oracle import ReaderState
from tallystick.tools.campaign.reader.rig import FINGER, OTHER_PIN, PIN, ReaderRig, refused
from tallystick.tools.campaign.reader.scenarios import (
    HASH,
    PARTY,
    PERMISSION,
    SAMPLES,
    Scenario,
    enrol,
    log_in,
    make,
)

_BLOBS = 1984  # bytes that one answer can hold
_IN_ONE_GO, _USED = 16, 8  # of 256


def judge(rig: ReaderRig, scenario: Scenario, node: Node) -> None:
    """Starts the reader and looks. Raises ViolationError."""
    if scenario.pays_first and node.path == ("0a",):
        _need_paid(rig, scenario)
    rig.start(wait=False)
    try:
        if _in_one_go(node):
            _look_at_all(rig, scenario, node)
        else:
            look(rig)
            if scenario.erases and not rig.worn:
                _need_nothing_old(rig)
            _look_again(rig)
    except CtapError as error:
        raise ViolationError("refused", f"a look was answered with {error}") from error


def _look_at_all(rig: ReaderRig, scenario: Scenario, node: Node) -> None:
    """In the start that follows the cut, where weak bits allow it, and all of it may be cut."""
    if node.flash.weak:
        look(rig)
        rig.restart(wait=False)  # weak bits read differently now
    observe(rig)
    if scenario.erases and not rig.worn:
        _need_nothing_old(rig)
    if node.flash.worn:
        rig.restart(wait=False)
        look(rig)
    if _thorough(node):
        rig.restart(wait=False)
        observe(rig)
        rig.armed = False  # what follows has scenarios of its own
        _use(rig)


def _look_again(rig: ReaderRig) -> None:
    """Weak bits read differently now. What comes after the power went depends on what flash and
    sensor hold and on nothing else, so it is looked at once where that and what is known are equal.
    """
    rig.power_off()
    state = rig.state_digest()
    if state not in rig.passed:
        rig.armed = False  # it is not so for each, so nothing here is cut
        rig.restart(wait=False)
        observe(rig)
        rig.passed.add(state)


def _in_one_go(node: Node) -> bool:
    """At the end of a scenario, and for some of the others."""
    return _thorough(node) or node.digest[1] < _IN_ONE_GO


def _thorough(node: Node) -> bool:
    """At the end of a scenario a reader is also put to use; of the others a few are."""
    return split(node.path[-1])[1] == faults.END or node.digest[0] < _USED


def _need_paid(rig: ReaderRig, scenario: Scenario) -> None:
    """The first change of flash took a try: what is compared then is not known yet."""
    known = rig.oracle.known
    finger = scenario.wrong_fingers or scenario.right == "finger"
    tries = known.finger if finger else known.pin
    before = max(value for value in tries.left if value < tries.whole)
    if finger:
        rig.oracle.done(None, None, before - 1)
    else:
        rig.oracle.done(None, before - 1, None)


def look(rig: ReaderRig) -> tuple[Ctap2, dict[str, Any]]:
    """What can be seen without a PIN, and a channel."""
    ctap, oracle = rig.ctap(), rig.oracle
    info = ctap.info
    if not info.options.get("rk"):
        return ctap, _damaged(rig, ctap)
    facts: dict[str, Any] = {
        "options": tuple(sorted(info.options.items())),
        "min_pin": (info.min_pin_length, bool(info.force_pin_change)),
        "blobs": sha256(ctap.large_blobs(0, get=_BLOBS)[1]).digest()[:8],
    }
    oracle.saw(**facts)
    client = ClientPin(ctap)
    oracle.tries(client.get_pin_retries()[0], client.get_uv_retries())
    facts["known"] = _opens(rig, ctap)
    oracle.saw(known=facts["known"])
    return ctap, facts


def _damaged(rig: ReaderRig, ctap: Ctap2) -> dict[str, Any]:
    """Nothing but a reset is answered."""
    refused(lambda: ctap.large_blobs(0, get=1))
    facts: dict[str, Any] = {"options": (), "min_pin": (0, False), "blobs": b"", "known": False}
    rig.oracle.saw(**facts)
    return facts


def _opens(rig: ReaderRig, ctap: Ctap2) -> bool:
    """Whether the reader still signs with the credential that it does not store."""
    allowed: list[Any] = [{"type": "public-key", "id": rig.credential}]
    try:
        answer = ctap.get_assertion(PARTY, HASH, allowed, options={"up": False})
    except CtapError as error:
        if error.code == CtapError.ERR.NO_CREDENTIALS:
            return False
        raise
    rig.oracle.signed(answer.auth_data.counter)
    return True


def observe(rig: ReaderRig) -> ReaderState:
    """All that can be seen with the PIN."""
    ctap, facts = look(rig)
    oracle = rig.oracle
    more: dict[str, Any] = {"pin": None, "credentials": None, "fingers": None}
    if ctap.info.options.get("clientPin"):
        more["pin"], token, client = _enter_pin(rig, ctap)
        oracle.saw(pin=more["pin"])
        if token is not None:
            more["credentials"] = _credentials(ctap, client, token)
            more["fingers"] = _fingers(ctap, client, token)
            oracle.saw(**more)
            pages = sorted(template[1] for template, _ in more["fingers"])
            if pages != sorted(rig.sensor.templates):
                raise ViolationError(
                    "template", f"templates {sorted(rig.sensor.templates)}, fingers {pages}"
                )
    return ReaderState(**facts, **more)


def _enter_pin(rig: ReaderRig, ctap: Ctap2) -> tuple[str, bytes | None, ClientPin]:
    """(the PIN that is right, a token unless the PIN must be changed first). Raises
    ViolationError."""
    oracle = rig.oracle
    pins = [state.pin for state in oracle.known.states if state.pin] or [PIN, OTHER_PIN]
    for pin in dict.fromkeys(pins):
        client = ClientPin(ctap)
        left = oracle.known.pin.left[0]
        oracle.begin(None, 1, 0, "pin")
        token = None
        try:
            token = client.get_pin_token(pin, PERMISSION.CREDENTIAL_MGMT | PERMISSION.BIO_ENROLL)
        except CtapError as error:
            if error.code == CtapError.ERR.PIN_INVALID:
                oracle.done(None, left - 1, None)
                continue
            if error.code != CtapError.ERR.PIN_POLICY_VIOLATION:
                raise
        oracle.done(None, oracle.known.pin.whole, oracle.known.finger.whole)
        return pin, token, client
    raise ViolationError("pin", f"none of {pins} is right")


def _credentials(
    ctap: Ctap2, client: ClientPin, token: bytes
) -> tuple[tuple[bytes, str, bytes], ...]:
    management = CredentialManagement(ctap, client.protocol, token)
    return tuple(
        sorted(
            (entry[6]["id"], str(entry[6].get("name")), bytes(entry[7]["id"]))
            for party in management.enumerate_rps()
            for entry in management.enumerate_creds(party[4])
        )
    )


def _fingers(ctap: Ctap2, client: ClientPin, token: bytes) -> tuple[tuple[bytes, str], ...]:
    if not ctap.info.options["bioEnroll"]:
        return ()
    found = FPBioEnrollment(ctap, client.protocol, token).enumerate_enrollments()
    return tuple(sorted((bytes(template), name or "") for template, name in found.items()))


def _need_nothing_old(rig: ReaderRig) -> None:
    """No record of before a reset is in flash."""
    flash, old = rig.reader.flash.memory, rig.old
    states = rig.oracle.known.states
    if len(states) != 1 or states[0].pin is not None or not states[0].options:
        return  # the reset has not begun
    nothing = (b"\xff" * PIECE, bytes(PIECE))
    for at in range(0, len(old), PIECE):
        piece = old[at : at + PIECE]
        if (
            piece not in nothing
            and flash[rig.range.first + at : rig.range.first + at + PIECE] == piece
        ):
            raise ViolationError("remains", f"a record of before the reset is at {at:#x}")


def _use(rig: ReaderRig) -> None:
    """Reset, PIN, finger and credential, where they are missing; a log-in; and once more after a
    start."""
    rig.restart()
    ctap = rig.ctap()
    if not ctap.info.options:  # damaged
        ctap.reset(on_keepalive=rig.pressing())
        ctap = rig.ctap()
    if not ctap.info.options["clientPin"]:
        ClientPin(ctap).set_pin(PIN)
    elif rig.oracle.known.states[0].pin != PIN or ctap.info.force_pin_change:
        return  # it was seen that the PIN opens it
    if not rig.sensor.templates:
        enrol(rig, FINGER, samples=SAMPLES)()
    made = make(rig, b"after")().auth_data
    for _ in range(2):
        if log_in(rig)().auth_data.counter <= made.counter:
            raise ViolationError("counter", "the counter does not go up")
        rig.restart()
