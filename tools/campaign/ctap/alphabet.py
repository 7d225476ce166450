"""What is done to the reader, as letters of an alphabet; each judges what comes of it.

A letter with a channel is called `A assert`, one of the world `replug`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from tallystick.tools.campaign.ctap.asking import (
    begin_anew,
    information,
    malformed,
    retries,
    unknown,
)
from tallystick.tools.campaign.ctap.basics import (
    ARRAY,
    ASSERT,
    BIO,
    BLOBS,
    CLIENT_PIN,
    CONFIG,
    EDDSA,
    ELSEWHERE,
    HALF,
    HASH,
    MAKE,
    MANAGE,
    NEW_PIN,
    NO_BLOB,
    PARAMETERS,
    PARTY,
    PIN,
    SAMPLES,
    WAIT_MS,
    WRONG_PIN,
    Letter,
)
from tallystick.tools.campaign.ctap.fingers import (
    cancel_enrolment,
    enrol,
    fingers,
    name_finger,
    next_sample,
    remove_finger,
    sensor,
)
from tallystick.tools.campaign.ctap.known import (
    ACFG,
    ALL,
    BE,
    CHANNELS,
    CM,
    PCMR,
)
from tallystick.tools.campaign.ctap.managing import (
    credentials,
    delete,
    metadata,
    next_credential,
    next_party,
    parties,
    rename_user,
)
from tallystick.tools.campaign.ctap.pins import (
    change_pin,
    finger_token,
    lasting_token,
    old_token,
    pin_token,
    set_pin,
    short_pin,
)
from tallystick.tools.campaign.ctap.signing import (
    assert_deleted,
    assert_listed,
    assertion,
    make,
    next_assertion,
    reset,
    select,
)
from tallystick.tools.campaign.ctap.storing import fragment, minimum, read_blob, toggle_always
from tallystick.tools.campaign.ctap.world import INDEX, LATE, NOBODY, STRANGER, THUMB, CtapWorld


def _replug(world: CtapWorld) -> None:
    world.replug()


def _restart(world: CtapWorld) -> None:
    world.restart()


def _wait(world: CtapWorld) -> None:
    world.wait(WAIT_MS)


def _stray(world: CtapWorld) -> None:
    world.stray()


def _cable(world: CtapWorld) -> None:
    world.plug_sensor(plugged=not world.known.sensor)


def _finger(world: CtapWorld) -> None:
    world.lie(finger=not world.known.lying)


_MALFORMED: dict[str, tuple[int, Any, str, tuple[int, ...]]] = {
    "true sub-command": (CLIENT_PIN, {2: True}, "8.2", (0x11,)),
    "text sub-command": (CONFIG, {1: "2"}, "8.2", (0x11,)),
    "no such configuration": (CONFIG, {1: 0x7F}, "6.11", (0x02,)),
    "read with a length": (BLOBS, {1: 10, 3: 0, 4: 20}, "6.10.2", (0x02,)),
    "no offset": (BLOBS, {1: 10}, "6.10.2", (0x02,)),
    "no hash": (ASSERT, {1: PARTY}, "6.2.2", (0x14,)),
    "named by a number": (
        MAKE, {1: HASH, 2: {"id": PARTY, "name": 1}, 3: {"id": b"x"}, 4: PARAMETERS}, "6.1.2",
        (0x11,),
    ),
    "unprotected manager": (MANAGE, {1: 1}, "6.8.2", (0x36,)),
    "unprotected fingers": (BIO, {1: 1, 2: 4}, "6.7.6", (0x36,)),
    "key by true": (CLIENT_PIN, bytes.fromhex("a1f501"), "8", (0x11, 0x12)),
    "no CBOR": (MAKE, b"\xa1\x01", "8", (0x12,)),
    "empty": (CLIENT_PIN, None, "8.2", (0x14,)),
}  # fmt: skip


Command = Callable[[CtapWorld, str], None]


def _do(action: Callable[..., None], *words: Any, **more: Any) -> Command:
    """What is done on a channel."""
    return lambda world, channel: action(world, channel, *words, **more)


_COMMANDS: dict[str, Command] = {
    "info": _do(information),
    "begin-anew": _do(begin_anew),
    "retries": _do(retries),
    "look-token": _do(lasting_token),
    "look-token-more": _do(lasting_token, PCMR | CM),
    "look-metadata": _do(metadata, lasting=True),
    "look-parties": _do(parties, lasting=True),
    "look-credentials": _do(credentials, lasting=True),
    "look-delete": _do(delete, lasting=True),
    "unknown": _do(unknown),
    "pin-token": _do(pin_token, ALL, PARTY),
    "pin-token-any": _do(pin_token, CM | BE | ACFG, None),
    "old-token": _do(old_token),
    "wrong-pin": _do(pin_token, CM, None, WRONG_PIN),
    "short-pin": _do(short_pin),
    "finger-token": _do(finger_token, ALL & ~ACFG, PARTY),
    "finger-token-stranger": _do(finger_token, ALL & ~ACFG, PARTY, STRANGER),
    "finger-token-nobody": _do(finger_token, ALL & ~ACFG, PARTY, NOBODY),
    "finger-config": _do(finger_token, ACFG, None),
    "set-pin": _do(set_pin),
    "change-pin": _do(change_pin, PIN, NEW_PIN),
    "change-to-same": _do(change_pin, PIN, PIN),
    "change-wrong": _do(change_pin, WRONG_PIN, NEW_PIN),
    "assert": _do(assertion, "nothing", INDEX),
    "assert-nobody": _do(assertion, "nothing", NOBODY),
    "assert-late": _do(assertion, "nothing", LATE),
    "assert-silent": _do(assertion, "nothing", NOBODY, up=False),
    "assert-token": _do(assertion, "token", INDEX),
    "assert-token-nobody": _do(assertion, "token", NOBODY),
    "assert-token-silent": _do(assertion, "token", NOBODY, up=False),
    "assert-beside": _do(assertion, "token", NOBODY, beside=True),
    "assert-listed-2": _do(assert_listed, 2, "nothing", INDEX),
    "assert-listed-3": _do(assert_listed, 3, "nothing", INDEX),
    "assert-listed-finger": _do(assert_listed, 3, "finger", THUMB),
    "assert-deleted": _do(assert_deleted, THUMB),
    "assert-finger": _do(assertion, "finger", THUMB),
    "assert-stranger": _do(assertion, "finger", STRANGER),
    "assert-elsewhere": _do(assertion, "token", NOBODY, party=ELSEWHERE),
    "next": _do(next_assertion),
    "make": _do(make, "nothing", INDEX),
    "make-nobody": _do(make, "nothing", NOBODY),
    "make-late": _do(make, "nothing", LATE),
    "make-excluded-late": _do(make, "nothing", LATE, excluded=True),
    "make-resident": _do(make, "token", INDEX, user=b"user-3"),
    "make-protected": _do(make, "token", INDEX, user=b"user-9", protect=2),
    "make-ed25519": _do(make, "token", INDEX, user=b"user-6", algorithm=EDDSA),
    "make-extended": _do(make, "token", INDEX, user=b"user-7", cred_blob=b"blob" * 8),
    "make-blob-long": _do(make, "token", INDEX, user=b"user-8", cred_blob=bytes(33)),
    "make-blob-lost": _do(make, "token", INDEX, cred_blob=b"blob"),
    "assert-extended": _do(assertion, "token", INDEX, extended=True),
    "make-token-nobody": _do(make, "token", NOBODY),
    "make-unproved": _do(make, "nothing", INDEX, user=b"user-4"),
    "make-finger": _do(make, "finger", THUMB, user=b"user-5", party=ELSEWHERE),
    "make-excluded": _do(make, "token", NOBODY, excluded=True),
    "select": _do(select, INDEX),
    "select-nobody": _do(select, NOBODY),
    "select-late": _do(select, LATE),
    "reset": _do(reset, INDEX),
    "reset-nobody": _do(reset, NOBODY),
    "metadata": _do(metadata),
    "parties": _do(parties),
    "next-party": _do(next_party),
    "credentials": _do(credentials),
    "next-credential": _do(next_credential),
    "delete": _do(delete),
    "rename": _do(rename_user),
    "enrol": _do(enrol),
    "enrol-nobody": _do(enrol, NOBODY),
    "enrol-again": _do(enrol, THUMB),
    "sample": _do(next_sample),
    "sample-thumb": _do(next_sample, THUMB),
    "cancel-enrolment": _do(cancel_enrolment),
    "fingers": _do(fingers),
    "name-finger": _do(name_finger),
    "sensor": _do(sensor),
    "remove-finger": _do(remove_finger),
    "blob": _do(read_blob),
    "fragment": _do(fragment, 0, ARRAY[:HALF], len(ARRAY)),
    "fragment-next": _do(fragment, HALF, ARRAY[HALF:]),
    "fragment-elsewhere": _do(fragment, 7, ARRAY[HALF:]),
    "fragment-spoiled": _do(fragment, HALF, bytes(len(ARRAY) - HALF)),
    "always": _do(toggle_always),
    "force": _do(minimum, None, force=True),
    "longer": _do(minimum, 6, force=False),
    "shorter": _do(minimum, 3, force=False),
    "tell-length": _do(minimum, None, told=(PARTY,)),
    "tell-many": _do(minimum, None, told=tuple(f"{n}.example" for n in range(9))),
    **{
        name: _do(malformed, command, request, section, *statuses)
        for name, (command, request, section, statuses) in _MALFORMED.items()
    },
}


def _on(channel: str, command: Command) -> Letter:
    return lambda world: command(world, channel)


WORLD: dict[str, Letter] = {
    "replug": _replug, "restart": _restart, "wait": _wait, "cable": _cable, "finger": _finger,
    "stray": _stray,
}  # fmt: skip
LETTERS: dict[str, Letter] = {
    **WORLD,
    **{
        f"{channel} {name}": _on(channel, command)
        for channel in CHANNELS
        for name, command in _COMMANDS.items()
    },
}

# For the walk without options: what the sequences, the token and the person's touch are about.
REDUCED = (
    "wait", "replug", "A pin-token", "A finger-token", "A assert", "A assert-token-nobody",
    "A next", "A credentials", "A next-credential", "A delete", "A fragment", "A fragment-next",
    "A force", "B assert-nobody", "B next", "B next-credential",
)  # fmt: skip
# For `--full`: 39 letters, of which all ways of four are 2,374,320 transitions.
LARGE = (
    *REDUCED, "restart", "cable", "finger", "A enrol", "A sample", "A reset", "A short-pin",
    "A wrong-pin", "A finger-token-stranger", "A finger-config", "A assert-finger",
    "A make-resident", "A make-excluded", "A always", "A longer", "A remove-finger",
    "B info", "B retries", "B make-nobody", "B finger-token", "B fragment-next", "B sample",
    "B select",
)  # fmt: skip

# How often each is drawn for a long way: without a token next to nothing happens.
CHANCE = {
    name: 12 if "token" in name and "nobody" not in name else 6 if name.startswith("A") else 3
    for name in LETTERS
}


def probe(world: CtapWorld) -> None:
    """What getInfo and the counters of tries say, at the end of a way."""
    information(world, CHANNELS[1])
    retries(world, CHANNELS[1])


_HARMLESS = (
    "true sub-command", "text sub-command", "no offset", "no hash", "named by a number",
    "unprotected manager", "unprotected fingers",
)  # fmt: skip


def warm_up(world: CtapWorld) -> None:
    """Has the firmware load the module of every command, by messages that change nothing. It loads
    them when it first needs them, which on many ways would be most of the work."""
    for name in _HARMLESS:
        _COMMANDS[name](world, CHANNELS[1])
    probe(world)


def into_service(world: CtapWorld) -> None:
    """A PIN, a thumb, and two credentials of one relying party, one of them for verified users
    only, with a key for large blobs."""
    channel = CHANNELS[0]
    world.known = replace(world.known, blob=NO_BLOB)
    set_pin(world, channel)
    pin_token(world, channel, BE, None)
    enrol(world, channel, THUMB)
    for _ in range(SAMPLES - 1):
        next_sample(world, channel, THUMB)
    for user, protect, blob in ((b"user-1", 1, False), (b"user-2", 1, False), (b"user-0", 3, True)):
        make(world, channel, "finger", THUMB, user=user, protect=protect, blob=blob)
    world.replug()
