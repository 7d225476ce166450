"""How long a log-in with a fingerprint takes at the emulated reader, with its real matcher and
python-fido2 as the host."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from statistics import quantiles
from typing import Any

from fido2.ctap2.base import Ctap2
from fido2.ctap2.bio import CaptureError, FPBioEnrollment
from fido2.ctap2.pin import ClientPin

from tallystick.common.reader_identity import ReaderIdentity
from tallystick.emulator import boards
from tallystick.emulator.devices.reader import Reader
from tallystick.tools.bench.row import row
from tallystick.tools.fresh import image, one_core
from tallystick.tools.thumbed import Host

LOG_INS = 40
_PARTY, _PIN = "example.com", "2468"


def measure() -> list[dict[str, Any]]:
    """getAssertion with user verification by finger: wall time, and the reader's own."""
    identity = ReaderIdentity.development("TR00000001").encode()
    with one_core(), Reader(image(boards.DEFAULT_READER), identity=identity, seed=1) as reader:
        host = Host(reader)
        ctap = _in_service(host)
        wall, own = [], []
        for _ in range(LOG_INS):
            began, began_us = time.perf_counter(), reader.clock.now
            ctap.get_assertion(_PARTY, os.urandom(32), options={"uv": True})
            wall.append((time.perf_counter() - began) * 1000)
            own.append((reader.clock.now - began_us) / 1000)
            reader.run_for(3_000)  # the finger is lifted
    p50, p95 = _percentiles(wall)
    own50, own95 = _percentiles(own)
    return [
        row("log-in with a finger, p95", p95, "ms wall", "< 500"),
        row("log-in with a finger, median", p50, "ms wall", ""),
        row("log-in with a finger, p95 of the reader's time", own95, "ms", ""),
        row("log-in with a finger, median of the reader's time", own50, "ms", ""),
    ]


def _in_service(host: Host) -> Ctap2:
    """A PIN, a thumb, a resident credential."""
    pin = ClientPin(host.ctap())
    pin.set_pin(_PIN)
    token = pin.get_pin_token(_PIN, ClientPin.PERMISSION.BIO_ENROLL)
    enroller = FPBioEnrollment(pin.ctap, pin.protocol, token).enroll()
    enrolled = None
    while enrolled is None:
        with suppress(CaptureError):  # the thumb lay badly: once more
            enrolled = enroller.capture()
    ctap = host.ctap()
    ctap.make_credential(
        os.urandom(32), {"id": _PARTY, "name": "Example"},
        {"id": b"user", "name": "user", "displayName": "User"},
        [{"type": "public-key", "alg": -7}], options={"rk": True, "uv": True},
    )  # fmt: skip
    return ctap


def _percentiles(values: list[float]) -> tuple[float, float]:
    """50th and 95th."""
    parts = quantiles(values, n=20)
    return round(parts[9], 1), round(parts[18], 1)
