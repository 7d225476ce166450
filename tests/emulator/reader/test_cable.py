"""The sensor's cable is pulled at any instant of any command, and put in again."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from fido2.ctap2 import ClientPin
from fido2.ctap2.bio import FPBioEnrollment

from tests.emulator.reader.conftest import Life
from tests.emulator.reader.raw import (
    ASSERT,
    ES256,
    HASH,
    INFO,
    MAKE,
    PARTY,
    RESET,
    SELECTION,
    USER,
    Host,
    permitted,
    refused,
)  # fmt: skip
from tests.emulator.reader.rig import Rig

PERMISSION = ClientPin.PERMISSION
_VERIFIED = {"uv": True}
_GONE_US = 5_000_000  # within which every command is answered that has lost its sensor
_PULLS = 12  # a command


def _enrolling(rig: Rig, name: str) -> Callable[[], object]:
    client, token = permitted(rig, PERMISSION.BIO_ENROLL)
    bio = FPBioEnrollment(client.ctap, client.protocol, token)

    def enrol() -> None:
        enroller = bio.enroll()
        while enroller.capture(on_keepalive=rig.pressing(name)) is None:
            pass

    def remove() -> None:
        bio.remove_enrollment(next(iter(bio.enumerate_enrollments())))

    return {
        "enrol": enrol,
        "list": bio.enumerate_enrollments,
        "rename": lambda: bio.set_name(next(iter(bio.enumerate_enrollments())), "thumb"),
        "remove": remove,
    }[name]


def _asking(command: int, request: object = None) -> Callable[[Rig], Callable[[], object]]:
    def of(rig: Rig) -> Callable[[], object]:
        host = Host(rig)
        return lambda: host.status(command, request, press="thumb")

    return of


_REGISTER = {1: HASH, 2: PARTY, 3: USER, 4: ES256, 7: {"rk": True, "uv": True}}
COMMANDS: dict[str, Callable[[Rig], Callable[[], object]]] = {
    "nothing": lambda rig: lambda: rig.reader.run_for(3000),
    "information": _asking(INFO),
    "register": _asking(MAKE, _REGISTER),
    "log in": _asking(ASSERT, {1: "example.com", 2: HASH, 5: _VERIFIED}),
    "touch": _asking(SELECTION),
    "token": lambda rig: (
        lambda: refused(lambda: permitted(rig, PERMISSION.CREDENTIAL_MGMT, finger=True))
    ),
    "reset": _asking(RESET),
    **{
        name: lambda rig, name=name: lambda: refused(_enrolling(rig, name))
        for name in ("enrol", "list", "rename", "remove")
    },
}


@pytest.mark.parametrize("name", COMMANDS)
def test_pulled_at_any_instant(new_rig: Callable[..., Rig], in_service: Life, name: str) -> None:
    rng = random.Random(name)
    rig = new_rig(in_service)
    run = COMMANDS[name](rig)
    began = rig.reader.clock.now
    run()
    lasts = max(rig.reader.clock.now - began, 100_000)
    for _ in range(_PULLS):
        rig.close()
        rig = new_rig(Life(in_service.flash, in_service.sensor))
        run = COMMANDS[name](rig)
        began, at = rig.reader.clock.now, rng.randrange(lasts)
        rig.reader.clock.after(at, rig.reader.unplug_sensor)
        status = run()
        assert status != 0x7F
        assert rig.reader.clock.now - began < max(at, lasts) + _GONE_US
        while rig.reader.sensor is not None:
            rig.reader.run_for(10)
        _is_itself(rig)


def test_one_plugged_in_while_it_is_looked_for_is_offered(
    new_rig: Callable[..., Rig], in_service: Life
) -> None:
    """It is looked for during 0.9 s of every 3.4: what it says as it starts must not be lost."""
    rig = new_rig(in_service)
    host = Host(rig)
    late = []
    for waited in range(0, 3600, 60):
        rig.reader.unplug_sensor()
        assert host.ask(INFO)[1][4]["uv"] is False
        rig.reader.run_for(waited)
        rig.reader.plug_sensor(rig.sensor)
        rig.reader.run_for(450)
        if host.ask(INFO)[1][4]["uv"] is not True:
            late.append(waited)
    assert not late


def _is_itself(rig: Rig) -> None:
    """It says what it is able to do without a sensor, and with it again."""
    host = Host(rig)
    information = host.ask(INFO)[1]
    assert information[4]["uv"] is False
    rig.reader.plug_sensor(rig.sensor)
    rig.reader.run_for(4500)
    information = host.ask(INFO)[1]
    assert information[4]["uv"] is information[4]["bioEnroll"]
    fingers = rig.sensor.templates
    if not information[4]["clientPin"]:
        assert not fingers
        return
    client, token = permitted(rig, PERMISSION.BIO_ENROLL)
    bio = FPBioEnrollment(client.ctap, client.protocol, token)
    found = bio.enumerate_enrollments() if information[4]["uv"] else {}
    assert {one[1] for one in found} == set(fingers)
    if fingers:
        who = next(iter(fingers.values()))
        request = {1: HASH, 2: PARTY, 3: USER, 4: ES256, 7: _VERIFIED}
        assert host.status(MAKE, request, press=who) == 0
    assert rig.reader.mcu.boots == 1
