"""Large blobs and configuration (CTAP 2.1, 6.10 and 6.11)."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
from typing import Any

from fido2 import cbor

from tallystick.tools.campaign.ctap.basics import ARRAY, BLOBS, CONFIG, begun, goes_on, param
from tallystick.tools.campaign.ctap.channels import Answer
from tallystick.tools.campaign.ctap.consent import (
    PIN_AUTH_INVALID,
    PIN_POLICY,
    PUAT_REQUIRED,
    use,
)
from tallystick.tools.campaign.ctap.known import (
    ACFG,
    LBW,
)
from tallystick.tools.campaign.ctap.world import CtapWorld
from tallystick.tools.campaign.engine.subject import ViolationError

ALWAYS = 2  # the sub-command that switches alwaysUv


def read_blob(world: CtapWorld, channel: str) -> None:
    """6.10.2."""
    world.take_sequence()
    answer, said = world.ask(channel, BLOBS, {1: 100, 3: 0})
    world.expect("6.10.2", answer, 0, asked=False)
    if said[1] != world.known.blob:
        raise ViolationError("blob", f"6.10.2: {said[1].hex()}")


def fragment(world: CtapWorld, channel: str, offset: int, part: bytes, length: int = 0) -> None:
    """6.10.2."""
    sequence = goes_on(world, channel, "blob")
    came = sequence.left[0] if sequence else b""
    assert isinstance(came, bytes)
    request: dict[int, Any] = {2: part, 3: offset}
    if length:
        request[4] = length
    known = world.known
    guarded = known.protected or known.always
    if guarded:
        place = offset.to_bytes(4, "little")
        message = b"\xff" * 32 + b"\x0c\x00" + place + sha256(part).digest()
        request |= {5: param(world, channel, message), 6: 2}
    status = 0
    if offset and (sequence is None or offset != len(came)):
        status = 0x04
    elif guarded:
        held, token = world.held(channel), None
        if held is not None:
            world.known, token = use(known, held, LBW, world.now)
        status = 0 if token else PIN_AUTH_INVALID
    whole = (came if offset else b"") + part
    if not status and len(whole) == len(ARRAY) and whole != ARRAY:
        status = 0x3D
    answer, _ = world.ask(channel, BLOBS, request)
    if not world.expect("6.10.2", answer, status, asked=False):
        return
    if len(whole) == len(ARRAY):
        world.known = replace(world.known, blob=whole)
    else:
        begun(world, channel, "blob", (whole,), by_token=guarded)


def _configured(
    world: CtapWorld, channel: str, command: int, parameters: dict[int, Any] | None
) -> tuple[Answer, int]:
    """6.11: (answer, status that is due so far)."""
    world.take_sequence()
    request: dict[int, Any] = {1: command}
    message = b"\xff" * 32 + bytes((CONFIG, command))
    if parameters is not None:
        request[2] = parameters
        message += cbor.encode(parameters)
    status = 0
    if world.known.protected:
        request |= {3: 2, 4: param(world, channel, message)}
        held, token = world.held(channel), None
        if held is not None:
            world.known, token = use(world.known, held, ACFG, world.now)
        status = 0 if token else PIN_AUTH_INVALID
    elif world.known.always and command != ALWAYS:
        status = PUAT_REQUIRED
    return world.ask(channel, CONFIG, request)[0], status


def toggle_always(world: CtapWorld, channel: str) -> None:
    """6.11.2."""
    answer, status = _configured(world, channel, ALWAYS, None)
    if world.expect("6.11.2", answer, status, asked=False):
        world.known = replace(world.known, always=not world.known.always)


def minimum(
    world: CtapWorld,
    channel: str,
    length: int | None,
    *,
    force: bool = False,
    told: tuple[str, ...] | None = None,
) -> None:
    """6.11.4."""
    parameters: dict[int, Any] = {} if length is None else {1: length}
    if force:
        parameters[3] = True
    if told is not None:
        parameters[2] = list(told)
    answer, status = _configured(world, channel, 3, parameters)
    known = world.known
    if not status:
        if told is not None and len(told) > 8:
            status = 0x28
        elif length is not None and length < known.min_pin:
            status = PIN_POLICY
        elif force and known.pin is None:
            status = 0x35
    if not world.expect("6.11.4", answer, status, asked=False):
        return
    length = known.min_pin if length is None else length
    forced = known.force or force or (known.pin is not None and len(known.pin) < length)
    world.known = replace(
        world.known, min_pin=length, force=forced, token=None if forced else world.known.token,
        lasts=known.lasts and not forced, told=known.told if told is None else told,
    )  # fmt: skip
