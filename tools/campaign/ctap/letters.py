"""What is done to the reader, as letters of an alphabet; each judges what comes of it.

A letter with a channel is called `A assert`, one of the world `replug`. Section numbers are those
of CTAP 2.1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from hashlib import sha256
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, EllipticCurvePublicNumbers
from cryptography.hazmat.primitives.hashes import SHA256
from fido2 import cbor

from tallystick.tools.campaign.ctap.bench import INDEX, NOBODY, STRANGER, THUMB, Bench
from tallystick.tools.campaign.ctap.channels import PLATFORM_KEY, Answer, authenticate
from tallystick.tools.campaign.ctap.consent import (
    CANCELLED,
    DENIED,
    NO_CREDENTIALS,
    PIN_AUTH_INVALID,
    PIN_POLICY,
    PUAT_REQUIRED,
    UP,
    UV,
    UV_BLOCKED,
    By,
    Wish,
    consent,
    pin_right,
    use,
    with_finger,
)
from tallystick.tools.campaign.ctap.known import (
    ACFG,
    ALL,
    BE,
    CHANNELS,
    CM,
    GA,
    LBW,
    MC,
    PIN_TRIES_IN_A_ROW,
    PIN_TRIES,
    FINGER_TRIES,
    RESET_US,
    SEQUENCE_US,
    Credential,
    Enrolment,
    Known,
    Sequence,
    Token,
)
from tallystick.tools.campaign.engine.subject import ViolationError

PARTY, ELSEWHERE = "example.com", "other.example"
PIN, NEW_PIN, WRONG_PIN = "2468", "97531", "0000"
HASH = b"\x07" * 32
NO_BLOB = bytes.fromhex("8076be8b528d0075f7aae98d6fa57a6d3c")  # 6.10: an empty array
_ARRAY = b"\x80" + bytes(23)
ARRAY = _ARRAY + sha256(_ARRAY).digest()[:16]
HALF = 20
SAMPLES = 6
ES256 = [{"type": "public-key", "alg": -7}]
_WAIT_MS = 31_000
_NEAR_US = 1_500_000  # of an end of time that is not looked at so closely
_SPOILED = b"\x5a" * 32

MAKE, ASSERT, INFO, CLIENT_PIN, RESET, NEXT = 0x01, 0x02, 0x04, 0x06, 0x07, 0x08
BIO, MANAGE, SELECT, BLOBS, CONFIG = 0x09, 0x0A, 0x0B, 0x0C, 0x0D

Letter = Callable[[Bench], None]


# -- the world ---------------------------------------------------------------------------------


def _replug(bench: Bench) -> None:
    bench.replug()


def _wait(bench: Bench) -> None:
    bench.wait(_WAIT_MS)


def _cable(bench: Bench) -> None:
    bench.plug_sensor(plugged=not bench.known.sensor)


def _finger(bench: Bench) -> None:
    bench.lie(finger=not bench.known.lying)


# -- what is asked without anybody's consent -----------------------------------------------------


def information(bench: Bench, channel: str) -> None:
    """6.4."""
    bench.take_sequence()
    answer, said = bench.ask(channel, INFO)
    bench.expect("6.4", answer, 0, asked=False)
    known, options = bench.known, said[4]
    seen = {
        "clientPin": options["clientPin"], "uv": options["uv"], "alwaysUv": options["alwaysUv"],
        "bioEnroll": options["bioEnroll"], "makeCredUvNotRqd": options["makeCredUvNotRqd"],
        "uvAcfg": bool(options.get("uvAcfg")), "forcePINChange": said[12],
        "minPINLength": said[13], "remaining": said[20],
    }  # fmt: skip
    wanted = {
        "clientPin": known.pin is not None, "uv": known.verifies, "alwaysUv": known.always,
        "bioEnroll": bool(known.fingers), "makeCredUvNotRqd": not known.always,
        "uvAcfg": False, "forcePINChange": known.force, "minPINLength": known.min_pin,
        "remaining": 128 - len(known.credentials),
    }  # fmt: skip
    if seen != wanted:
        wrong = {name: seen[name] for name in seen if seen[name] != wanted[name]}
        raise ViolationError("state", f"6.4: getInfo says {wrong}")


def retries(bench: Bench, channel: str) -> None:
    """6.5.5.2 and 6.5.5.3."""
    bench.take_sequence()
    answer, said = bench.ask(channel, CLIENT_PIN, {2: 1})
    bench.expect("6.5.5.2", answer, 0, asked=False)
    known = bench.known
    seen = said[3], bool(said.get(4))
    if seen != (known.pin_tries, known.in_a_row >= PIN_TRIES_IN_A_ROW):
        raise ViolationError(
            "tries", f"6.5.5.2: PIN {seen}, {known.pin_tries} left, {known.in_a_row} wrong in a row"
        )
    answer, said = bench.ask(channel, CLIENT_PIN, {2: 7})
    bench.expect("6.5.5.3", answer, 0, asked=False)
    if said[5] != known.finger_tries:
        raise ViolationError("tries", f"6.5.5.3: finger {said[5]}, not {known.finger_tries}")


def unknown(bench: Bench, channel: str) -> None:
    """8.2: a command that there is not."""
    bench.take_sequence()
    answer, _ = bench.ask(channel, 0x55)
    bench.expect("8.2", answer, 0x01, asked=False)


def malformed(
    bench: Bench, channel: str, command: int, request: Any, section: str, *statuses: int
) -> None:
    bench.take_sequence()
    answer, _ = bench.ask(channel, command, request)
    bench.expect(section, answer, *statuses, asked=False)


# -- PIN and tokens ------------------------------------------------------------------------------


def _closed(known: Known) -> int | None:
    """6.5.5.7.2: why no PIN may be tried now."""
    if known.pin is None:
        return 0x35
    if not known.pin_tries:
        return 0x32
    return 0x34 if known.in_a_row >= PIN_TRIES_IN_A_ROW else None


def _hash(pin: str) -> bytes:
    return sha256(pin.encode()).digest()[:16]


def _tried(bench: Bench, pin: str) -> int:
    """What a try with it leads to: 0 or a status."""
    known = bench.known
    if pin == known.pin:
        bench.known = pin_right(known)
        return 0
    known = replace(known, pin_tries=known.pin_tries - 1, in_a_row=known.in_a_row + 1)
    bench.known = known
    if not known.pin_tries:
        return 0x32
    return 0x34 if known.in_a_row >= PIN_TRIES_IN_A_ROW else 0x31


def _given(
    bench: Bench, channel: str, value: bytes, permissions: int, party: str | None, present: bool
) -> None:
    known = bench.known
    bench.known = replace(known, tokens=known.tokens + 1)
    token = Token(bench.known.tokens, value, permissions, party, present, bench.now)
    bench.hold(channel, token)


def pin_token(
    bench: Bench, channel: str, permissions: int, party: str | None, pin: str = PIN
) -> None:
    """6.5.5.7.2."""
    bench.take_sequence()
    shared = bench.shared(channel)
    request = {
        1: 2, 2: 9, 3: PLATFORM_KEY, 6: shared.encrypt(_hash(pin)), 9: permissions,
    }  # fmt: skip
    if party is not None:
        request[10] = party
    before = bench.known
    answer, said = bench.ask(channel, CLIENT_PIN, request)
    status = _closed(before)
    if status is None:
        status = _tried(bench, pin) or (PIN_POLICY if before.force else 0)
    if bench.expect("6.5.5.7.2", answer, status, asked=False):
        _given(bench, channel, shared.decrypt(said[2]), permissions, party, present=False)


def short_pin(bench: Bench, channel: str) -> None:
    """6.5.5.7.2: what can be no PIN's hash. It costs no try, or it counts as a wrong one."""
    bench.take_sequence()
    request = {1: 2, 2: 9, 3: PLATFORM_KEY, 6: bytes(15), 9: CM}
    answer, _ = bench.ask(channel, CLIENT_PIN, request)
    bench.expect("6.5.5.7.2", answer, _closed(bench.known) or 0x02, asked=False)


def finger_token(
    bench: Bench, channel: str, permissions: int, party: str | None, touch: str = THUMB
) -> None:
    """6.5.5.7.3."""
    bench.take_sequence()
    shared = bench.shared(channel)
    request: dict[int, Any] = {1: 2, 2: 6, 3: PLATFORM_KEY, 9: permissions}
    if party is not None:
        request[10] = party
    known = bench.known
    began = bench.now
    answer, said = bench.ask(channel, CLIENT_PIN, request, touch)
    status, asked = _finger_token_refused(known, permissions), False
    if status is None:
        bench.known, status, asked = with_finger(bench.known, touch, UV_BLOCKED)
    bench.other_use_of_sensor(answer)
    if bench.expect("6.5.5.7.3", answer, status or 0, asked=asked):
        _given(bench, channel, shared.decrypt(said[2]), permissions, party, present=True)
        assert bench.now > began


def _finger_token_refused(known: Known, permissions: int) -> int | None:
    if permissions & ACFG:
        return 0x40  # getInfo has no uvAcfg
    if not known.verifies:
        return 0x30
    return PIN_POLICY if known.force else None


def set_pin(bench: Bench, channel: str, pin: str = PIN) -> None:
    """6.5.5.5."""
    bench.take_sequence()
    shared = bench.shared(channel)
    encrypted = shared.encrypt(pin.encode().ljust(64, b"\0"))
    request = {1: 2, 2: 3, 3: PLATFORM_KEY, 4: shared.authenticate(encrypted), 5: encrypted}
    answer, _ = bench.ask(channel, CLIENT_PIN, request)
    known = bench.known
    if known.pin is not None:
        bench.expect("6.5.5.5", answer, PIN_AUTH_INVALID, asked=False)
        return
    short = len(pin) < known.min_pin
    if bench.expect("6.5.5.5", answer, PIN_POLICY if short else 0, asked=False):
        bench.known = replace(pin_right(known), pin=pin, force=False)


def change_pin(bench: Bench, channel: str, old: str, new: str) -> None:
    """6.5.5.6."""
    bench.take_sequence()
    shared = bench.shared(channel)
    encrypted = shared.encrypt(new.encode().ljust(64, b"\0"))
    proof = shared.encrypt(_hash(old))
    param = shared.authenticate(encrypted + proof)
    request = {1: 2, 2: 4, 3: PLATFORM_KEY, 4: param, 5: encrypted, 6: proof}
    before = bench.known
    answer, _ = bench.ask(channel, CLIENT_PIN, request)
    status = _closed(before)
    if status is None:
        status = _tried(bench, old)
        if not status and (len(new) < before.min_pin or before.force and new == before.pin):
            status = PIN_POLICY
    if bench.expect("6.5.5.6", answer, status, asked=False):
        bench.known = replace(bench.known, pin=new, force=False, token=None)


# -- signatures ----------------------------------------------------------------------------------


def _param(bench: Bench, channel: str, message: bytes) -> bytes:
    """pinUvAuthParam of the token that this channel's program has, or of none that there is."""
    held = bench.held(channel)
    return authenticate(held.value if held is not None else _SPOILED, message)


def _usable(known: Known, party: str, uv: bool) -> list[Credential]:
    """Newest first (6.2.2 step 12). credProtect: 12.1."""
    most = 3 if uv else 1
    return [one for one in known.credentials[::-1] if one.party == party and one.protect <= most]


def _signed(bench: Bench, data: bytes, party: str, flags: int) -> None:
    """Judges authenticator data (WebAuthn 6.1)."""
    known = bench.known
    if data[:32] != sha256(party.encode()).digest():
        raise ViolationError("signature", "of another relying party")
    if data[32] & (UP | UV) != flags:
        raise ViolationError("presence", f"flags {data[32]:02x}, not {flags:02x}")
    counter = int.from_bytes(data[33:37], "big")
    if counter <= known.counter:
        raise ViolationError("counter", f"signature {counter} after {known.counter} was given")
    bench.known = replace(known, counter=counter)


def _asserted(bench: Bench, said: Any, one: Credential, flags: int, several: bool) -> None:
    """Judges what an assertion says (6.2.2 steps 11 to 13, 6.3)."""
    if said[1]["id"] != one.identifier:
        raise ViolationError("credential", f"not {one.user!r} was asserted")
    _signed(bench, said[2], one.party, flags)
    x, y = (int.from_bytes(part, "big") for part in one.public)
    key = EllipticCurvePublicNumbers(x, y, SECP256R1()).public_key()
    try:
        key.verify(said[3], said[2] + HASH, ECDSA(SHA256()))
    except InvalidSignature:
        raise ViolationError("signature", "the signature is not valid") from None
    user = said.get(4, {})
    told = several and flags & UV
    if user.get("id") != one.user or (not told and ("name" in user or "displayName" in user)):
        raise ViolationError("user", f"6.2.2: says {user!r} of {one.user!r}")


def assertion(
    bench: Bench, channel: str, by: By, touch: str = NOBODY, *, up: bool = True, party: str = PARTY
) -> None:
    """6.2.2."""
    bench.take_sequence()
    request: dict[int, Any] = {1: party, 2: HASH}
    options: dict[str, bool] = {} if up else {"up": False}
    if by == "finger":
        options["uv"] = True
    if options:
        request[5] = options
    if by == "token":
        request |= {6: _param(bench, channel, HASH), 7: 2}
    wish = Wish(by, touch, GA, party, lambda uv: bool(_usable(bench.known, party, uv)), up)
    expected = consent(bench, channel, wish)
    answer, said = bench.ask(channel, ASSERT, request, touch)
    lying = bench.known.lying
    usable = _usable(bench.known, party, bool(expected.flags & UV))
    bench.known = replace(expected.known, lying=lying)
    if not bench.expect("6.2.2", answer, *expected.statuses, asked=expected.asked):
        return
    _asserted(bench, said, usable[0], expected.flags, len(usable) > 1)
    if said.get(5, 1) != len(usable):
        raise ViolationError("count", f"6.2.2: {said.get(5)} credentials, not {len(usable)}")
    if len(usable) > 1:
        _begun(bench, channel, "assertions", tuple(usable[1:]), by == "token", expected.flags)


def _begun(
    bench: Bench, channel: str, kind: str, left: tuple[object, ...], by_token: bool, flags: int = 0
) -> None:
    known = bench.known
    token = known.token.number if by_token and known.token else None
    bench.known = replace(
        known, sequence=Sequence(kind, channel, left, token, bench.now, flags)
    )


def _goes_on(bench: Bench, channel: str, kind: str) -> Sequence | None:
    """The sequence that a command of this kind goes on with (6, stateful commands)."""
    sequence = bench.take_sequence()
    if sequence is None or sequence.kind != kind or sequence.channel != channel:
        return None
    if bench.now - sequence.since >= SEQUENCE_US:
        return None
    token = bench.known.token
    if sequence.token is not None and (
        token is None or token.number != sequence.token or not token.alive(bench.now)
    ):
        return None
    return sequence


def _left(bench: Bench, sequence: Sequence, left: tuple[object, ...]) -> None:
    if left:
        bench.known = replace(
            bench.known, sequence=replace(sequence, left=left, since=bench.now)
        )


def next_assertion(bench: Bench, channel: str) -> None:
    """6.3."""
    sequence = _goes_on(bench, channel, "assertions")
    answer, said = bench.ask(channel, NEXT)
    if bench.expect("6.3", answer, 0x30 if sequence is None else 0, asked=False):
        assert sequence is not None
        one = sequence.left[0]
        assert isinstance(one, Credential)
        _asserted(bench, said, one, sequence.flags, several=True)
        _left(bench, sequence, sequence.left[1:])


def make(
    bench: Bench, channel: str, by: By, touch: str = NOBODY, *, user: bytes = b"",
    excluded: bool = False, party: str = PARTY, protect: int = 1, blob: bool = False,
) -> None:  # fmt: skip
    """6.1.2. user: of a resident one; without, it is not kept."""
    bench.take_sequence()
    request: dict[int, Any] = {
        1: HASH, 2: {"id": party}, 3: {"id": user or b"x", "name": "name"}, 4: ES256,
    }  # fmt: skip
    known = bench.known
    extensions: dict[str, Any] = {} if protect == 1 else {"credProtect": protect}
    if blob:
        extensions["largeBlobKey"] = True
    if extensions:
        request[6] = extensions
    options = ({"rk": True} if user else {}) | ({"uv": True} if by == "finger" else {})
    if options:
        request[7] = options
    if by == "token":
        request |= {8: _param(bench, channel, HASH), 9: 2}
    there = [one for one in known.credentials if one.party == party]
    if excluded and there:
        request[5] = [{"id": there[-1].identifier, "type": "public-key"}]
    if user and known.protected and by == "nothing" and not known.always:
        answer, _ = bench.ask(channel, MAKE, request, touch)
        bench.expect("6.1.2 step 7", answer, PUAT_REQUIRED, asked=False)
        return
    expected = consent(bench, channel, Wish(by, touch, MC, party, lambda _: True))
    shut_out = excluded and there and (expected.flags & UV or there[-1].protect < 3)
    answer, said = bench.ask(channel, MAKE, request, touch)
    lying = bench.known.lying
    if shut_out and expected.statuses == (0,):
        # Step 12.2: the token keeps what it is good for.
        kept = replace(expected.known, token=_unspent(bench.known, expected.known), lying=lying)
        bench.known = kept
        bench.expect("6.1.2 step 12", answer, 0x19, asked=expected.asked)
        return
    bench.known = replace(expected.known, lying=lying)
    if bench.expect("6.1.2", answer, *expected.statuses, asked=expected.asked):
        _signed(bench, said[2], party, expected.flags)
        if user:
            _kept(bench, said, Credential(party, user, "name", b"", (b"", b""), protect))


def _unspent(before: Known, after: Known) -> Token | None:
    if before.token is None or after.token is None:
        return after.token
    return replace(
        after.token, permissions=before.token.permissions, present=before.token.present
    )


def _kept(bench: Bench, said: Any, made: Credential) -> None:
    """One of the same user and relying party is replaced (step 17)."""
    data = said[2]
    size = int.from_bytes(data[53:55], "big")
    key, _ = cbor.decode_from(data[55 + size :])
    made = replace(
        made, identifier=data[55 : 55 + size], public=(key[-2], key[-3]),
        blob_key=said.get(5, b""),
    )  # fmt: skip
    others = tuple(
        one
        for one in bench.known.credentials
        if (one.party, one.user) != (made.party, made.user)
    )
    bench.known = replace(bench.known, credentials=(*others, made))


def select(bench: Bench, channel: str, touch: str = NOBODY) -> None:
    """6.9."""
    bench.take_sequence()
    answer, _ = bench.ask(channel, SELECT, touch=touch)
    _touched(bench, "6.9", answer, touch)


def _touched(bench: Bench, section: str, answer: Answer, touch: str) -> bool:
    bench.known = replace(bench.known, enrolment=None)
    if not bench.known.sensor:
        return bench.expect(section, answer, DENIED, asked=True)
    return bench.expect(section, answer, 0 if touch else CANCELLED, asked=True)


def reset(bench: Bench, channel: str, touch: str = NOBODY) -> None:
    """6.6."""
    bench.take_sequence()
    age = bench.now - bench.known.powered
    answer, _ = bench.ask(channel, RESET, touch=touch)
    if age > RESET_US + _NEAR_US:
        bench.expect("6.6", answer, 0x30, asked=False)
        return
    if age > RESET_US - _NEAR_US and answer.status == 0x30:
        return
    if _touched(bench, "6.6", answer, touch):
        known = bench.known
        bench.known = Known(
            powered=known.powered, blob=NO_BLOB, tokens=known.tokens, held=known.held,
            sensor=known.sensor, lying=known.lying,
        )  # fmt: skip


# -- credential management -----------------------------------------------------------------------


def _managed(
    bench: Bench, channel: str, command: int, parameters: dict[int, Any] | None,
    party: str | None,
) -> tuple[Answer, Any, int]:  # fmt: skip
    """6.8: (answer, what it says, status that is due so far). party: what it is about, None: all of
    them."""
    bench.take_sequence()
    request: dict[int, Any] = {1: command, 3: 2}
    message = bytes((command,))
    if parameters is not None:
        request[2] = parameters
        message += cbor.encode(parameters)
    request[4] = _param(bench, channel, message)
    held, token = bench.held(channel), None
    if held is not None:
        bench.known, token = use(bench.known, held, CM, bench.now)
    answer, said = bench.ask(channel, MANAGE, request)
    allowed = token is not None and token.party in (None, party)
    return answer, said, 0 if allowed else PIN_AUTH_INVALID


def metadata(bench: Bench, channel: str) -> None:
    """6.8.2."""
    answer, said, status = _managed(bench, channel, 1, None, None)
    if bench.expect("6.8.2", answer, status, asked=False):
        count = len(bench.known.credentials)
        if (said[1], said[2]) != (count, 128 - count):
            raise ViolationError("count", f"6.8.2: {said}, there are {count}")


def _parties(known: Known) -> set[str]:
    return {one.party for one in known.credentials}


def parties(bench: Bench, channel: str) -> None:
    """6.8.3."""
    answer, said, status = _managed(bench, channel, 2, None, None)
    there = _parties(bench.known)
    if not bench.expect("6.8.3", answer, status or (0 if there else NO_CREDENTIALS), asked=False):
        return
    if said[5] != len(there) or said[3]["id"] not in there:
        raise ViolationError("list", f"6.8.3: {said[5]}, {said[3]}")
    left = tuple(sorted(there - {said[3]["id"]}))
    if left:
        _begun(bench, channel, "parties", left, by_token=True)


def next_party(bench: Bench, channel: str) -> None:
    """6.8.3."""
    sequence = _goes_on(bench, channel, "parties")
    answer, said = bench.ask(channel, MANAGE, {1: 3})
    if bench.expect("6.8.3", answer, 0x30 if sequence is None else 0, asked=False):
        assert sequence is not None
        _take_out(bench, sequence, said[3]["id"])


def _take_out(bench: Bench, sequence: Sequence, found: object) -> None:
    if found not in sequence.left:
        raise ViolationError("list", f"6.8: {found!r} is not to come")
    _left(bench, sequence, tuple(one for one in sequence.left if one != found))


def credentials(bench: Bench, channel: str, party: str = PARTY) -> None:
    """6.8.4."""
    parameters = {1: sha256(party.encode()).digest()}
    answer, said, status = _managed(bench, channel, 4, parameters, party)
    there = {one.identifier for one in bench.known.credentials if one.party == party}
    if not bench.expect("6.8.4", answer, status or (0 if there else NO_CREDENTIALS), asked=False):
        return
    first = bytes(said[7]["id"])
    if said[9] != len(there) or first not in there:
        raise ViolationError("list", f"6.8.4: {said[9]} credentials")
    left = tuple(sorted(there - {first}))
    if left:
        _begun(bench, channel, "credentials", left, by_token=True)


def next_credential(bench: Bench, channel: str) -> None:
    """6.8.4."""
    sequence = _goes_on(bench, channel, "credentials")
    answer, said = bench.ask(channel, MANAGE, {1: 5})
    if bench.expect("6.8.4", answer, 0x30 if sequence is None else 0, asked=False):
        assert sequence is not None
        _take_out(bench, sequence, bytes(said[7]["id"]))


def delete(bench: Bench, channel: str) -> None:
    """6.8.5, of the newest one, or of one that there is not."""
    known = bench.known
    one = known.credentials[-1] if known.credentials else None
    identifier = one.identifier if one else bytes(50)
    parameters = {2: {"id": identifier, "type": "public-key"}}
    party = one.party if one else PARTY
    answer, _, status = _managed(bench, channel, 6, parameters, party)
    if one is None and not status:
        status = NO_CREDENTIALS
    statuses = (status,) if one else (status, NO_CREDENTIALS)
    if one is None and status == PIN_AUTH_INVALID:
        statuses = _not_there(bench, channel)
    if bench.expect("6.8.5", answer, *statuses, asked=False):
        bench.known = replace(bench.known, credentials=bench.known.credentials[:-1])


def _not_there(bench: Bench, channel: str) -> tuple[int, ...]:
    """Nobody says to which relying party a credential belongs that is not there."""
    return (PIN_AUTH_INVALID, NO_CREDENTIALS)


def rename_user(bench: Bench, channel: str, name: str = "renamed") -> None:
    """6.8.6, of the newest one."""
    known = bench.known
    if not known.credentials:
        return
    one = known.credentials[-1]
    parameters = {
        2: {"id": one.identifier, "type": "public-key"}, 3: {"id": one.user, "name": name},
    }  # fmt: skip
    answer, _, status = _managed(bench, channel, 7, parameters, one.party)
    if bench.expect("6.8.6", answer, status, asked=False):
        renamed = replace(one, name=name)
        bench.known = replace(bench.known, credentials=(*bench.known.credentials[:-1], renamed))


# -- fingers -------------------------------------------------------------------------------------


def _bio(
    bench: Bench, channel: str, command: int, parameters: dict[int, Any] | None, touch: str = NOBODY
) -> tuple[Answer, Any, bool]:
    """6.7: (answer, what it says, whether the token allows it)."""
    bench.take_sequence()
    request: dict[int, Any] = {1: 1, 2: command, 4: 2}
    message = bytes((1, command))
    if parameters is not None:
        request[3] = parameters
        message += cbor.encode(parameters)
    request[5] = _param(bench, channel, message)
    held, token = bench.held(channel), None
    if held is not None:
        bench.known, token = use(bench.known, held, BE, bench.now)
    answer, said = bench.ask(channel, BIO, request, touch)
    return answer, said, token is not None


def enrol(bench: Bench, channel: str, finger: str = INDEX) -> None:
    """6.7.4: the first sample."""
    answer, said, allowed = _bio(bench, channel, 1, None, finger)
    known = bench.known
    if not allowed:
        bench.expect("6.7.4", answer, PIN_AUTH_INVALID, asked=False)
        return
    bench.known = known = replace(known, enrolment=None)
    if not known.sensor:
        bench.expect("6.7.4", answer, DENIED, asked=None)
        return
    if not finger:
        bench.expect("6.7.4", answer, CANCELLED, asked=True)
        return
    bench.expect("6.7.4", answer, 0, asked=True)
    taken = any(one == finger for _, one, _ in known.fingers)
    if said[5] != (0x0B if taken else 0):
        raise ViolationError("sample", f"6.7.4: {said[5]:02X}")
    samples = 0 if taken else 1
    bench.known = replace(known, enrolment=Enrolment(channel, said[4], finger, samples))


def next_sample(bench: Bench, channel: str, finger: str = INDEX) -> None:
    """6.7.4."""
    enrolment = bench.known.enrolment
    template = enrolment.template if enrolment else b"\x54\x01"
    answer, said, allowed = _bio(bench, channel, 2, {1: template}, finger)
    if not allowed:
        bench.expect("6.7.4", answer, PIN_AUTH_INVALID, asked=False)
        return
    if enrolment is None or enrolment.channel != channel:
        bench.expect("6.7.4", answer, 0x02, asked=False)
        return
    bench.expect("6.7.4", answer, 0, asked=True)
    known = bench.known
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
        bench.known = replace(known, fingers=found, enrolment=None)
        return
    # Samples of two fingers are of none.
    whose = enrolment.finger if finger == enrolment.finger or not samples else "?"
    whose = finger if samples == 1 else whose
    bench.known = replace(known, enrolment=replace(enrolment, finger=whose, samples=samples))


def cancel_enrolment(bench: Bench, channel: str) -> None:
    """6.7.5."""
    bench.take_sequence()
    answer, _ = bench.ask(channel, BIO, {1: 1, 2: 3})
    bench.expect("6.7.5", answer, 0, asked=False)
    bench.known = replace(bench.known, enrolment=None)


def fingers(bench: Bench, channel: str) -> None:
    """6.7.6."""
    answer, said, allowed = _bio(bench, channel, 4, None)
    known = bench.known
    status = 0x2C if not known.fingers else 0
    if bench.expect("6.7.6", answer, status if allowed else PIN_AUTH_INVALID, asked=False):
        found = [(one[1], one[2]) for one in said[7]]
        if sorted(found) != sorted((template, name) for template, _, name in known.fingers):
            raise ViolationError("list", f"6.7.6: {found}")


def remove_finger(bench: Bench, channel: str) -> None:
    """6.7.8, of the first one."""
    known = bench.known
    template = known.fingers[0][0] if known.fingers else b"\x54\x00"
    answer, _, allowed = _bio(bench, channel, 6, {1: template})
    status = 0 if known.fingers else 0x2C
    if bench.expect("6.7.8", answer, status if allowed else PIN_AUTH_INVALID, asked=False):
        bench.known = replace(bench.known, fingers=bench.known.fingers[1:])


# -- large blobs and configuration ---------------------------------------------------------------


def read_blob(bench: Bench, channel: str) -> None:
    """6.10.2."""
    bench.take_sequence()
    answer, said = bench.ask(channel, BLOBS, {1: 100, 3: 0})
    bench.expect("6.10.2", answer, 0, asked=False)
    if said[1] != bench.known.blob:
        raise ViolationError("blob", f"6.10.2: {said[1].hex()}")


def fragment(bench: Bench, channel: str, offset: int, part: bytes, length: int = 0) -> None:
    """6.10.2."""
    sequence = _goes_on(bench, channel, "blob")
    came = sequence.left[0] if sequence else b""
    assert isinstance(came, bytes)
    request: dict[int, Any] = {2: part, 3: offset}
    if length:
        request[4] = length
    known = bench.known
    guarded = known.protected or known.always
    if guarded:
        place = offset.to_bytes(4, "little")
        message = b"\xff" * 32 + b"\x0c\x00" + place + sha256(part).digest()
        request |= {5: _param(bench, channel, message), 6: 2}
    status = 0
    if offset and (sequence is None or offset != len(came)):
        status = 0x04
    elif guarded:
        held, token = bench.held(channel), None
        if held is not None:
            bench.known, token = use(known, held, LBW, bench.now)
        status = 0 if token else PIN_AUTH_INVALID
    whole = (came if offset else b"") + part
    if not status and len(whole) == len(ARRAY) and whole != ARRAY:
        status = 0x3D
    answer, _ = bench.ask(channel, BLOBS, request)
    if not bench.expect("6.10.2", answer, status, asked=False):
        return
    if len(whole) == len(ARRAY):
        bench.known = replace(bench.known, blob=whole)
    else:
        _begun(bench, channel, "blob", (whole,), by_token=guarded)


def _configured(
    bench: Bench, channel: str, command: int, parameters: dict[int, Any] | None
) -> tuple[Answer, int]:
    """6.11: (answer, status that is due so far)."""
    bench.take_sequence()
    request: dict[int, Any] = {1: command}
    message = b"\xff" * 32 + bytes((CONFIG, command))
    if parameters is not None:
        request[2] = parameters
        message += cbor.encode(parameters)
    status = 0
    if bench.known.protected:
        request |= {3: 2, 4: _param(bench, channel, message)}
        held, token = bench.held(channel), None
        if held is not None:
            bench.known, token = use(bench.known, held, ACFG, bench.now)
        status = 0 if token else PIN_AUTH_INVALID
    return bench.ask(channel, CONFIG, request)[0], status


def toggle_always(bench: Bench, channel: str) -> None:
    """6.11.2."""
    answer, status = _configured(bench, channel, 2, None)
    if bench.expect("6.11.2", answer, status, asked=False):
        bench.known = replace(bench.known, always=not bench.known.always)


def minimum(bench: Bench, channel: str, length: int | None, *, force: bool) -> None:
    """6.11.4."""
    parameters: dict[int, Any] = {} if length is None else {1: length}
    if force:
        parameters[3] = True
    answer, status = _configured(bench, channel, 3, parameters)
    known = bench.known
    if not status:
        if length is not None and length < known.min_pin:
            status = PIN_POLICY
        elif force and known.pin is None:
            status = 0x35
    if not bench.expect("6.11.4", answer, status, asked=False):
        return
    length = known.min_pin if length is None else length
    forced = known.force or force or (known.pin is not None and len(known.pin) < length)
    bench.known = replace(
        bench.known, min_pin=length, force=forced, token=None if forced else bench.known.token
    )


# -- alphabets -----------------------------------------------------------------------------------

_MALFORMED: dict[str, tuple[int, Any, str, tuple[int, ...]]] = {
    "true sub-command": (CLIENT_PIN, {2: True}, "8.2", (0x11,)),
    "text sub-command": (CONFIG, {1: "2"}, "8.2", (0x11,)),
    "no such configuration": (CONFIG, {1: 0x7F}, "6.11", (0x02,)),
    "read with a length": (BLOBS, {1: 10, 3: 0, 4: 20}, "6.10.2", (0x02,)),
    "no offset": (BLOBS, {1: 10}, "6.10.2", (0x02,)),
    "no hash": (ASSERT, {1: PARTY}, "6.2.2", (0x14,)),
    "named by a number": (
        MAKE, {1: HASH, 2: {"id": PARTY, "name": 1}, 3: {"id": b"x"}, 4: ES256}, "6.1.2", (0x11,),
    ),
    "unprotected manager": (MANAGE, {1: 1}, "6.8.2", (0x36,)),
    "unprotected fingers": (BIO, {1: 1, 2: 4}, "6.7.6", (0x36,)),
    "key by true": (CLIENT_PIN, bytes.fromhex("a1f501"), "8", (0x11, 0x12)),
    "no CBOR": (MAKE, b"\xa1\x01", "8", (0x12,)),
    "empty": (CLIENT_PIN, None, "8.2", (0x14,)),
}  # fmt: skip


def _on(channel: str) -> dict[str, Letter]:
    """Letters of one channel."""
    on: dict[str, Letter] = {}

    def add(name: str, action: Callable[..., None], *words: Any, **more: Any) -> None:
        on[f"{channel} {name}"] = partial(action, channel=channel, **more) if not words else (
            lambda bench: action(bench, channel, *words, **more)
        )

    add("info", information)
    add("retries", retries)
    add("unknown", unknown)
    add("pin-token", pin_token, ALL, PARTY)
    add("pin-token-any", pin_token, CM | BE | ACFG, None)
    add("wrong-pin", pin_token, CM, None, WRONG_PIN)
    add("short-pin", short_pin)
    add("finger-token", finger_token, ALL & ~ACFG, PARTY)
    add("finger-token-stranger", finger_token, ALL & ~ACFG, PARTY, STRANGER)
    add("finger-token-nobody", finger_token, ALL & ~ACFG, PARTY, NOBODY)
    add("finger-config", finger_token, ACFG, None)
    add("set-pin", set_pin)
    add("change-pin", change_pin, PIN, NEW_PIN)
    add("change-to-same", change_pin, PIN, PIN)
    add("change-wrong", change_pin, WRONG_PIN, NEW_PIN)
    add("assert", assertion, "nothing", INDEX)
    add("assert-nobody", assertion, "nothing", NOBODY)
    add("assert-silent", assertion, "nothing", NOBODY, up=False)
    add("assert-token", assertion, "token", INDEX)
    add("assert-token-nobody", assertion, "token", NOBODY)
    add("assert-finger", assertion, "finger", THUMB)
    add("assert-stranger", assertion, "finger", STRANGER)
    add("assert-elsewhere", assertion, "token", NOBODY, party=ELSEWHERE)
    add("next", next_assertion)
    add("make", make, "nothing", INDEX)
    add("make-nobody", make, "nothing", NOBODY)
    add("make-resident", make, "token", INDEX, user=b"user-3")
    add("make-token-nobody", make, "token", NOBODY)
    add("make-unproved", make, "nothing", INDEX, user=b"user-4")
    add("make-finger", make, "finger", THUMB, user=b"user-5", party=ELSEWHERE)
    add("make-excluded", make, "token", NOBODY, excluded=True)
    add("select", select, INDEX)
    add("select-nobody", select, NOBODY)
    add("reset", reset, INDEX)
    add("reset-nobody", reset, NOBODY)
    add("metadata", metadata)
    add("parties", parties)
    add("next-party", next_party)
    add("credentials", credentials)
    add("next-credential", next_credential)
    add("delete", delete)
    add("rename", rename_user)
    add("enrol", enrol)
    add("enrol-nobody", enrol, NOBODY)
    add("enrol-again", enrol, THUMB)
    add("sample", next_sample)
    add("sample-thumb", next_sample, THUMB)
    add("cancel-enrolment", cancel_enrolment)
    add("fingers", fingers)
    add("remove-finger", remove_finger)
    add("blob", read_blob)
    add("fragment", fragment, 0, ARRAY[:HALF], len(ARRAY))
    add("fragment-next", fragment, HALF, ARRAY[HALF:])
    add("fragment-elsewhere", fragment, 7, ARRAY[HALF:])
    add("fragment-spoiled", fragment, HALF, bytes(len(ARRAY) - HALF))
    add("always", toggle_always)
    add("force", minimum, None, force=True)
    add("longer", minimum, 6, force=False)
    add("shorter", minimum, 3, force=False)
    for name, (command, request, section, statuses) in _MALFORMED.items():
        add(name, malformed, command, request, section, *statuses)
    return on


WORLD: dict[str, Letter] = {
    "replug": _replug, "wait": _wait, "cable": _cable, "finger": _finger,
}  # fmt: skip
LETTERS: dict[str, Letter] = {**WORLD, **_on(CHANNELS[0]), **_on(CHANNELS[1])}

# For the walk without options: what the sequences, the token and the person's touch are about.
REDUCED = (
    "wait", "replug", "A pin-token", "A finger-token", "A assert", "A assert-token-nobody",
    "A next", "A credentials", "A next-credential", "A delete", "A fragment", "A fragment-next",
    "A force", "A enrol", "A sample", "B assert-nobody", "B next", "B next-credential",
)  # fmt: skip
# For `--full`.
LARGE = (
    *REDUCED, "cable", "finger", "A reset", "A short-pin", "A wrong-pin", "A finger-token-stranger",
    "A finger-config", "A assert-finger", "A make-resident", "A make-excluded", "A always",
    "A longer", "A remove-finger", "A cancel-enrolment", "B info", "B retries", "B make-nobody",
    "B finger-token", "B fragment-next", "B sample", "B select",
)  # fmt: skip


def probe(bench: Bench) -> None:
    """What getInfo and the counters of tries say, at the end of a way."""
    information(bench, CHANNELS[1])
    retries(bench, CHANNELS[1])


def into_service(bench: Bench) -> None:
    """A PIN, a thumb, and two credentials of one relying party, one of them for verified users
    only, with a key for large blobs."""
    channel = CHANNELS[0]
    bench.known = replace(bench.known, blob=NO_BLOB)
    set_pin(bench, channel)
    pin_token(bench, channel, BE, None)
    enrol(bench, channel, THUMB)
    for _ in range(SAMPLES - 1):
        next_sample(bench, channel, THUMB)
    for user, protect, blob in ((b"user-1", 1, False), (b"user-2", 1, False), (b"user-0", 3, True)):
        make(bench, channel, "finger", THUMB, user=user, protect=protect, blob=blob)
    bench.replug()
