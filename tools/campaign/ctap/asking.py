"""Letters that need nobody's consent, and messages that are none."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tallystick.tools.campaign.ctap.basics import CLIENT_PIN, INFO
from tallystick.tools.campaign.ctap.channels import opened
from tallystick.tools.campaign.ctap.known import (
    PIN_TRIES_IN_A_ROW,
)
from tallystick.tools.campaign.ctap.world import CtapWorld
from tallystick.tools.campaign.engine.subject import ViolationError


def information(world: CtapWorld, channel: str) -> None:
    """6.4."""
    world.take_sequence()
    answer, said = world.ask(channel, INFO)
    world.expect("6.4", answer, 0, asked=False)
    known, options = world.known, said[4]
    seen = {
        "clientPin": options["clientPin"], "uv": options["uv"], "alwaysUv": options["alwaysUv"],
        "bioEnroll": options["bioEnroll"], "makeCredUvNotRqd": options["makeCredUvNotRqd"],
        "uvAcfg": bool(options.get("uvAcfg")), "forcePINChange": said[12],
        "minPINLength": said[13], "remaining": said[20], "uvCountSinceLastPinEntry": said[23],
    }  # fmt: skip
    wanted = {
        "clientPin": known.pin is not None, "uv": known.verifies, "alwaysUv": known.always,
        "bioEnroll": bool(known.fingers), "makeCredUvNotRqd": not known.always,
        "uvAcfg": False, "forcePINChange": known.force, "minPINLength": known.min_pin,
        "remaining": 128 - len(known.credentials), "uvCountSinceLastPinEntry": known.compared,
    }  # fmt: skip
    if seen != wanted:
        wrong = {name: seen[name] for name in seen if seen[name] != wanted[name]}
        raise ViolationError("state", f"6.4: getInfo says {wrong}")
    if known.lasts:
        _identified(world, said[25])


def _identified(world: CtapWorld, sealed: bytes) -> None:
    """CTAP 2.2, 6.4: who holds the persistent token finds the same device again."""
    device = opened(sealed, world.known.lasting, b"encIdentifier")
    if world.known.device and device != world.known.device:
        raise ViolationError("state", "6.4: encIdentifier is of another device")
    world.known = replace(world.known, device=device)


def retries(world: CtapWorld, channel: str) -> None:
    """6.5.5.2 and 6.5.5.3."""
    world.take_sequence()
    answer, said = world.ask(channel, CLIENT_PIN, {2: 1})
    world.expect("6.5.5.2", answer, 0, asked=False)
    known = world.known
    seen = said[3], bool(said.get(4))
    if seen != (known.pin_tries, known.in_a_row >= PIN_TRIES_IN_A_ROW):
        raise ViolationError(
            "tries", f"6.5.5.2: PIN {seen}, {known.pin_tries} left, {known.in_a_row} wrong in a row"
        )
    answer, said = world.ask(channel, CLIENT_PIN, {2: 7})
    world.expect("6.5.5.3", answer, 0, asked=False)
    if said[5] != known.finger_tries:
        raise ViolationError("tries", f"6.5.5.3: finger {said[5]}, not {known.finger_tries}")


def begin_anew(world: CtapWorld, channel: str) -> None:
    """11.2.9.1.3: what the channel had begun has ended, and nothing of the other one."""
    world.channels.begin_anew(channel)
    world.settle()
    sequence, enrolment = world.known.sequence, world.known.enrolment
    if sequence is not None and sequence.channel == channel:
        world.known = replace(world.known, sequence=None)
    if enrolment is not None and enrolment.channel == channel:
        world.known = replace(world.known, enrolment=None)


def unknown(world: CtapWorld, channel: str) -> None:
    """8.2: a command that there is not."""
    world.take_sequence()
    answer, _ = world.ask(channel, 0x55)
    world.expect("8.2", answer, 0x01, asked=False)


def malformed(
    world: CtapWorld, channel: str, command: int, request: Any, section: str, *statuses: int
) -> None:
    world.take_sequence()
    answer, _ = world.ask(channel, command, request)
    world.expect(section, answer, *statuses, asked=False)
