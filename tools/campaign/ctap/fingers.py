"""Enrolment of fingers (CTAP 2.1, 6.7)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from fido2 import cbor

from tallystick.tools.campaign.ctap.basics import BIO, SAMPLES, param
from tallystick.tools.campaign.ctap.channels import Answer
from tallystick.tools.campaign.ctap.consent import (
    DENIED,
    PIN_AUTH_INVALID,
    use,
)
from tallystick.tools.campaign.ctap.known import (
    BE,
    KnownEnrolment,
)
from tallystick.tools.campaign.ctap.world import CANCELLED, INDEX, NOBODY, CtapWorld
from tallystick.tools.campaign.engine.subject import ViolationError


def _bio(
    world: CtapWorld,
    channel: str,
    command: int,
    parameters: dict[int, Any] | None,
    touch: str = NOBODY,
) -> tuple[Answer, Any, bool]:
    """6.7: (answer, what it says, whether the token allows it)."""
    world.take_sequence()
    request: dict[int, Any] = {1: 1, 2: command, 4: 2}
    message = bytes((1, command))
    if parameters is not None:
        request[3] = parameters
        message += cbor.encode(parameters)
    request[5] = param(world, channel, message)
    held, token = world.held(channel), None
    if held is not None:
        world.known, token = use(world.known, held, BE, world.now)
    answer, said = world.ask(channel, BIO, request, touch)
    return answer, said, token is not None


def enrol(world: CtapWorld, channel: str, finger: str = INDEX) -> None:
    """6.7.4: the first sample."""
    answer, said, allowed = _bio(world, channel, 1, None, finger)
    known = world.known
    if not allowed:
        world.expect("6.7.4", answer, PIN_AUTH_INVALID, asked=False)
        return
    world.known = known = replace(known, enrolment=None)
    if not known.sensor:
        world.expect("6.7.4", answer, DENIED, asked=None)
        return
    if not finger:
        world.expect("6.7.4", answer, CANCELLED, asked=True)
        return
    world.expect("6.7.4", answer, 0, asked=True)
    taken = any(one == finger for _, one, _ in known.fingers)
    if said[5] != (0x0B if taken else 0):
        raise ViolationError("sample", f"6.7.4: {said[5]:02X}")
    samples = 0 if taken else 1
    world.known = replace(known, enrolment=KnownEnrolment(channel, said[4], finger, samples))


def next_sample(world: CtapWorld, channel: str, finger: str = INDEX) -> None:
    """6.7.4."""
    enrolment = world.known.enrolment
    template = enrolment.template if enrolment else b"\x54\x01"
    answer, said, allowed = _bio(world, channel, 2, {1: template}, finger)
    if not allowed:
        world.expect("6.7.4", answer, PIN_AUTH_INVALID, asked=False)
        return
    if enrolment is None or enrolment.channel != channel:
        # Of a sensor that has gone meanwhile the standard says nothing.
        gone = () if world.known.sensor else (DENIED,)
        world.expect("6.7.4", answer, 0x02, *gone, asked=False)
        return
    world.expect("6.7.4", answer, 0, asked=True)
    known = world.known
    taken = any(one == finger for _, one, _ in known.fingers)
    if enrolment.samples == 0 and taken:
        wanted, samples = (0x0B, SAMPLES), 0
    else:
        samples = enrolment.samples + 1
        wanted = (0, SAMPLES - samples)
    if samples == SAMPLES and finger != enrolment.finger:
        wanted, samples = (0x0A, SAMPLES), 0
    if (said[5], said[6]) != wanted:
        raise ViolationError("sample", f"6.7.4: {said}, not {wanted}")
    if samples == SAMPLES:
        found = tuple(sorted((*known.fingers, (enrolment.template, enrolment.finger, ""))))
        world.known = replace(known, fingers=found, enrolment=None)
        return
    # Samples of two fingers are of none.
    whose = enrolment.finger if finger == enrolment.finger or not samples else "?"
    whose = finger if samples == 1 else whose
    world.known = replace(known, enrolment=replace(enrolment, finger=whose, samples=samples))


def cancel_enrolment(world: CtapWorld, channel: str) -> None:
    """6.7.5."""
    world.take_sequence()
    answer, _ = world.ask(channel, BIO, {1: 1, 2: 3})
    world.expect("6.7.5", answer, 0, asked=False)
    world.known = replace(world.known, enrolment=None)


def fingers(world: CtapWorld, channel: str) -> None:
    """6.7.6."""
    answer, said, allowed = _bio(world, channel, 4, None)
    known = world.known
    status = 0x2C if not known.fingers else 0
    if world.expect("6.7.6", answer, status if allowed else PIN_AUTH_INVALID, asked=False):
        found = [(one[1], one[2]) for one in said[7]]
        if sorted(found) != sorted((template, name) for template, _, name in known.fingers):
            raise ViolationError("list", f"6.7.6: {found}")


def name_finger(world: CtapWorld, channel: str) -> None:
    """6.7.7, of the first one."""
    known = world.known
    template = known.fingers[0][0] if known.fingers else b"\x54\x00"
    answer, _, allowed = _bio(world, channel, 5, {1: template, 2: "another"})
    status = 0 if known.fingers else 0x2C
    if world.expect("6.7.7", answer, status if allowed else PIN_AUTH_INVALID, asked=False):
        _, finger, _ = known.fingers[0]
        named = (template, finger, "another")
        world.known = replace(world.known, fingers=(named, *world.known.fingers[1:]))


def sensor(world: CtapWorld, channel: str) -> None:
    """6.7.2 and 6.7.3: what it is."""
    world.take_sequence()
    for request, told in (({6: True}, {1: 1}), ({1: 1, 2: 7}, {2: 1, 3: SAMPLES, 8: 64})):
        answer, said = world.ask(channel, BIO, request)
        if world.expect("6.7.3", answer, 0, asked=False) and said != told:
            raise ViolationError("sensor", f"6.7.3: {said}, not {told}")


def remove_finger(world: CtapWorld, channel: str) -> None:
    """6.7.8, of the first one."""
    known = world.known
    template = known.fingers[0][0] if known.fingers else b"\x54\x00"
    answer, _, allowed = _bio(world, channel, 6, {1: template})
    status = 0 if known.fingers else 0x2C
    if world.expect("6.7.8", answer, status if allowed else PIN_AUTH_INVALID, asked=False):
        world.known = replace(world.known, fingers=world.known.fingers[1:])
