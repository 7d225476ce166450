"""What the letters share: messages, tokens that come with them, sequences that they go on with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256

from tallystick.tools.campaign.ctap.channels import authenticate
from tallystick.tools.campaign.ctap.known import (
    SEQUENCE_US,
    KnownSequence,
)
from tallystick.tools.campaign.ctap.world import CtapWorld

PARTY, ELSEWHERE = "example.com", "other.example"
PIN, NEW_PIN, WRONG_PIN = "2468", "97531", "0000"
HASH = b"\x07" * 32
NO_BLOB = bytes.fromhex("8076be8b528d0075f7aae98d6fa57a6d3c")  # 6.10: an empty array
_ARRAY = b"\x80" + bytes(23)
ARRAY = _ARRAY + sha256(_ARRAY).digest()[:16]
HALF = 20
SAMPLES = 6
ES256, EDDSA = -7, -8  # COSE algorithms
PARAMETERS = [{"type": "public-key", "alg": ES256}]
WAIT_MS = 31_000
NEAR_US = 1_500_000  # of an end of time that is not looked at so closely
SPOILED = b"\x5a" * 32

MAKE, ASSERT, INFO, CLIENT_PIN, RESET, NEXT = 0x01, 0x02, 0x04, 0x06, 0x07, 0x08
BIO, MANAGE, SELECT, BLOBS, CONFIG = 0x09, 0x0A, 0x0B, 0x0C, 0x0D

Letter = Callable[[CtapWorld], None]


def param(world: CtapWorld, channel: str, message: bytes) -> bytes:
    """pinUvAuthParam of the token that this channel's program has, or of none that there is."""
    held = world.held(channel)
    return authenticate(held.value if held is not None else SPOILED, message)


def begun(
    world: CtapWorld,
    channel: str,
    kind: str,
    left: tuple[object, ...],
    by_token: bool,
    flags: int = 0,
) -> None:
    known = world.known
    token = known.token.number if by_token and known.token else None
    world.known = replace(
        known, sequence=KnownSequence(kind, channel, left, token, world.now, flags)
    )


def goes_on(world: CtapWorld, channel: str, kind: str) -> KnownSequence | None:
    """The sequence that a command of this kind goes on with (6, stateful commands)."""
    sequence = world.take_sequence()
    if sequence is None or sequence.kind != kind or sequence.channel != channel:
        return None
    if world.now - sequence.since >= SEQUENCE_US:
        return None
    token = world.known.token
    if sequence.token is not None and (
        token is None or token.number != sequence.token or not token.alive(world.now)
    ):
        return None
    return sequence


def still_to_come(world: CtapWorld, sequence: KnownSequence, left: tuple[object, ...]) -> None:
    if left:
        world.known = replace(world.known, sequence=replace(sequence, left=left, since=world.now))
