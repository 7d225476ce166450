"""Registrations, assertions, and what else takes a touch (CTAP 2.1, 6.1 to 6.3, 6.6, 6.9)."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import (
    ECDSA,
    SECP256R1,
    EllipticCurvePublicNumbers,
)
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from fido2 import cbor

from tallystick.tools.campaign.ctap.basics import (
    ASSERT,
    EDDSA,
    ES256,
    HASH,
    MAKE,
    NEAR_US,
    NEXT,
    NO_BLOB,
    PARTY,
    RESET,
    SELECT,
    begun,
    goes_on,
    param,
    still_to_come,
)
from tallystick.tools.campaign.ctap.channels import Answer
from tallystick.tools.campaign.ctap.consent import (
    DENIED,
    PUAT_REQUIRED,
    TIMED_OUT,
    UP,
    UV,
    By,
    Wish,
    consent,
)
from tallystick.tools.campaign.ctap.extensions import granted, questions, told, wishes
from tallystick.tools.campaign.ctap.known import (
    GA,
    MC,
    RESET_US,
    Known,
    KnownCredential,
    KnownToken,
)
from tallystick.tools.campaign.ctap.world import CANCELLED, LATE, NOBODY, CtapWorld
from tallystick.tools.campaign.engine.subject import ViolationError


def _usable(
    known: Known, party: str, uv: bool, listed: tuple[KnownCredential, ...] | None = None
) -> list[KnownCredential]:
    """Newest first (6.2.2 step 12); of those that are listed, one. credProtect: 12.1."""
    most = 3 if uv else 1 if listed is None else 2
    found = [one for one in known.credentials[::-1] if one.party == party and one.protect <= most]
    if listed is None:
        return found
    return [one for one in listed if one in found][:1]


def _signed(world: CtapWorld, data: bytes, party: str, flags: int) -> None:
    """Judges authenticator data (WebAuthn 6.1)."""
    known = world.known
    if data[:32] != sha256(party.encode()).digest():
        raise ViolationError("signature", "of another relying party")
    if data[32] & (UP | UV) != flags:
        raise ViolationError("presence", f"flags {data[32]:02x}, not {flags:02x}")
    counter = int.from_bytes(data[33:37], "big")
    if counter <= known.counter:
        raise ViolationError("counter", f"signature {counter} after {known.counter} was given")
    world.known = replace(known, counter=counter)


def _verify(public: tuple[bytes, ...], signature: bytes, message: bytes) -> None:
    """public: x and y of a P-256 key, or an Ed25519 key. Raises InvalidSignature."""
    if len(public) == 1:
        Ed25519PublicKey.from_public_bytes(public[0]).verify(signature, message)
        return
    x, y = (int.from_bytes(part, "big") for part in public)
    key = EllipticCurvePublicNumbers(x, y, SECP256R1()).public_key()
    key.verify(signature, message, ECDSA(SHA256()))


def _asserted(world: CtapWorld, said: Any, one: KnownCredential, flags: int, several: bool) -> None:
    """Judges what an assertion says (6.2.2 steps 11 to 13, 6.3)."""
    if said[1]["id"] != one.identifier:
        raise ViolationError("credential", f"not {one.user!r} was asserted")
    _signed(world, said[2], one.party, flags)
    try:
        _verify(one.public, said[3], said[2] + HASH)
    except InvalidSignature:
        raise ViolationError("signature", "the signature is not valid") from None
    user = said.get(4, {})
    told = several and flags & UV
    if user.get("id") != one.user or (not told and ("name" in user or "displayName" in user)):
        raise ViolationError("user", f"6.2.2: says {user!r} of {one.user!r}")


def assertion(
    world: CtapWorld,
    channel: str,
    by: By,
    touch: str = NOBODY,
    *,
    up: bool = True,
    party: str = PARTY,
    extended: bool = False,
    beside: bool = False,
    listed: tuple[KnownCredential, ...] | None = None,
) -> None:
    """6.2.2. extended: with all extensions that tell something. beside: with the uv option, which
    is ignored where there is a proof (step 4.2). listed: the platform names these."""
    world.take_sequence()
    request: dict[int, Any] = {1: party, 2: HASH}
    shared = None
    if extended:
        shared = world.shared(channel)
        request[4] = questions(shared)
    options: dict[str, bool] = {} if up else {"up": False}
    if by == "finger" or beside:
        options["uv"] = True
    if options:
        request[5] = options
    if listed is not None:
        request[3] = [{"id": one.identifier, "type": "public-key"} for one in listed]
    if by == "token":
        request |= {6: param(world, channel, HASH), 7: 2}
    wish = Wish(by, touch, GA, party, lambda uv: bool(_usable(world.known, party, uv, listed)), up)
    expected = consent(world, channel, wish)
    answer, said = world.ask(channel, ASSERT, request, touch)
    lying = world.known.lying
    usable = _usable(world.known, party, bool(expected.flags & UV), listed)
    world.known = replace(expected.known, lying=lying)
    if not world.expect("6.2.2", answer, *expected.statuses, asked=expected.asked):
        return
    _asserted(world, said, usable[0], expected.flags, len(usable) > 1)
    if shared is not None:
        told(said[2], shared, usable[0], verified=bool(expected.flags & UV))
    if said.get(5, 1) != len(usable):
        raise ViolationError("count", f"6.2.2: {said.get(5)} credentials, not {len(usable)}")
    if len(usable) > 1:
        begun(world, channel, "assertions", tuple(usable[1:]), by == "token", expected.flags)


def _newest(world: CtapWorld, protect: int) -> tuple[KnownCredential, ...]:
    there = [one for one in world.known.credentials if one.protect == protect]
    return tuple(there[-1:])


def assert_listed(
    world: CtapWorld, channel: str, protect: int, by: By = "nothing", touch: str = NOBODY
) -> None:
    """6.2.2 step 7, 12.1: the platform names a credential of this protection, the newest one."""
    assertion(world, channel, by, touch, listed=_newest(world, protect) or None)


def assert_deleted(world: CtapWorld, channel: str, touch: str = NOBODY) -> None:
    """6.2.2 step 7: the platform names the one that went last, and the user is verified."""
    assertion(world, channel, "finger", touch, listed=world.known.deleted or None)


def next_assertion(world: CtapWorld, channel: str) -> None:
    """6.3."""
    sequence = goes_on(world, channel, "assertions")
    answer, said = world.ask(channel, NEXT)
    if world.expect("6.3", answer, 0x30 if sequence is None else 0, asked=False):
        assert sequence is not None
        one = sequence.left[0]
        assert isinstance(one, KnownCredential)
        _asserted(world, said, one, sequence.flags, several=True)
        still_to_come(world, sequence, sequence.left[1:])


def make(
    world: CtapWorld, channel: str, by: By, touch: str = NOBODY, *, user: bytes = b"",
    excluded: bool = False, party: str = PARTY, protect: int = 1, blob: bool = False,
    algorithm: int = ES256, cred_blob: bytes = b"",
) -> None:  # fmt: skip
    """6.1.2. user: of a resident one; without, it is not kept. cred_blob: with it, all extensions
    that tell something."""
    world.take_sequence()
    request: dict[int, Any] = {
        1: HASH, 2: {"id": party}, 3: {"id": user or b"x", "name": "name"},
        4: [{"type": "public-key", "alg": algorithm}],
    }  # fmt: skip
    known = world.known
    extensions: dict[str, Any] = {} if protect == 1 else {"credProtect": protect}
    if blob:
        extensions["largeBlobKey"] = True
    shared = None
    if cred_blob:
        shared = world.shared(channel)
        extensions |= wishes(shared, cred_blob)
    if extensions:
        request[6] = extensions
    options = ({"rk": True} if user else {}) | ({"uv": True} if by == "finger" else {})
    if options:
        request[7] = options
    if by == "token":
        request |= {8: param(world, channel, HASH), 9: 2}
    there = [one for one in known.credentials if one.party == party]
    if excluded and there:
        request[5] = [{"id": there[-1].identifier, "type": "public-key"}]
    if user and known.protected and by == "nothing" and not known.always:
        answer, _ = world.ask(channel, MAKE, request, touch)
        world.expect("6.1.2 step 7", answer, PUAT_REQUIRED, asked=False)
        return
    expected = consent(world, channel, Wish(by, touch, MC, party, lambda _: True))
    shut_out = excluded and there and (expected.flags & UV or there[-1].protect < 3)
    answer, said = world.ask(channel, MAKE, request, touch)
    lying = world.known.lying
    given_up = touch == LATE and known.sensor and expected.statuses == (DENIED,)
    if shut_out and (expected.statuses == (0,) or given_up):
        # Step 12.2: the token keeps what it is good for.
        kept = replace(expected.known, token=_unspent(world.known, expected.known), lying=lying)
        world.known = kept
        world.expect("6.1.2 step 12", answer, 0x19, asked=expected.asked)
        return
    world.known = replace(expected.known, lying=lying)
    if world.expect("6.1.2", answer, *expected.statuses, asked=expected.asked):
        _signed(world, said[2], party, expected.flags)
        made = KnownCredential(party, user, "name", b"", (), protect)
        if shared is not None:
            made = granted(world.known, said[2], shared, made, cred_blob)
        if user:
            _kept(world, said, made)


def _unspent(before: Known, after: Known) -> KnownToken | None:
    if before.token is None or after.token is None:
        return after.token
    return replace(after.token, permissions=before.token.permissions, present=before.token.present)


def _kept(world: CtapWorld, said: Any, made: KnownCredential) -> None:
    """One of the same user and relying party is replaced (step 17)."""
    data = said[2]
    size = int.from_bytes(data[53:55], "big")
    key, _ = cbor.decode_from(data[55 + size :])
    public = (key[-2],) if key[3] == EDDSA else (key[-2], key[-3])
    made = replace(
        made, identifier=data[55 : 55 + size], public=public, blob_key=said.get(5, b""),
    )  # fmt: skip
    known = world.known
    same = [one for one in known.credentials if (one.party, one.user) == (made.party, made.user)]
    others = tuple(one for one in known.credentials if one not in same)
    gone = tuple(same) or known.deleted
    world.known = replace(known, credentials=(*others, made), deleted=gone)


def select(world: CtapWorld, channel: str, touch: str = NOBODY) -> None:
    """6.9."""
    world.take_sequence()
    answer, _ = world.ask(channel, SELECT, touch=touch)
    _touched(world, "6.9", answer, touch)


def reset(world: CtapWorld, channel: str, touch: str = NOBODY) -> None:
    """6.6."""
    world.take_sequence()
    age = world.now - world.known.powered
    answer, _ = world.ask(channel, RESET, touch=touch)
    if age > RESET_US + NEAR_US:
        world.expect("6.6", answer, 0x30, asked=False)
        return
    if age > RESET_US - NEAR_US and answer.status == 0x30:
        return
    if _touched(world, "6.6", answer, touch):
        known = world.known
        world.known = Known(
            powered=known.powered, blob=NO_BLOB, tokens=known.tokens, held=known.held,
            lasting=known.lasting, deleted=known.credentials[-1:] or known.deleted,
            sensor=known.sensor, lying=known.lying,
        )  # fmt: skip


def _touched(world: CtapWorld, section: str, answer: Answer, touch: str) -> bool:
    world.known = replace(world.known, enrolment=None)
    if not world.known.sensor:
        return world.expect(section, answer, DENIED, asked=True)
    failed = {NOBODY: CANCELLED, LATE: TIMED_OUT}
    return world.expect(section, answer, failed.get(touch, 0), asked=True)
