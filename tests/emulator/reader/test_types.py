"""A value of another type, wherever it stands in a request: UNEXPECTED_TYPE (CTAP 2.1, 8.2), and
nothing is done."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from hashlib import sha256
from typing import Any

from fido2 import cbor

from tallystick.emulator.devices.image import Image
from tallystick.emulator.interpreter import resident
from tallystick.tools.campaign.ctap.alphabet import LETTERS
from tallystick.tools.campaign.ctap.channels import PLATFORM_KEY, authenticate
from tallystick.tools.campaign.ctap.known import KnownCredential
from tallystick.tools.campaign.ctap.walk import Walker
from tallystick.tools.campaign.ctap.world import INDEX
from tests.emulator.reader.raw import ASSERT, BIO, BLOBS, CONFIG, CREDENTIALS, ES256, HASH, MAKE
from tests.emulator.reader.raw import PIN as CLIENT_PIN

_SALTS = {1: PLATFORM_KEY, 2: bytes(48), 3: bytes(32), 4: 2}
_PARTY = {"id": "example.com", "name": "n", "icon": "i"}
_USER = {"name": "n", "displayName": "d", "icon": "i"}
_EXTENSIONS = {
    "credProtect": 2, "largeBlobKey": True, "hmac-secret": True, "hmac-secret-mc": _SALTS,
    "credBlob": b"b", "minPinLength": True, "thirdPartyPayment": True,
}  # fmt: skip
_QUESTIONS = {
    "hmac-secret": _SALTS, "credBlob": True, "thirdPartyPayment": True, "largeBlobKey": True,
}  # fmt: skip
_OPTIONS = {"up": True, "uv": False}
_KEY = PLATFORM_KEY
_OTHERS = (7, b"b", "t", [b"b"], {1: 1}, True)
_IN_A_KEY, _TOO_DEEP = 0x02, 0x12


def _requests(finger: bytes, credential: KnownCredential) -> dict[str, tuple[int, dict[int, Any]]]:
    """All that a platform may send, but for the proof."""
    listed = {"id": credential.identifier, "type": "public-key", "transports": ["usb"]}
    user = {"id": credential.user, **_USER}
    hashed = {1: sha256(b"example.com").digest()}
    make = {1: HASH, 2: _PARTY, 3: user, 4: ES256}
    return {
        "make": (MAKE, make | {
            5: [listed | {"id": b"x"}], 6: _EXTENSIONS, 7: _OPTIONS | {"rk": True}, 9: 2,
            11: ["packed"],
        }),
        "make enterprise": (MAKE, make | {9: 2, 10: 1}),
        "assert": (ASSERT, {
            1: "example.com", 2: HASH, 3: [listed], 4: _QUESTIONS, 5: _OPTIONS, 7: 2,
        }),
        "enrol": (BIO, {1: 1, 2: 1, 3: {3: 1000}, 4: 2}),
        "modality": (BIO, {6: True}),
        "fingers": (BIO, {1: 1, 2: 4, 4: 2}),
        "name a finger": (BIO, {1: 1, 2: 5, 3: {1: finger, 2: "n"}, 4: 2}),
        "remove a finger": (BIO, {1: 1, 2: 6, 3: {1: finger}, 4: 2}),
        "credentials": (CREDENTIALS, {1: 4, 2: hashed, 3: 2}),
        "delete": (CREDENTIALS, {1: 6, 2: {2: listed}, 3: 2}),
        "rename": (CREDENTIALS, {1: 7, 2: {2: listed, 3: user}, 3: 2}),
        "switch": (CONFIG, {1: 2, 2: {}, 3: 2}),
        "least length": (CONFIG, {1: 3, 2: {1: 5, 2: ["a.b"], 3: False, 4: False}, 3: 2}),
        "write": (BLOBS, {2: bytes(20), 3: 0, 4: 40, 6: 2}),
        "read": (BLOBS, {1: 10, 3: 0}),
        "key": (CLIENT_PIN, {1: 2, 2: 2}),
        "change": (CLIENT_PIN, {1: 2, 2: 4, 3: _KEY, 4: bytes(32), 5: bytes(80), 6: bytes(32)}),
        "old token": (CLIENT_PIN, {1: 2, 2: 5, 3: _KEY, 6: bytes(32)}),
        "finger's token": (CLIENT_PIN, {1: 2, 2: 6, 3: _KEY, 9: 3, 10: "example.com"}),
        "token": (CLIENT_PIN, {1: 2, 2: 9, 3: _KEY, 6: bytes(32), 9: 3, 10: "example.com"}),
    }  # fmt: skip


def _proven(token: bytes, command: int, request: dict[int, Any]) -> dict[int, Any]:
    """With the proof that the command wants, as far as what it is about can be told."""
    kind = request.get(2 if command == BIO else 1)
    head = bytes((kind,)) if type(kind) is int else b""
    match command:
        case 0x01:
            return request | {8: authenticate(token, HASH)}
        case 0x02:
            return request | {6: authenticate(token, HASH)}
        case 0x09 if 6 not in request:
            inner = cbor.encode(request[3]) if 3 in request else b""
            return request | {5: authenticate(token, b"\x01" + head + inner)}
        case 0x0A:
            return request | {4: authenticate(token, head + cbor.encode(request[2]))}
        case 0x0C if 2 in request:
            return request | {5: bytes(32)}
        case 0x0D:
            message = b"\xff" * 32 + b"\x0d" + head + cbor.encode(request[2])
            return request | {4: authenticate(token, message)}
    return request


def _with_others(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """(where, all of it with a value of another type there)."""
    within = value.items() if isinstance(value, dict) else enumerate(value)
    for key, one in within:
        others = [((*path, key), other) for other in _OTHERS if type(other) is not type(one)]
        if isinstance(one, dict | list):
            others += _with_others(one, (*path, key))
        for where, other in others:
            changed = dict(value) if isinstance(value, dict) else list(value)
            changed[key] = other
            yield where, changed


def test_a_value_of_another_type(reader_image: Image) -> None:
    wrong, sent = [], 0
    with resident.enabled(), closing(Walker(reader_image, quick=True)) as walker:
        world = walker.begin()
        LETTERS["A pin-token"](world)
        known = world.known
        token = world.held("A")
        assert token is not None
        point = world.point()
        for name, (command, whole) in _requests(known.fingers[0][0], known.credentials[0]).items():
            for where, request in _with_others(whole):
                answer, _ = world.ask("A", command, _proven(token.value, command, request), INDEX)
                allowed = {0x11}
                if (whole.get(3) is _KEY and len(where) > 1) or len(where) > 3:
                    allowed |= {_IN_A_KEY, _TOO_DEEP}
                if answer.status not in allowed:
                    wrong.append((name, where, f"{answer.status:02X}"))
                sent += 1
                world.return_to(point)
    assert wrong == [], "\n".join(map(str, wrong))
    assert sent > 500
