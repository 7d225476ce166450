"""Issuer functions in this interpreter: what each answers, to whom, and what it changes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.firmware.card.conftest import Aes

CHALLENGE, GET_DATA, PUT_KEY, SET_STATUS, GET_STATUS = 0x84, 0xCA, 0xD8, 0xF0, 0xF2
LENGTH, SECURITY, CONDITIONS, DATA, P1P2, NO_DATA = (
    0x6700, 0x6982, 0x6985, 0x6A80, 0x6A86, 0x6A88)  # fmt: skip
AID = bytes.fromhex("A000000151000000")
NEW = bytes(range(0xA0, 0xD0))
Ask = Callable[..., bytes | int]


@pytest.fixture
def issuer(ask: Ask) -> Ask:
    return lambda *given, **more: ask("card.issuer", *given, **more)


def test_select(load: Any, held: Any) -> None:
    assert load("card.issuer").select(held).hex() == "6f108408a000000151000000a5049f6501ff"


@pytest.mark.parametrize("le", [1, 2, 32])
def test_a_challenge_has_the_length_that_was_asked_for(issuer: Ask, held: Any, le: int) -> None:
    assert issuer(CHALLENGE, cla=0, le=le) == bytes(range(1, 1 + le))


@pytest.mark.parametrize(
    ("p1", "p2", "le", "data", "sw"),
    [
        (0, 0, 0, b"", LENGTH), (0, 0, 33, b"", LENGTH), (0, 0, 8, b"x", LENGTH),
        (1, 0, 8, b"", P1P2), (0, 1, 8, b"", P1P2), (1, 1, 0, b"x", P1P2),
    ],
)  # fmt: skip
def test_other_challenges_are_refused(
    issuer: Ask, held: Any, p1: int, p2: int, le: int, data: bytes, sw: int
) -> None:
    assert issuer(CHALLENGE, p1, p2, data, cla=0, le=le) == sw
    assert held.terminal.drawn == 0


@pytest.mark.parametrize(
    ("tag", "value"),
    [
        (0xDF20, b"TS00000001"),
        (0xDF21, b"\0\1\0pipes"),
        (0xDF22, b"\x0b\x54\x01"),
        (0xDF24, b"\x0f"),
        (0xDF26, b"\x01"),
        (0x00E0, bytes.fromhex("e012c00401078810c00402078810c00403078810")),
    ],
)
def test_what_anybody_may_read(issuer: Ask, held: Any, tag: int, value: bytes) -> None:
    held.secure = False
    held.terminal.cell_state, held.store.kvn = 1, 7
    assert issuer(GET_DATA, tag >> 8, tag & 0xFF) == value
    assert held.done == []


def test_wear_is_for_whoever_has_keys_whatever_the_level(issuer: Ask, held: Any) -> None:
    held.session.level = 0x01
    assert issuer(GET_DATA, 0xDF, 0x23) == bytes.fromhex("01020304050607080a0b0c0d09")
    held.secure = False
    assert issuer(GET_DATA, 0xDF, 0x23) == SECURITY


@pytest.mark.parametrize("tag", [0xDF1F, 0xDF27, 0xDE20, 0x00E1, 0x01E0])
def test_no_such_data(issuer: Ask, held: Any, tag: int) -> None:
    assert issuer(GET_DATA, tag >> 8, tag & 0xFF) == NO_DATA


@pytest.mark.parametrize("fails", [False, True])
def test_the_running_image_is_told_and_the_modules_for_it_leave(
    issuer: Ask, load: Any, monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    left: list[str] = []

    def running() -> bytes:
        if fails:
            raise OSError
        return b"image"

    monkeypatch.setattr(load("card.update"), "running", running)
    monkeypatch.setattr(load("lib.unload"), "unload", lambda *names: left.extend(names))
    if fails:
        with pytest.raises(OSError):
            issuer(GET_DATA, 0xDF, 0x25)
    else:
        assert issuer(GET_DATA, 0xDF, 0x25) == b"image"
    assert left == ["card.update", "lib.update", "lib.slots"]


@pytest.mark.parametrize("ins", [0x00, 0xE4, 0xFF, 0x84])
def test_other_commands_are_not_known(issuer: Ask, held: Any, ins: int) -> None:
    assert issuer(ins) == 0x6D00


# -- new keys --------------------------------------------------------------------------------------


def check(key: bytes) -> bytes:
    return Aes(key, 1).encrypt(b"\x01" * 16)[:3]


def block(key: bytes, head: bytes = b"\x88\x10", dek: bytes = bytes(range(32, 48))) -> bytes:
    return head + Aes(dek, 2, bytes(16)).encrypt(key) + b"\x03" + check(key)


KEYS = [NEW[:16], NEW[16:32], NEW[32:]]
BLOCKS = [block(key) for key in KEYS]
GOOD = b"\x05" + b"".join(BLOCKS)


@pytest.mark.parametrize("p1", [0, 1])
@pytest.mark.parametrize("head", [b"\x88\x10", b"\x88\x11\x10"])
@pytest.mark.parametrize("kvn", [0x01, 0x05, 0x7F])
def test_keys_are_replaced_all_at_once(
    issuer: Ask, held: Any, p1: int, head: bytes, kvn: int
) -> None:
    data = bytes((kvn,)) + b"".join(block(key, head) for key in KEYS)
    assert issuer(PUT_KEY, p1, 0x81, data) == bytes((kvn,)) + b"".join(map(check, KEYS))
    change = {"keys": NEW, "kvn": kvn, "life_cycle": 0x0F}
    assert held.done == [("press", "for new keys"), ("commit", change)]
    assert isinstance(held.store.keys, bytes)


@pytest.mark.parametrize(("before", "after"), [(0x01, 0x07), (0x07, 0x07)])
def test_the_firms_first_keys_move_the_life_cycle_on(
    issuer: Ask, held: Any, before: int, after: int
) -> None:
    held.store.life_cycle, held.store.kvn = before, 0xFF
    assert isinstance(issuer(PUT_KEY, 0xFF, 0x81, GOOD), bytes)
    assert held.done == [("commit", {"keys": NEW, "kvn": 5, "life_cycle": after})]


def changed(data: bytes, at: int, by: int = 1) -> bytes:
    return data[:at] + bytes((data[at] ^ by,)) + data[at + 1 :]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x05",
        b"\x00" + GOOD[1:],
        b"\x80" + GOOD[1:],
        GOOD[:-1],
        GOOD[:-23],
        GOOD[:10],
        b"\x05" + b"".join(one[2:] for one in BLOCKS),
        GOOD + b"\x00",
        GOOD + BLOCKS[0],
        *(changed(GOOD, at) for at in (1, 2, 3, 18, 19, 20, 21, 22)),  # of the first key
        *(changed(GOOD, at) for at in (23, 24, 25, 40, 41, 42, 43, 44)),
        *(changed(GOOD, at) for at in (45, 46, 62, 63, 64, 65, 66)),
        b"\x05" + b"\x88\x11\x11" + GOOD[3:],
        b"\x05" + b"\x88\x12\x10" + GOOD[3:],
        b"\x05" + b"".join(block(key, dek=bytes(range(16))) for key in KEYS),
    ],
)
def test_keys_that_are_not_whole_change_none(issuer: Ask, held: Any, data: bytes) -> None:
    assert issuer(PUT_KEY, 0, 0x81, data) == DATA
    assert held.done == []


@pytest.mark.parametrize(("p1", "p2"), [(0, 0x80), (0, 0x82), (2, 0x81), (0xFF, 0x81)])
def test_keys_for_another_version_are_refused(issuer: Ask, held: Any, p1: int, p2: int) -> None:
    for data in (GOOD, b""):
        assert issuer(PUT_KEY, p1, p2, data) == P1P2
    assert held.done == []


def test_without_a_press_the_keys_stay(issuer: Ask, held: Any) -> None:
    held.terminal.presses = False
    assert issuer(PUT_KEY, 0, 0x81, GOOD) == CONDITIONS
    assert held.done == [("press", "for new keys")]


def test_the_clear_keys_are_wiped(
    issuer: Ask, held: Any, load: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[bytearray] = []

    def kept(*given: Any) -> bytearray:
        made.append(bytearray(*given))
        return made[-1]

    monkeypatch.setattr(load("card.issuer"), "bytearray", kept, raising=False)
    assert isinstance(issuer(PUT_KEY, 0, 0x81, GOOD), bytes)
    assert [bytes(one) for one in made if len(one) == 48] == [bytes(48)]


# -- the life cycle --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ins", "p1", "p2", "data"),
    [
        (PUT_KEY, 0, 0x81, GOOD), (PUT_KEY, 5, 0, b""),
        (SET_STATUS, 0x80, 0x0F, b""), (SET_STATUS, 0, 0x0F, b""), (SET_STATUS, 0x80, 0xFF, b""),
    ],
)  # fmt: skip
def test_who_has_no_keys_changes_nothing(
    issuer: Ask, held: Any, ins: int, p1: int, p2: int, data: bytes
) -> None:
    held.session.level = 0x13
    assert issuer(ins, p1, p2, data) == SECURITY
    held.session.level, held.secure = 0x33, False
    assert issuer(ins, p1, p2, data) == SECURITY
    assert held.done == []


def test_transport_keys_move_no_life_cycle(issuer: Ask, held: Any) -> None:
    held.store.kvn, held.store.life_cycle = 0xFF, 0x01
    assert issuer(SET_STATUS, 0x80, 0x07) == SECURITY
    assert held.done == []


WIPED = {"life_cycle": 0xFF, "keys": bytes(48), "name": b"", "seed": b""}


@pytest.mark.parametrize(
    ("before", "state", "done"),
    [
        (0x01, 0x07, [("commit", {"life_cycle": 0x07})]),
        (0x07, 0x0F, [("commit", {"life_cycle": 0x0F})]),
        (0x07, 0x07, []),
        (0x0F, 0x0F, []),
        (0x07, 0xFF, [("commit", WIPED)]),
        (0x0F, 0xFF, [("press", "to wipe the card"), ("commit", WIPED)]),
    ],
)
def test_the_life_cycle_moves_on(
    issuer: Ask, held: Any, before: int, state: int, done: Any
) -> None:
    held.store.life_cycle = before
    assert issuer(SET_STATUS, 0x80, state) == b""
    assert held.done == done


@pytest.mark.parametrize(
    ("before", "p1", "state", "data", "sw"),
    [
        (0x0F, 0x80, 0x07, b"", CONDITIONS),
        (0xFF, 0x80, 0x0F, b"", CONDITIONS),
        (0x01, 0x80, 0x01, b"", DATA),
        (0x07, 0x80, 0x08, b"", DATA),
        (0x07, 0x80, 0x0F, b"x", DATA),
        (0x0F, 0x80, 0x07, b"x", DATA),
        (0x07, 0x81, 0x0F, b"", P1P2),
        (0x07, 0x7F, 0x08, b"", P1P2),
    ],
)
def test_and_never_back_nor_elsewhere(
    issuer: Ask, held: Any, before: int, p1: int, state: int, data: bytes, sw: int
) -> None:
    held.store.life_cycle = before
    assert issuer(SET_STATUS, p1, state, data) == sw
    assert held.done == []


@pytest.mark.parametrize(("before", "state"), [(0x07, 0x0F), (0x07, 0xFF), (0x0F, 0xFF)])
def test_a_critical_cell_moves_nothing(issuer: Ask, held: Any, before: int, state: int) -> None:
    held.store.life_cycle, held.terminal.cell_state = before, 2
    assert issuer(SET_STATUS, 0x80, state) == CONDITIONS
    assert held.done == []


def test_a_wipe_needs_its_press(issuer: Ask, held: Any) -> None:
    held.terminal.presses = False
    assert issuer(SET_STATUS, 0x80, 0xFF) == CONDITIONS
    assert held.done == [("press", "to wipe the card")]


@pytest.mark.parametrize("p2", [0, 2])
@pytest.mark.parametrize("data", [b"", b"\x4f\x00", b"\x4f\x08" + AID])
def test_the_status_names_the_issuer(issuer: Ask, held: Any, p2: int, data: bytes) -> None:
    held.secure = False
    assert issuer(GET_STATUS, 0x80, p2, data) == b"\xe3\x0e\x4f\x08" + AID + b"\x9f\x70\x01\x0f"


@pytest.mark.parametrize(
    ("p1", "p2", "data", "sw"),
    [
        *((p1, 0, b"", NO_DATA) for p1 in (0x40, 0x20, 0x10)),
        *((p1, 0, b"", P1P2) for p1 in (0, 0x81, 0x7F, 0x41, 0x3F, 0x21, 0x1F, 0x11, 0x0F)),
        (0x80, 1, b"", P1P2), (0x80, 3, b"", P1P2), (0x80, 4, b"x", P1P2),
        (0x80, 0, b"x", NO_DATA), (0x80, 0, b"\x4f\x08" + AID[:-1] + b"\1", NO_DATA),
    ],
)  # fmt: skip
def test_other_statuses_are_refused(
    issuer: Ask, held: Any, p1: int, p2: int, data: bytes, sw: int
) -> None:
    assert issuer(GET_STATUS, p1, p2, data) == sw
