"""The OATH applet in this interpreter: what each command takes, asks of a person, and changes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import pytest

from tests.firmware.card.conftest import item

PUT, DELETE, RESET, RENAME, LIST, CALCULATE, ALL = 0x01, 0x02, 0x04, 0x05, 0xA1, 0xA2, 0xA4
DATA, P1P2, SECURITY, CONDITIONS, NO_CREDENTIAL, NO_SPACE = (
    0x6A80, 0x6A86, 0x6982, 0x6985, 0x6984, 0x6A84)  # fmt: skip
NAME = item(0x71, b"ada")
KEY = b"k" * 20
Ask = Callable[..., bytes | int]


def secret(digits: int = 6, key: bytes = KEY, kind: int = 0x11) -> bytes:
    return item(0x73, bytes((kind, digits)) + key)


@pytest.fixture
def oath(ask: Ask) -> Ask:
    return lambda *given, **more: ask("card.oath", *given, cla=0, **more)


def test_select_names_version_and_salt(load: Any, held: Any) -> None:
    salt = hashlib.sha256(b"TS00000001").digest()[:8]
    answer = load("card.oath").select(held)
    assert answer == b"\x79\x03\x05\x07\x00\x71\x08" + salt


@pytest.mark.parametrize(
    ("more", "digits", "factor", "key"),
    [
        (secret(), 6, 0, KEY),
        (secret(8) + b"\x78\x02", 8, 0, KEY),
        (b"\x78\x00" + secret(7), 7, 0, KEY),
        (secret(key=b"k" * 16) + item(0x7A, b"\x01\x02\x03\x04"), 6, 0x01020304, b"k" * 16),
        (secret(key=b"k" * 64), 6, 0, b"k" * 64),
    ],
)
def test_put_stores_what_was_sent(
    oath: Ask, held: Any, more: bytes, digits: int, factor: int, key: bytes
) -> None:
    assert oath(PUT, data=NAME + more) == b""
    change = {"name": b"ada", "seed": key, "digits": digits, "moving_factor": factor}
    assert held.done == [("press", "for a new seed"), ("commit", change)]
    assert all(isinstance(change[name], bytes) for name in ("name", "seed"))


@pytest.mark.parametrize("size", [1, 64])
def test_a_name_may_have_up_to_64_bytes(oath: Ask, held: Any, size: int) -> None:
    held.store.name = b""
    assert oath(PUT, data=item(0x71, b"n" * size) + secret()) == b""
    assert held.store.name == b"n" * size


@pytest.mark.parametrize(
    ("data", "sw"),
    [
        (secret(), DATA),
        (NAME, DATA),
        (item(0x71, b"") + secret(), DATA),
        (item(0x71, b"n" * 65) + secret(), DATA),
        (NAME + secret(5), DATA),
        (NAME + secret(9), DATA),
        (NAME + secret(kind=0x21), DATA),
        (NAME + secret(kind=0x12), DATA),
        (NAME + secret(key=b"k" * 15), DATA),
        (NAME + secret(key=b"k" * 65), DATA),
        (NAME + item(0x73, b""), DATA),
        (NAME + item(0x73, b"\x11"), DATA),
        (NAME + secret() + b"\x78\x01", DATA),
        (NAME + secret() + b"\x78\x03", DATA),
        (NAME + secret() + b"\x78\x04", DATA),
        (NAME + secret() + b"\x78", DATA),
        (NAME + secret() + item(0x7A, b"\1\2\3"), DATA),
        (NAME + secret() + item(0x7A, b"\1\2\3\4\5"), DATA),
        (NAME + secret() + item(0x74, b"x"), DATA),
        (NAME + NAME + secret(), DATA),
        (NAME + secret() + b"\x71", DATA),
        (NAME + secret() + b"\x1f\x01\x00", DATA),
        (item(0x71, b"eve") + secret(), NO_SPACE),
        (item(0x71, b"ad") + secret(), NO_SPACE),
    ],
)
def test_put_refuses_what_is_no_credential_of_this_card(
    oath: Ask, held: Any, data: bytes, sw: int
) -> None:
    assert oath(PUT, data=data) == sw
    assert held.done == []


ERASED = ("commit", {"name": b"", "seed": b"", "moving_factor": 0})


@pytest.mark.parametrize(
    ("command", "what", "change"),
    [
        ((DELETE, 0, 0, NAME), "to erase its seed", ERASED),
        ((RESET, 0xDE, 0xAD), "to erase its seed", ERASED),
        ((RENAME, 0, 0, NAME + item(0x71, b"e")), "for a new name", ("commit", {"name": b"e"})),
        (
            (RENAME, 0, 0, NAME + item(0x71, b"e" * 64)),
            "for a new name",
            ("commit", {"name": b"e" * 64}),
        ),
    ],
)
def test_a_change_waits_for_a_press(
    oath: Ask, held: Any, command: Any, what: str, change: Any
) -> None:
    held.terminal.presses = False
    assert oath(*command) == CONDITIONS
    assert held.done == [("press", what)]
    held.terminal.presses = True
    assert oath(*command) == b""
    assert held.done[1:] == [("press", what), change]


CHANGES = [
    (PUT, 0, 0, NAME + secret()), (DELETE, 0, 0, NAME), (RESET, 0xDE, 0xAD, b""),
    (RENAME, 0, 0, NAME + item(0x71, b"eve")),
]  # fmt: skip


@pytest.mark.parametrize("command", CHANGES, ids=lambda one: f"{one[0]:02x}")
def test_changes_are_for_the_firm_and_nobody_else_learns_more(
    oath: Ask, held: Any, command: Any
) -> None:
    ins, p1, p2, data = command
    held.secure = False
    for asked in (command, (ins, p1 ^ 1, p2, data), (ins, p1, p2, b"\x71\x05x")):
        assert oath(*asked) == SECURITY
    assert held.done == []


@pytest.mark.parametrize(
    "command",
    [*CHANGES, (LIST, 0, 0, b""), (CALCULATE, 0, 0, NAME), (ALL, 0, 0, item(0x74, b"c"))],
    ids=lambda one: f"{one[0]:02x}",
)
def test_parameters_are_looked_at_before_the_data(oath: Ask, held: Any, command: Any) -> None:
    ins, p1, p2, data = command
    highest = 1 if ins in (CALCULATE, ALL) else p2
    for wrong in ((p1 ^ 1, p2), (p1, highest + 1), (p1, highest + 2), (p1 + 1, highest + 2)):
        for sent in (data, b"\x71"):
            assert oath(ins, *wrong, sent) == P1P2
    assert held.done == []


@pytest.mark.parametrize(
    ("ins", "data", "sw"),
    [
        (DELETE, b"", DATA),
        (DELETE, item(0x71, b""), DATA),
        (DELETE, item(0x71, b"eve"), NO_CREDENTIAL),
        (DELETE, item(0x71, b"eve") + item(0x74, b"x"), NO_CREDENTIAL),
        (DELETE, NAME + item(0x74, b"x"), DATA),
        (RENAME, NAME, DATA),
        (RENAME, NAME + item(0x71, b""), DATA),
        (RENAME, NAME + item(0x71, b"e" * 65), DATA),
        (RENAME, NAME + item(0x71, b"e") + item(0x71, b"f"), DATA),
        (RENAME, NAME + item(0x71, b"e") + item(0x74, b"f"), DATA),
        (RENAME, NAME + item(0x74, b"e"), DATA),
        (RENAME, NAME + b"\x71\x05e", DATA),
        (RENAME, item(0x74, b"x") + item(0x74, b"y"), DATA),
        (DELETE, item(0x71, b"eve") + b"\x00\x05", DATA),
        (RENAME, item(0x71, b"eve") + NAME, NO_CREDENTIAL),
        (RENAME, item(0x71, b"") + NAME, DATA),
        (CALCULATE, b"", DATA),
        (CALCULATE, item(0x71, b"eve"), NO_CREDENTIAL),
        (CALCULATE, item(0x71, b"eve") + item(0x73, b""), DATA),
        (CALCULATE, NAME + item(0x74, b"") + item(0x73, b""), DATA),
        (CALCULATE, NAME + b"\x74", DATA),
        (ALL, b"", DATA),
        (ALL, NAME, DATA),
        (ALL, item(0x74, b"") + NAME, DATA),
        (ALL, item(0x74, b"") + b"\x74", DATA),
    ],
)
def test_what_names_no_credential_is_refused_with_its_reason(
    oath: Ask, held: Any, ins: int, data: bytes, sw: int
) -> None:
    assert oath(ins, data=data) == sw
    assert held.done == []


@pytest.mark.parametrize("command", [(DELETE, NAME), (CALCULATE, NAME)])
def test_an_empty_card_has_no_credential(oath: Ask, held: Any, command: Any) -> None:
    held.store.name = b""
    assert oath(command[0], data=command[1]) == NO_CREDENTIAL
    assert (oath(LIST), oath(ALL, data=item(0x74, b""))) == (b"", b"")
    assert held.done == []


def test_the_credential_is_named_and_never_calculated(oath: Ask, held: Any) -> None:
    held.secure = False
    held.store.digits = 8
    assert oath(LIST) == b"\x72\x04\x11ada"
    for p2 in (0, 1):
        assert oath(ALL, 0, p2, item(0x74, b"12345678")) == b"\x71\x03ada\x77\x01\x08"
    assert held.done == []


SHORT, FULL = b"\x76\x05\x06" + (755224).to_bytes(4, "big"), b"\x75\x15\x06" + bytes(range(20))


@pytest.mark.parametrize(
    ("secure", "kvn", "life_cycle", "p2", "answer", "done"),
    [
        (False, 1, 0x0F, 1, SHORT, [("press", "for a code"), "take code"]),
        (True, 1, 0x0F, 1, SHORT, [("press", "for a code"), "take code"]),
        (True, 1, 0x07, 1, SHORT, ["take code"]),
        (True, 1, 0x07, 0, FULL, ["take hmac"]),
        (True, 1, 0x0F, 0, CONDITIONS, []),
        (False, 1, 0x07, 0, CONDITIONS, []),
        (False, 1, 0x07, 1, SHORT, [("press", "for a code"), "take code"]),
        (True, 0xFF, 0x07, 0, CONDITIONS, []),
        (True, 0xFF, 0x07, 1, SHORT, [("press", "for a code"), "take code"]),
        (True, 1, 0x01, 0, CONDITIONS, []),
    ],
)
def test_a_code_costs_a_press_except_while_the_firm_makes_the_card(
    oath: Ask, held: Any, secure: bool, kvn: int, life_cycle: int, p2: int,
    answer: Any, done: Any,
) -> None:  # fmt: skip
    held.secure, held.store.kvn, held.store.life_cycle = secure, kvn, life_cycle
    assert oath(CALCULATE, 0, p2, NAME + item(0x74, b"\0" * 8)) == answer
    assert held.done == done


@pytest.mark.parametrize("life_cycle", [0x07, 0x0F])
def test_a_critical_cell_gives_no_code(oath: Ask, held: Any, life_cycle: int) -> None:
    held.store.life_cycle = life_cycle
    held.terminal.cell_state = 2
    assert oath(CALCULATE, 0, 1, NAME) == CONDITIONS
    assert held.done == []


def test_without_a_press_the_factor_stays(oath: Ask, held: Any) -> None:
    held.terminal.presses = False
    assert oath(CALCULATE, 0, 1, NAME) == CONDITIONS
    assert held.done == [("press", "for a code")]


@pytest.mark.parametrize("ins", [0x00, 0x03, 0x06, 0xA3, 0xA5])
def test_other_commands_are_not_known(oath: Ask, held: Any, ins: int) -> None:
    assert oath(ins) == 0x6D00
