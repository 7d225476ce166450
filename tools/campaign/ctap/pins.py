"""PIN, and the tokens that PIN and finger give (CTAP 2.1, 6.5)."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
from typing import Any

from tallystick.tools.campaign.ctap.basics import CLIENT_PIN, PIN
from tallystick.tools.campaign.ctap.channels import PLATFORM_KEY
from tallystick.tools.campaign.ctap.consent import (
    PIN_AUTH_INVALID,
    PIN_POLICY,
    UV_BLOCKED,
    pin_right,
    with_finger,
)
from tallystick.tools.campaign.ctap.known import (
    ACFG,
    CM,
    GA,
    MC,
    PCMR,
    PIN_TRIES_IN_A_ROW,
    Known,
    KnownToken,
)
from tallystick.tools.campaign.ctap.world import THUMB, CtapWorld
from tallystick.tools.campaign.engine.subject import ViolationError


def _closed(known: Known) -> int | None:
    """6.5.5.7.2: why no PIN may be tried now."""
    if known.pin is None:
        return 0x35
    if not known.pin_tries:
        return 0x32
    return 0x34 if known.in_a_row >= PIN_TRIES_IN_A_ROW else None


def _hash(pin: str) -> bytes:
    return sha256(pin.encode()).digest()[:16]


def _tried(world: CtapWorld, pin: str) -> int:
    """What a try with it leads to: 0 or a status."""
    known = world.known
    if pin == known.pin:
        world.known = pin_right(known)
        return 0
    known = replace(known, pin_tries=known.pin_tries - 1, in_a_row=known.in_a_row + 1)
    world.known = known
    if not known.pin_tries:
        return 0x32
    return 0x34 if known.in_a_row >= PIN_TRIES_IN_A_ROW else 0x31


def _given(
    world: CtapWorld, channel: str, value: bytes, permissions: int, party: str | None, present: bool
) -> None:
    known = world.known
    world.known = replace(known, tokens=known.tokens + 1)
    token = KnownToken(world.known.tokens, value, permissions, party, present, world.now)
    world.hold(channel, token)


def pin_token(
    world: CtapWorld, channel: str, permissions: int, party: str | None, pin: str = PIN
) -> None:
    """6.5.5.7.2."""
    world.take_sequence()
    shared = world.shared(channel)
    request = {
        1: 2, 2: 9, 3: PLATFORM_KEY, 6: shared.encrypt(_hash(pin)), 9: permissions,
    }  # fmt: skip
    if party is not None:
        request[10] = party
    before = world.known
    answer, said = world.ask(channel, CLIENT_PIN, request)
    status = _closed(before)
    if status is None:
        status = _tried(world, pin) or (PIN_POLICY if before.force else 0)
    if world.expect("6.5.5.7.2", answer, status, asked=False):
        _given(world, channel, shared.decrypt(said[2]), permissions, party, present=False)


def old_token(world: CtapWorld, channel: str, pin: str = PIN) -> None:
    """6.5.5.7.1: of CTAP 2.0, without permissions."""
    world.take_sequence()
    shared = world.shared(channel)
    request = {1: 2, 2: 5, 3: PLATFORM_KEY, 6: shared.encrypt(_hash(pin))}
    before = world.known
    answer, said = world.ask(channel, CLIENT_PIN, request)
    status = _closed(before)
    if status is None:
        status = _tried(world, pin) or (0x31 if before.force else 0)
    if world.expect("6.5.5.7.1", answer, status, asked=False):
        _given(world, channel, shared.decrypt(said[2]), MC | GA, None, present=False)


def lasting_token(world: CtapWorld, channel: str, permissions: int = PCMR, pin: str = PIN) -> None:
    """CTAP 2.2, 6.5.5.7.2: the persistent one, which comes alone."""
    world.take_sequence()
    shared = world.shared(channel)
    request = {1: 2, 2: 9, 3: PLATFORM_KEY, 6: shared.encrypt(_hash(pin)), 9: permissions}
    before = world.known
    answer, said = world.ask(channel, CLIENT_PIN, request)
    status = 0x40 if permissions != PCMR else _closed(before)
    if status is None:
        status = _tried(world, pin) or (PIN_POLICY if before.force else 0)
    if world.expect("6.5.5.7.2", answer, status, asked=False):
        value = shared.decrypt(said[2])
        if before.lasting and (value == before.lasting) != before.lasts:
            raise ViolationError("token", "6.5.5.7: the persistent token lasts until a new PIN")
        world.known = replace(world.known, lasting=value, lasts=True)


def short_pin(world: CtapWorld, channel: str) -> None:
    """6.5.5.7.2: what can be no PIN's hash. It costs no try, or it counts as a wrong one."""
    world.take_sequence()
    request = {1: 2, 2: 9, 3: PLATFORM_KEY, 6: bytes(15), 9: CM}
    answer, _ = world.ask(channel, CLIENT_PIN, request)
    world.expect("6.5.5.7.2", answer, _closed(world.known) or 0x02, asked=False)


def finger_token(
    world: CtapWorld, channel: str, permissions: int, party: str | None, touch: str = THUMB
) -> None:
    """6.5.5.7.3."""
    world.take_sequence()
    shared = world.shared(channel)
    request: dict[int, Any] = {1: 2, 2: 6, 3: PLATFORM_KEY, 9: permissions}
    if party is not None:
        request[10] = party
    known = world.known
    began = world.now
    answer, said = world.ask(channel, CLIENT_PIN, request, touch)
    status, asked = _finger_token_refused(known, permissions), False
    if status is None:
        world.known, status, asked = with_finger(world.known, touch, UV_BLOCKED)
    world.other_use_of_sensor(answer)
    if world.expect("6.5.5.7.3", answer, status or 0, asked=asked):
        _given(world, channel, shared.decrypt(said[2]), permissions, party, present=True)
        assert world.now > began


def _finger_token_refused(known: Known, permissions: int) -> int | None:
    if permissions & ACFG:
        return 0x40  # getInfo has no uvAcfg
    if not known.verifies:
        return 0x30
    return PIN_POLICY if known.force else None


def set_pin(world: CtapWorld, channel: str, pin: str = PIN) -> None:
    """6.5.5.5."""
    world.take_sequence()
    shared = world.shared(channel)
    encrypted = shared.encrypt(pin.encode().ljust(64, b"\0"))
    request = {1: 2, 2: 3, 3: PLATFORM_KEY, 4: shared.authenticate(encrypted), 5: encrypted}
    answer, _ = world.ask(channel, CLIENT_PIN, request)
    known = world.known
    if known.pin is not None:
        world.expect("6.5.5.5", answer, PIN_AUTH_INVALID, asked=False)
        return
    short = len(pin) < known.min_pin
    if world.expect("6.5.5.5", answer, PIN_POLICY if short else 0, asked=False):
        world.known = replace(pin_right(known), pin=pin, force=False, lasts=False)


def change_pin(world: CtapWorld, channel: str, old: str, new: str) -> None:
    """6.5.5.6."""
    world.take_sequence()
    shared = world.shared(channel)
    encrypted = shared.encrypt(new.encode().ljust(64, b"\0"))
    proof = shared.encrypt(_hash(old))
    param = shared.authenticate(encrypted + proof)
    request = {1: 2, 2: 4, 3: PLATFORM_KEY, 4: param, 5: encrypted, 6: proof}
    before = world.known
    answer, _ = world.ask(channel, CLIENT_PIN, request)
    status = _closed(before)
    if status is None:
        status = _tried(world, old)
        if not status and (len(new) < before.min_pin or (before.force and new == before.pin)):
            status = PIN_POLICY
    if world.expect("6.5.5.6", answer, status, asked=False):
        world.known = replace(world.known, pin=new, force=False, token=None, lasts=False)
