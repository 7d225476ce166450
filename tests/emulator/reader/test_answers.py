"""Answers that the standard is exact about. Sections are of CTAP 2.1."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
from fido2.ctap2 import ClientPin

from tests.emulator.reader.raw import (
    ASSERT,
    BIO,
    BLOBS,
    CONFIG,
    ES256,
    HASH,
    INFO,
    MAKE,
    PARTY,
    PIN,
    SELECTION,
    USER,
    Host,
    refused,
)
from tests.emulator.reader.rig import Rig

_NEW: dict[int, Any] = {1: HASH, 2: PARTY, 3: USER, 4: ES256}
_OLD: dict[int, Any] = {1: "example.com", 2: HASH}


def _made(host: Host) -> dict[str, Any]:
    """A credential that is not kept, as a list names it."""
    status, answer = host.ask(MAKE, _NEW, press="thumb")
    assert status == 0
    data = answer[2]
    return {"type": "public-key", "id": data[55 : 55 + int.from_bytes(data[53:55], "big")]}


def test_nobody_touched(rig: Rig) -> None:
    """6.1.2 step 14 and 6.2.2 step 9: a time that is over is a refusal. 6.9: there it is not."""
    host = Host(rig)
    one = _made(host)
    rig.sensor.lift()
    rig.reader.run_for(1000)
    assert host.status(MAKE, _NEW) == 0x27
    assert host.status(ASSERT, _OLD | {3: [one]}) == 0x27
    assert host.status(SELECTION) == 0x2F


def test_no_finger_came_to_verify(rig: Rig) -> None:
    """6.1.2 step 11.2, 6.2.2 step 6.2 and 6.5.5.7.3: a time-out of the verification is one."""
    host = Host(rig)
    one = _made(host)
    rig.sensor.lift()
    rig.reader.run_for(1000)
    assert host.status(MAKE, _NEW | {7: {"uv": True}}) == 0x2F
    assert host.status(ASSERT, _OLD | {3: [one], 5: {"uv": True}}) == 0x2F


@pytest.mark.parametrize("wrong", [True, "1", b"", [], {}])
def test_a_protocol_of_a_wrong_type(rig: Rig, wrong: Any) -> None:
    """8.2, also where no proof comes with it, or an empty one: before anybody is asked."""
    host = Host(rig)
    for more in ({}, {8: b""}):
        assert host.status(MAKE, _NEW | more | {9: wrong}) == 0x11
    for more in ({}, {6: b""}):
        assert host.status(ASSERT, _OLD | more | {7: wrong}) == 0x11


@pytest.mark.parametrize("wrong", [1, 0, "1", b"", [], {}])
def test_the_modality_is_asked_for_with_a_truth_value(rig: Rig, wrong: Any) -> None:
    """6.7."""
    host = Host(rig)
    assert host.status(BIO, {6: wrong}) == 0x11
    assert host.ask(BIO, {6: True}) == (0, {1: 1})
    assert host.status(BIO, {6: False}) == 0x14


_PEER = {1: 2, 3: -25, -1: 1, -2: bytes(32), -3: bytes(32)}
_WHOLE: dict[int, dict[int, Any]] = {
    2: {1: 2},
    3: {1: 2, 3: _PEER, 4: b"p", 5: b"n"},
    4: {1: 2, 3: _PEER, 4: b"p", 5: b"n", 6: b"h"},
    5: {1: 2, 3: _PEER, 6: b"h"},
    6: {1: 2, 3: _PEER, 9: 1},
    9: {1: 2, 3: _PEER, 6: b"h", 9: 1},
}


@pytest.mark.parametrize("command", list(_WHOLE))
def test_what_is_missing_is_told_first(rig: Rig, command: int) -> None:
    """6.5.5.4 to 6.5.5.7, step 1 of each: before what else is wrong with the others."""
    host = Host(rig)
    whole = _WHOLE[command]
    for missing in whole:
        others = {key: 0 if key in (1, 9) else value for key, value in whole.items()}
        del others[missing]
        assert host.status(PIN, {2: command, **others}) == 0x14, missing
    assert ClientPin(rig.ctap()).get_pin_retries()[0] == 8


def test_a_platform_asks_once_as_the_reader_tries_by_itself(rig: Rig) -> None:
    """6.4, preferredPlatformUvAttempts: with more than 1, one command takes one try at most."""
    host = Host(rig)
    assert host.ask(INFO)[1][17] == 1
    _, keys = host.ask(PIN, {1: 2, 2: 2})
    for n in range(1, 4):
        rig.reader.clock.after(n * 1_500_000, lambda: rig.sensor.press("stranger"))
    assert host.status(PIN, {1: 2, 2: 6, 3: keys[1], 9: 4}) == 0x3F
    assert host.ask(PIN, {2: 7}) == (0, {5: 2})


def test_enterprise_attestation_is_refused_after_what_comes_first(rig: Rig) -> None:
    """6.1.2 step 7 before step 9."""
    host = Host(rig)
    assert host.status(MAKE, _NEW | {10: 1}) == 0x02
    assert host.status(MAKE, _NEW | {10: 1, 7: {"rk": True}}) == 0x36


def test_a_wrong_try_of_one_kind_takes_none_of_the_other(rig: Rig) -> None:
    """6.5.5.2, 6.5.5.3: once it was answered."""
    host = Host(rig)
    _, keys = host.ask(PIN, {1: 2, 2: 2})
    rig.reader.clock.after(1_500_000, lambda: rig.sensor.press("stranger"))
    assert host.status(PIN, {1: 2, 2: 6, 3: keys[1], 9: 4}) == 0x2F
    assert (host.ask(PIN, {2: 1})[1][3], host.ask(PIN, {2: 7})[1][5]) == (8, 4)
    client = ClientPin(rig.ctap())
    assert refused(lambda: client.get_pin_token("0000")) == 0x31
    assert (host.ask(PIN, {2: 1})[1][3], host.ask(PIN, {2: 7})[1][5]) == (7, 4)


def test_always_uv_guards_a_reader_without_a_pin(fresh: Rig) -> None:
    """6.1.2 step 6, 6.2.2 step 5, 6.10.2 and 6.11: only its own switch needs no proof."""
    host = Host(fresh)
    assert host.status(CONFIG, {1: 2}) == 0
    assert host.ask(INFO)[1][4]["alwaysUv"]
    assert host.status(CONFIG, {1: 3, 2: {1: 6}}) == 0x36
    assert host.status(BLOBS, {2: bytes(20), 3: 0, 4: 40}) == 0x36
    assert host.status(MAKE, _NEW) == host.status(ASSERT, _OLD) == 0x36
    # Also with a proof, which nothing could have given.
    assert host.status(MAKE, _NEW | {8: bytes(32), 9: 2}) == 0x36
    assert host.status(ASSERT, _OLD | {6: bytes(32), 7: 2}) == 0x36
    assert host.status(CONFIG, {1: 2}) == 0
    assert host.status(CONFIG, {1: 3, 2: {1: 6}}) == 0


def test_blocked_for_good_is_said_before_out_and_in_again(rig: Rig) -> None:
    """6.5.5.7.1 and 6.5.5.7.2: no tries left, and three in a row."""
    for statuses in ((0x31, 0x31), (0x31, 0x31, 0x34), (0x31, 0x31, 0x32, 0x32)):
        rig.replug()
        get = ClientPin(rig.ctap()).get_pin_token
        assert tuple(refused(partial(get, "0000")) for _ in statuses) == statuses


def test_a_credential_keeps_its_user(rig: Rig) -> None:
    """6.8.6: of another user's id, INVALID_PARAMETER; and nothing is changed."""
    rig.register(b"user-1")
    manager = rig.management()
    party = manager.enumerate_rps()[0]
    (one,) = manager.enumerate_creds(party[4])
    user = {"id": b"user-2", "name": "another", "displayName": "Another"}
    assert refused(lambda: manager.update_user_info(one[7], user)) == 0x02
    assert manager.enumerate_creds(party[4]) == [one]
    manager.update_user_info(one[7], user | {"id": b"user-1"})
    (changed,) = manager.enumerate_creds(party[4])
    assert changed[6] == user | {"id": b"user-1"}
