"""Large blobs and configuration (CTAP 2.1, 6.10 and 6.11)."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
from typing import Any

from fido2 import cbor

from tallystick.tools.campaign.ctap.basics import ARRAY, BLOBS, CONFIG, begun, goes_on, param
from tallystick.tools.campaign.ctap.bench import Bench
from tallystick.tools.campaign.ctap.channels import Answer
from tallystick.tools.campaign.ctap.consent import (
    PIN_AUTH_INVALID,
    PIN_POLICY,
    use,
)
from tallystick.tools.campaign.ctap.known import (
    ACFG,
    LBW,
)
from tallystick.tools.campaign.engine.subject import ViolationError


def read_blob(bench: Bench, channel: str) -> None:
    """6.10.2."""
    bench.take_sequence()
    answer, said = bench.ask(channel, BLOBS, {1: 100, 3: 0})
    bench.expect("6.10.2", answer, 0, asked=False)
    if said[1] != bench.known.blob:
        raise ViolationError("blob", f"6.10.2: {said[1].hex()}")


def fragment(bench: Bench, channel: str, offset: int, part: bytes, length: int = 0) -> None:
    """6.10.2."""
    sequence = goes_on(bench, channel, "blob")
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
        request |= {5: param(bench, channel, message), 6: 2}
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
        begun(bench, channel, "blob", (whole,), by_token=guarded)


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
        request |= {3: 2, 4: param(bench, channel, message)}
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
