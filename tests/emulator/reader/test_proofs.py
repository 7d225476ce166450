"""What proves that a platform knows a secret: whole, or nothing. Sections are of CTAP 2.1."""

from __future__ import annotations

from binascii import crc32
from collections.abc import Callable
from hashlib import sha256
from typing import Any

import pytest
from fido2.ctap2 import ClientPin
from fido2.ctap2.bio import FPBioEnrollment
from fido2.ctap2.pin import PinProtocolV1, PinProtocolV2

from tallystick.emulator.parts.nor_flash import FlashOperation
from tests.emulator.reader.raw import (
    ASSERT,
    BIO,
    BLOBS,
    CONFIG,
    CREDENTIALS,
    ES256,
    HASH,
    MAKE,
    PARTY,
    PIN,
    USER,
    Host,
    refused,
)
from tests.emulator.reader.rig import PIN as RIGHT
from tests.emulator.reader.rig import Rig

PERMISSION = ClientPin.PERMISSION
_EVERY = PERMISSION(0x3C)  # but what takes a relying party
_ALLOWED = {one: (PERMISSION(3), "example.com") for one in (MAKE, ASSERT)}
_PROTOCOLS: dict[int, Any] = {1: PinProtocolV1, 2: PinProtocolV2}
_HEAD, _SLOT = 14, 256  # of a record: firmware/lib/records.py
_PART = bytes(20)
_LARGE = b"\xff" * 32 + b"\x0c\x00" + bytes(4) + sha256(_PART).digest()

# Command → request, what is proven, keys of the proof and of the protocol.
_PROVEN: dict[int, tuple[dict[int, Any], bytes, int, int]] = {
    MAKE: ({1: HASH, 2: PARTY, 3: USER, 4: ES256}, HASH, 8, 9),
    ASSERT: ({1: "example.com", 2: HASH}, HASH, 6, 7),
    BIO: ({1: 1, 2: 4}, b"\x01\x04", 5, 4),
    CREDENTIALS: ({1: 1}, b"\x01", 4, 3),
    BLOBS: ({2: _PART, 3: 0, 4: 40}, _LARGE, 5, 6),
    CONFIG: ({1: 2}, b"\xff" * 32 + b"\x0d\x02", 4, 3),
}


def _not_whole(proof: bytes) -> list[bytes]:
    spoiled = proof[:-1] + bytes((proof[-1] ^ 1,))
    return [proof[:1], proof[:-1], proof[: len(proof) // 2], proof + b"\0", spoiled]


@pytest.mark.parametrize("version", _PROTOCOLS)
@pytest.mark.parametrize("command", list(_PROVEN))
def test_a_part_of_a_proof_proves_nothing(rig: Rig, command: int, version: int) -> None:
    """6.5.6 and 6.5.7, verify: of its length, and all of it."""
    client = ClientPin(rig.ctap(), _PROTOCOLS[version]())
    token = client.get_pin_token(RIGHT, *_ALLOWED.get(command, (_EVERY, None)))
    host = Host(rig)
    request, message, proof_key, version_key = _PROVEN[command]
    proof = client.protocol.authenticate(token, message)
    wrong = _not_whole(proof) + ([b""] if command not in (MAKE, ASSERT) else [])
    for one in wrong:
        assert host.status(command, request | {proof_key: one, version_key: version}) == 0x33
    whole = request | {proof_key: proof, version_key: version}
    assert host.status(command, whole, press="thumb") in (0, 0x2E)  # there may be no credential


def _spoiled(data: bytes) -> bytes:
    return data[:-1] + bytes((data[-1] ^ 1,))


@pytest.mark.parametrize("version", _PROTOCOLS)
def test_another_pin_than_was_proven_is_not_set(fresh: Rig, version: int) -> None:
    """6.5.5.5: who sits between could set one of his own."""
    client = ClientPin(fresh.ctap(), _PROTOCOLS[version]())
    keys, shared = client._get_shared_secret()
    new = client.protocol.encrypt(shared, RIGHT.encode().ljust(64, b"\0"))
    proof = client.protocol.authenticate(shared, new)
    host = Host(fresh)
    request = {1: version, 2: 3, 3: keys}
    for wrong in _not_whole(proof):
        assert host.status(PIN, request | {4: wrong, 5: new}) == 0x33
    # The last bits are of the zeros behind it, the first of what is decrypted.
    assert host.status(PIN, request | {4: proof, 5: _spoiled(new)}) == 0x33
    assert not fresh.ctap().info.options["clientPin"]
    assert host.status(PIN, request | {4: proof, 5: new}) == 0


@pytest.mark.parametrize("version", _PROTOCOLS)
def test_a_change_that_was_not_proven_costs_no_try(rig: Rig, version: int) -> None:
    """6.5.5.6: the proof is over the new PIN and the hash of the old one."""
    client = ClientPin(rig.ctap(), _PROTOCOLS[version]())
    keys, shared = client._get_shared_secret()
    new = client.protocol.encrypt(shared, b"97531".ljust(64, b"\0"))
    old = client.protocol.encrypt(shared, sha256(RIGHT.encode()).digest()[:16])
    proof = client.protocol.authenticate(shared, new + old)
    host = Host(rig)
    request = {1: version, 2: 4, 3: keys}
    for wrong in _not_whole(proof):
        assert host.status(PIN, request | {4: wrong, 5: new, 6: old}) == 0x33
    assert host.status(PIN, request | {4: proof, 5: _spoiled(new), 6: old}) == 0x33
    assert host.status(PIN, request | {4: proof, 5: new, 6: _spoiled(old)}) == 0x33
    assert host.ask(PIN, {2: 1}) == (0, {3: 8, 4: False})
    assert host.status(PIN, request | {4: proof, 5: new, 6: old}) == 0


def test_salts_that_were_not_proven_are_refused(rig: Rig) -> None:
    """12.5: PIN_AUTH_INVALID."""
    client = ClientPin(rig.ctap())
    keys, shared = client._get_shared_secret()
    host = Host(rig)
    new = {1: HASH, 2: PARTY, 3: USER, 4: ES256, 7: {"rk": True, "uv": True}}
    assert host.status(MAKE, new, press="thumb") == 0
    salts = client.protocol.encrypt(shared, bytes(32))
    proof = client.protocol.authenticate(shared, salts)
    asked = {1: keys, 2: salts, 4: 2}
    for one in (
        *({**asked, 3: wrong} for wrong in _not_whole(proof)),
        {**asked, 2: _spoiled(salts), 3: proof},
    ):
        assert host.status(ASSERT, {1: "example.com", 2: HASH, 4: {"hmac-secret": one}}) == 0x33
    # Nor are there secrets without a touch.
    asked[3] = proof
    silent = {1: "example.com", 2: HASH, 4: {"hmac-secret": asked}, 5: {"up": False}}
    assert host.status(ASSERT, silent) == 0x2B


def test_what_is_told_twice_looks_like_something_else(rig: Rig) -> None:
    """6.5.7: each encryption has an initial vector of its own."""
    client = ClientPin(rig.ctap())
    keys, shared = client._get_shared_secret()
    told: set[bytes] = set()
    for _ in range(3):
        proof = client.protocol.encrypt(shared, sha256(RIGHT.encode()).digest()[:16])
        _, said = Host(rig).ask(PIN, {1: 2, 2: 9, 3: keys, 6: proof, 9: 0x40})
        told.add(said[2])
    assert len(told) == len({one[:16] for one in told}) == 3
    assert len({client.protocol.decrypt(shared, one) for one in told}) == 1


def test_a_cancelled_command_cancels_no_later_one(rig: Rig) -> None:
    """11.2.9.1.5."""
    host = Host(rig)
    packet = host.device._channel_id.to_bytes(4, "big") + b"\x91\x00\x00"
    cancels = [packet.ljust(64, b"\0")]

    def cancel(_status: int) -> None:
        if cancels:
            rig.reader.write_report(cancels.pop())

    assert host.device.call(0x10, b"\x0b", on_keepalive=cancel) == b"\x2d"
    assert not cancels
    assert host.device.call(0x10, b"\x0b", on_keepalive=rig.pressing()) == b"\x00"


@pytest.mark.parametrize("old", [True, False])
def test_a_token_signs_for_one_relying_party(rig: Rig, old: bool) -> None:
    """6.1.2 step 11.1, 6.2.2 step 6.1; 6.5.5.7.1: one of CTAP 2.0 is bound by its first use."""
    client = ClientPin(rig.ctap())
    allowed = () if old else _ALLOWED[MAKE]
    token = client.get_pin_token(RIGHT, *allowed)
    host = Host(rig)
    proof = {6: client.protocol.authenticate(token, HASH), 7: client.protocol.VERSION}
    if old:
        assert host.status(ASSERT, {1: "example.com", 2: HASH, **proof}) == 0x2E
    assert host.status(ASSERT, {1: "other.example", 2: HASH, **proof}) == 0x33
    request = {1: HASH, 2: {"id": "other.example"}, 3: USER, 4: ES256}
    assert host.status(MAKE, request | {8: proof[6], 9: proof[7]}) == 0x33
    assert host.status(MAKE, request | {2: PARTY, 8: proof[6], 9: proof[7]}, press="thumb") == 0


def test_what_is_kept_twice_looks_like_something_else(rig: Rig) -> None:
    """A copy of the flash does not tell that a record is as it was."""
    programmed: list[bytes] = []

    def note(operation: FlashOperation) -> None:
        if operation.kind == "program":
            programmed.append(bytes(operation.new))

    client = ClientPin(rig.ctap())
    token = client.get_pin_token(RIGHT, PERMISSION.BIO_ENROLL)
    bio = FPBioEnrollment(client.ctap, client.protocol, token)
    template = next(iter(bio.enumerate_enrollments()))
    rig.reader.flash.fault_plan = note
    for _ in range(2):
        bio.set_name(template, "a name of a finger")
    rig.reader.flash.fault_plan = None
    first, second = programmed
    blocks = {first[at : at + 16] for at in range(len(first) - 15)} - {b"\xff" * 16, bytes(16)}
    assert blocks and not any(block in second for block in blocks)


def _changed(slot: bytes, change: Callable[[bytearray], None]) -> bytes | None:
    """A record with something changed, and its unkeyed checks made anew. None: there is none."""
    for end in range(_HEAD + 1, len(slot) - 7):
        crc = crc32(slot[:end]).to_bytes(4, "little")
        if slot[end : end + 8] == crc + sha256(slot[:end]).digest()[:4]:
            body = bytearray(slot[:end])
            change(body)
            checks = crc32(body).to_bytes(4, "little") + sha256(body).digest()[:4]
            return bytes(body) + checks + slot[end + 8 :]
    return None


def _change_all(rig: Rig, change: Callable[[bytearray], None]) -> None:
    rig.reader.power_off()
    flash, journal = rig.reader.flash, rig.reader.board.journal
    found = 0
    for at in range(journal.address, journal.end, _SLOT):
        record = _changed(flash.memory[at : at + _SLOT], change)
        if record is not None:
            found += 1
            flash.load(at, record)
    assert found
    rig.reader.power_on()


def test_a_record_that_somebody_else_wrote_is_damage(rig: Rig) -> None:
    """Who can write the flash chip gives himself no tries: each record has a MAC."""
    assert refused(lambda: ClientPin(rig.ctap()).get_pin_token("0000")) == 0x31
    assert ClientPin(rig.ctap()).get_pin_retries()[0] == 7

    def give_a_try(record: bytearray) -> None:
        """Flips a bit of the initial vector: its third byte, of the state the PIN's tries."""
        record[_HEAD + 2] ^= 7 ^ 8

    _change_all(rig, give_a_try)
    assert Host(rig).status(PIN, {2: 1}) == 0x7F


def test_a_record_in_the_place_of_another_is_damage(rig: Rig) -> None:
    """Large blobs, which a program writes, as the list of those who are told the least length."""
    client = ClientPin(rig.ctap())
    token = client.get_pin_token(RIGHT, PERMISSION.LARGE_BLOB_WRITE)
    content = sha256(b"example.com").digest()
    whole = content + sha256(content).digest()[:16]
    message = b"\xff" * 32 + b"\x0c\x00" + bytes(4) + sha256(whole).digest()
    proof = {5: client.protocol.authenticate(token, message), 6: client.protocol.VERSION}
    host = Host(rig)
    assert host.status(BLOBS, {2: whole, 3: 0, 4: len(whole)} | proof) == 0
    told = {1: HASH, 2: PARTY, 3: USER, 4: ES256, 6: {"minPinLength": True}}
    assert host.status(MAKE, told, press="thumb") == 0

    def put(record: bytearray) -> None:
        if record[8:10] == b"\x01\x00":
            record[8:10] = b"\x02\x00"

    _change_all(rig, put)
    assert Host(rig).status(MAKE, told, press="thumb") == 0x7F


_FINGER = (0x200).to_bytes(
    2, "little"
)  # key of the first finger's record: firmware/reader/store.py


def test_an_old_record_of_a_finger_in_place_of_its_removal_counts_for_nothing(rig: Rig) -> None:
    """The seal says whose record it is, and not when it was written; the state says which count."""
    flash, journal = rig.reader.flash, rig.reader.board.journal

    def records() -> dict[int, bytes]:
        """Of the finger, by address."""
        slots = {
            at: flash.memory[at : at + _SLOT] for at in range(journal.address, journal.end, _SLOT)
        }
        return {at: slot for at, slot in slots.items() if slot[8:10] == _FINGER}

    client = ClientPin(rig.ctap())
    token = client.get_pin_token(RIGHT, PERMISSION.BIO_ENROLL)
    bio = FPBioEnrollment(client.ctap, client.protocol, token)
    (enrolled,), templates = list(records().values())[-1:], dict(rig.sensor.templates)
    bio.remove_enrollment(next(iter(bio.enumerate_enrollments())))
    at, removed = max(records().items(), key=lambda one: int.from_bytes(one[1][:4], "little"))
    assert removed[10:12] != enrolled[10:12]  # it is the removal

    def as_new(record: bytearray) -> None:
        record[:8] = removed[:8]

    rig.reader.power_off()
    forged = _changed(enrolled, as_new)
    assert forged is not None
    flash.load(at, forged)
    rig.sensor.templates = templates
    rig.reader.power_on()
    assert rig.ctap().info.options["uv"] is False
