"""What a reader goes through, with python-fido2 (of the development group) as its host and the
emulated R503 as its sensor."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import cache
from pathlib import Path

from fido2.ctap import CtapError
from fido2.ctap2.bio import CaptureError, FPBioEnrollment
from fido2.ctap2.blob import LargeBlobs
from fido2.ctap2.credman import CredentialManagement
from fido2.ctap2.pin import ClientPin

from tallystick import __version__
from tallystick.common.errors import TallyError
from tallystick.common.reader_identity import ReaderIdentity
from tallystick.emulator.boards import DEFAULT_READER
from tallystick.emulator.devices.image import Image
from tallystick.emulator.devices.reader import Reader
from tallystick.tools.flash.field import Update
from tallystick.tools.flash.usb import UpdatePerson, install
from tallystick.tools.image.build import build, write
from tallystick.tools.thumbed import Host

_PIN = "2468"
_CREDENTIALS = 8
_BLOB = 1_000  # bytes
_PING = 7_609  # the longest message, CTAP 2.1, 11.2.4
_SAMPLES = 20  # of an enrolment, at most


def _everything(host: Host) -> None:
    """PIN, finger, credentials of one relying party, log-in, management, large blobs, the longest
    message."""
    pin = ClientPin(host.ctap())
    pin.set_pin(_PIN)
    token = pin.get_pin_token(_PIN, ClientPin.PERMISSION.BIO_ENROLL)
    enroller = FPBioEnrollment(pin.ctap, pin.protocol, token).enroll()
    for _ in range(_SAMPLES):
        with suppress(CaptureError):  # the thumb lay badly, or too long: once more
            if enroller.capture() is not None:
                break
    ctap = host.ctap()
    for number in range(_CREDENTIALS):
        user = b"user-%02d" % number
        ctap.make_credential(
            os.urandom(32),
            {"id": "example.com", "name": "Example"},
            {"id": user, "name": user.decode(), "displayName": user.decode().title()},
            [{"type": "public-key", "alg": -7 - number % 2}],  # ES256 and EdDSA in turn
            options={"rk": True, "uv": True},
        )
    ctap.get_assertion("example.com", os.urandom(32), options={"uv": True})
    token = pin.get_pin_token(_PIN, ClientPin.PERMISSION.CREDENTIAL_MGMT)
    management = CredentialManagement(pin.ctap, pin.protocol, token)
    party = management.enumerate_rps()[0]
    management.enumerate_creds(party[CredentialManagement.RESULT.RP_ID_HASH])
    token = pin.get_pin_token(_PIN, ClientPin.PERMISSION.LARGE_BLOB_WRITE)
    LargeBlobs(pin.ctap, pin.protocol, token).put_blob(b"k" * 32, os.urandom(_BLOB))
    message = os.urandom(_PING)
    if host.device().ping(message) != message:
        raise ConnectionError("the reader did not send back what it got")


def _update(host: Host) -> None:
    """It has just been plugged in."""
    install(host, _newer(), UpdatePerson(touch=lambda _why: None, pin=lambda: _PIN))


def _everything_and_an_update(host: Host) -> None:
    """With the PIN, as the first ten seconds are over."""
    _everything(host)
    _update(host)


PATHS: dict[str, Callable[[Host], None]] = {
    "an update": _update,
    "everything without unplugging it": _everything,
    "everything and an update": _everything_and_an_update,
}


@cache
def _image(board: str) -> Image:
    with tempfile.TemporaryDirectory() as folder:
        return Image.load(write(build("reader", board, __version__), Path(folder))["bin"])


@cache
def _newer() -> Update:
    with tempfile.TemporaryDirectory() as folder:
        made = write(build("reader", DEFAULT_READER, "255.0.0"), Path(folder))
        return Update.parse(made["update"].read_bytes())


def works(board: str, path: Callable[[Host], None], heap: int) -> bool:
    """Whether a path works with a heap of so many bytes."""
    image = _image(board)
    image = replace(image, board=replace(image.board, heap=heap))
    identity = ReaderIdentity.development("TR00000001").encode()
    with Reader(image, identity=identity, seed=1) as reader:
        try:
            path(Host(reader))
        except (CtapError, ConnectionError, TallyError):
            return False
    return True
