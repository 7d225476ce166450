"""SELECT, sessions and answers in parts, in this interpreter: who a command comes from, and what a
session is worth."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from tallystick.provisioning.card.connection import CommandApdu, Response
from tallystick.provisioning.card.scp03 import SecureChannel
from tallystick.provisioning.custody.derivation import SoftwareChannelKeys

OATH = bytes.fromhex("00a4040007a0000005272101")
ISSUER = bytes.fromhex("00a4040008a000000151000000")
INITIALIZE = bytes.fromhex("8050000008") + bytes(8)
WRONG = bytes.fromhex("8482330010") + bytes(16)
SERIAL = bytes.fromhex("80cadf2000")
WEAR = bytes.fromhex("80cadf2300")


@pytest.fixture
def fresh(held: Any) -> Any:
    """Just docked."""
    found = type(held)(held.store, held.terminal)
    found.done = held.done
    return found


class Line:
    """The card as the station's channel sees it."""

    def __init__(self, held: Any) -> None:
        self.card = held

    def transmit(self, command: CommandApdu, waiting: object = None) -> Response:
        answer = send(self.card, command.encode())
        return Response(answer[:-2], int.from_bytes(answer[-2:], "big"))


def send(held: Any, command: bytes) -> bytes:
    answer = held.process(memoryview(bytearray(command)))
    assert isinstance(answer, bytes)
    return answer


def sw(held: Any, command: bytes) -> int:
    """Of an answer that has nothing else."""
    answer = send(held, command)
    assert len(answer) == 2
    return int.from_bytes(answer, "big")


def opened(held: Any) -> SecureChannel:
    keys = held.store.keys

    def derive(_: object, context: bytes) -> SoftwareChannelKeys:
        return SoftwareChannelKeys(keys[:16], keys[16:32], context)

    return SecureChannel.open(Line(held), derive)  # type: ignore[arg-type]


# -- which applet ----------------------------------------------------------------------------------


@pytest.mark.parametrize("aid", [b"", bytes.fromhex("a000000151000000")])
def test_the_issuer_is_selected_after_a_start_and_by_name(fresh: Any, aid: bytes) -> None:
    lists = bytes.fromhex("00a10000")
    assert sw(fresh, lists) == 0x6D00
    assert send(fresh, OATH).startswith(b"\x79\x03")
    assert send(fresh, lists) == b"\x72\x04\x11ada\x90\x00"
    assert send(fresh, bytes((0, 0xA4, 4, 0, len(aid))) + aid).startswith(b"\x6f\x10")
    assert sw(fresh, lists) == 0x6D00


@pytest.mark.parametrize(
    ("command", "word"),
    [
        ("00a4040c00", 0x6A86),
        ("00a404010142", 0x6A86),
        ("00a4040007a0000005272102", 0x6A82),
        ("00a404000142", 0x6A82),
        ("00a4000000", 0x6D00),
        ("00a4050000", 0x6D00),
    ],
)
def test_a_select_that_fails_changes_nothing(fresh: Any, command: str, word: int) -> None:
    channel = opened(fresh)
    assert sw(fresh, bytes.fromhex(command)) == word
    assert fresh.session.open
    assert channel.transmit(CommandApdu(0x80, 0xCA, 0xDF, 0x23)).sw == 0x9000


def test_a_calculate_all_is_no_select(fresh: Any) -> None:
    send(fresh, OATH)
    assert send(fresh, bytes.fromhex("00a40001027400")) == b"\x71\x03ada\x77\x01\x06\x90\x00"


@pytest.mark.parametrize(
    ("command", "word"),
    [
        ("90cadf2000", 0x6884), ("10a4040000", 0x6884), ("ff000000", 0x6884),
        ("01a4040000", 0x6E00), ("c0cadf2000", 0x6E00), ("08a4040000", 0x6E00),
        ("00", 0x6700), ("80e40000", 0x6D00), ("00030000", 0x6D00),
    ],
)  # fmt: skip
def test_what_no_card_understands(fresh: Any, command: str, word: int) -> None:
    assert sw(fresh, bytes.fromhex(command)) == word


@pytest.mark.parametrize(
    ("command", "module"),
    [
        ("80e60200", "update"), ("80e80000", "update"), ("80ee0100", "selftest"),
        ("80cadf20", "issuer"), ("0084000008", "issuer"), ("00a10000", "oath"),
        ("00e60000", "oath"), ("00ee0000", "oath"), ("00e80000", "oath"), ("80840000", "issuer"),
    ],
)  # fmt: skip
def test_each_command_has_its_module(
    fresh: Any, load: Any, monkeypatch: pytest.MonkeyPatch, command: str, module: str
) -> None:
    for name in ("update", "selftest", "issuer", "oath"):
        answer = name.encode()
        monkeypatch.setattr(load(f"card.{name}"), "process", lambda *_, answer=answer: answer)
    send(fresh, OATH)
    assert send(fresh, bytes.fromhex(command)) == module.encode() + b"\x90\x00"


def test_a_card_that_was_just_docked_trusts_nobody_and_has_nothing_to_send(
    fresh: Any, load: Any
) -> None:
    assert refused(load, fresh.need_session) == 0x6982
    assert sw(fresh, bytes.fromhex("00c0000000")) == 0x6985
    assert (fresh.session, fresh.private()) == (None, False)


# -- answers in parts ------------------------------------------------------------------------------


@pytest.mark.parametrize("ins", ["c0", "a5"])
def test_an_answer_comes_in_parts_of_what_was_asked_for(fresh: Any, ins: str) -> None:
    more = bytes.fromhex(f"00{ins}000004")
    assert send(fresh, bytes.fromhex("80cadf2004")) == b"TS00\x61\x06"
    assert send(fresh, more) == b"0000\x61\x02"
    assert send(fresh, more) == b"01\x90\x00"
    assert sw(fresh, more) == 0x6985


@pytest.mark.parametrize(
    ("size", "first", "word"),
    [(256, 256, 0x9000), (257, 256, 0x6101), (511, 256, 0x61FF), (512, 256, 0x6100),
     (600, 256, 0x6100)],
)  # fmt: skip
def test_how_much_more_there_is(
    fresh: Any, load: Any, monkeypatch: pytest.MonkeyPatch, size: int, first: int, word: int
) -> None:
    whole = bytes(n & 0xFF for n in range(size))
    monkeypatch.setattr(load("card.issuer"), "process", lambda *_: whole)
    answer = send(fresh, SERIAL)
    assert answer == whole[:first] + word.to_bytes(2, "big")
    while answer[-2] == 0x61:
        answer = answer[:-2] + send(fresh, bytes.fromhex("00c0000000"))
    assert answer == whole + b"\x90\x00"


def test_an_answer_may_be_its_status_word_alone(fresh: Any) -> None:
    send(fresh, OATH)
    fresh.store.name = b""
    assert sw(fresh, bytes.fromhex("00a10000")) == 0x9000


@pytest.mark.parametrize("between", [SERIAL, bytes.fromhex("01a40000"), OATH, WRONG])
def test_another_command_drops_the_rest(fresh: Any, between: bytes) -> None:
    send(fresh, bytes.fromhex("80cadf2004"))
    send(fresh, between)
    assert sw(fresh, bytes.fromhex("00c0000000")) == 0x6985


def test_only_the_iso_class_asks_for_the_rest(fresh: Any) -> None:
    send(fresh, bytes.fromhex("80cadf2004"))
    assert sw(fresh, bytes.fromhex("80c0000004")) == 0x6D00


def test_undocking_forgets_applet_rest_and_session(fresh: Any) -> None:
    opened(fresh)
    session = fresh.session
    send(fresh, OATH)
    session = opened(fresh) and fresh.session
    send(fresh, bytes.fromhex("80cadf2004"))
    fresh.reset()
    assert fresh.session is None
    assert not session.open
    assert sw(fresh, bytes.fromhex("00c0000000")) == 0x6985
    assert sw(fresh, bytes.fromhex("00a10000")) == 0x6D00
    fresh.reset()  # without one


# -- sessions --------------------------------------------------------------------------------------


def test_the_answer_that_opens_a_session(fresh: Any, load: Any) -> None:
    fresh.store.kvn = 7
    answer = send(fresh, INITIALIZE)
    challenge = bytes(range(1, 9))
    session = load("lib.scp03").Session(fresh.store.keys, bytes(8), challenge)
    head = b"TS00000001" + b"\x07\x03\x60" + challenge
    assert answer == head + session.card_cryptogram + b"\x90\x00"
    assert isinstance(send(fresh, b"\x80\x50\x07" + INITIALIZE[3:]), bytes)


@pytest.mark.parametrize(
    ("command", "word"),
    [
        ("8050000007" + "00" * 7, 0x6700), ("8050000009" + "00" * 9, 0x6700),
        ("80500100", 0x6700), ("80500001", 0x6700), ("8050000108" + "00" * 8, 0x6A86),
        ("8050020108" + "00" * 8, 0x6A86), ("8050020008" + "00" * 8, 0x6A88),
        ("005000000800000000000000000000", 0x6700), ("0050000008" + "00" * 8, 0x6D00),
    ],
)  # fmt: skip
def test_what_opens_no_session(fresh: Any, command: str, word: int) -> None:
    assert sw(fresh, bytes.fromhex(command)) == word
    assert fresh.session is None
    assert fresh.terminal.drawn == 0


@pytest.mark.parametrize(("life_cycle", "keys"), [(0xFF, bytes(48)), (0x01, b"")])
def test_a_card_without_keys_opens_none(fresh: Any, life_cycle: int, keys: bytes) -> None:
    fresh.store.life_cycle, fresh.store.keys = life_cycle, keys
    assert sw(fresh, INITIALIZE) == 0x6985
    assert sw(fresh, b"\x80\x50\x00\x00") == 0x6985


def test_a_session_gives_the_rights_that_it_was_opened_with(fresh: Any) -> None:
    channel = opened(fresh)
    answer = channel.transmit(CommandApdu(0x80, 0xCA, 0xDF, 0x23))
    assert (answer.sw, len(answer.data)) == (0x9000, 13)
    assert channel.transmit(CommandApdu(0x80, 0xF0, 0x80, 0x0F)).sw == 0x9000
    assert sw(fresh, WEAR) == 0x6982  # outside of it: a stranger
    assert fresh.secure is False
    assert channel.transmit(CommandApdu(0x80, 0xCA, 0xDF, 0x23)).sw == 0x9000  # which goes on


def test_a_refusal_inside_a_session_has_its_word_alone_and_the_session_stays(fresh: Any) -> None:
    channel = opened(fresh)
    assert channel.transmit(CommandApdu(0x80, 0xCA, 0xDF, 0x11)).sw == 0x6A88
    assert fresh.session.open


@pytest.mark.parametrize("sent", [INITIALIZE, OATH, ISSUER])
def test_what_ends_a_session(fresh: Any, sent: bytes) -> None:
    opened(fresh)
    session = fresh.session
    send(fresh, sent)
    assert not session.open
    assert fresh.session is not session


def test_an_initialize_update_that_is_refused_ends_it_too(fresh: Any) -> None:
    opened(fresh)
    fresh.store.life_cycle = 0xFF
    assert sw(fresh, INITIALIZE) == 0x6985
    assert fresh.session is None


def test_new_keys_end_it_once_they_are_answered(
    fresh: Any, load: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(load("card.issuer"), "process", lambda *_: b"done")
    channel = opened(fresh)
    session = fresh.session
    answer = channel.transmit(CommandApdu(0x80, 0xD8, 0, 0x81, b"keys"))
    assert (answer.data, answer.sw) == (b"done", 0x9000)
    assert (fresh.session, session.open) == (None, False)


def test_the_same_instruction_of_an_applet_ends_none(
    fresh: Any, load: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(load("card.oath"), "process", lambda *_: b"done")
    send(fresh, OATH)
    channel = opened(fresh)
    assert channel.transmit(CommandApdu(0x00, 0xD8, 0, 0x81)).data == b"done"
    assert fresh.session.open


@pytest.mark.parametrize("changed", [5, -1])
def test_a_wrong_mac_ends_it(fresh: Any, changed: int) -> None:
    opened(fresh)
    session = fresh.session
    assert sw(fresh, bytes.fromhex("84cadf2308") + bytes(8)) == 0x6988
    assert (fresh.session, session.open) == (None, False)
    assert sw(fresh, bytes.fromhex("84cadf2308") + bytes(8)) == 0x6982


def test_secure_messaging_wants_a_session_of_the_right_state(fresh: Any) -> None:
    secure = bytes.fromhex("84cadf2308") + bytes(8)
    assert (sw(fresh, secure), sw(fresh, WRONG)) == (0x6982, 0x6985)
    send(fresh, INITIALIZE)
    assert sw(fresh, secure) == 0x6982  # only half open
    opened(fresh)
    assert sw(fresh, WRONG) == 0x6985  # open already
    assert fresh.session.open
    send(fresh, OATH)
    assert sw(fresh, b"\x04" + WRONG[1:]) == 0x6982  # no EXTERNAL AUTHENTICATE, of an applet


@pytest.mark.parametrize(("p1", "p2"), [(0x00, 0), (0x32, 0), (0x34, 0), (0x33, 1), (0x00, 1)])
def test_a_level_that_is_none_is_refused_and_is_no_wrong_key(fresh: Any, p1: int, p2: int) -> None:
    for _ in range(12):
        send(fresh, INITIALIZE)
        assert sw(fresh, b"\x84\x82" + bytes((p1, p2)) + WRONG[4:]) == 0x6A86
        assert fresh.session is None
    assert fresh.done == []
    assert len(send(fresh, INITIALIZE)) == 31


def test_wrong_keys_are_answered_late_and_then_not_at_all(fresh: Any) -> None:
    for tried in range(10):
        assert fresh.done == ["pause"] * max(0, tried - 3)
        assert len(send(fresh, INITIALIZE)) == 31
        assert sw(fresh, WRONG) == 0x6300
        assert fresh.session is None
    assert fresh.done == ["pause"] * 7
    assert sw(fresh, INITIALIZE) == 0x6983
    assert sw(fresh, b"\x80\x50\x02\x01\x00") == 0x6983


def test_right_keys_end_the_count(fresh: Any) -> None:
    for _ in range(3):
        for _ in range(9):
            send(fresh, INITIALIZE)
            assert sw(fresh, WRONG) == 0x6300
        opened(fresh)
    assert len(fresh.done) == 3 * 7


@pytest.mark.parametrize("size", [256, 257, 300])
def test_an_extended_command_has_its_answer_whole(
    fresh: Any, load: Any, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(load("card.issuer"), "process", lambda *_: bytes(size))
    opened(fresh)
    fresh.session.level = 0x01  # no padding in the answer
    for extended, parts in ((False, size > 256), (True, False)):
        monkeypatch.setattr(fresh.session, "unwrap", lambda *_: None)
        head = b"\x84\xca\0\0" + (b"\0\0\x08" if extended else b"\x08")
        answer = send(fresh, head + bytes(8))
        assert (answer[-2] == 0x61) == parts
        assert len(answer) == min(size, 256 if parts else size) + 2


# -- what fails ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "word", "ends"),
    [(OSError, 0x6581, False), (None, 0x6581, False), (ValueError, 0x6F00, True),
     (MemoryError, 0x6F00, True)],
)  # fmt: skip
def test_a_fault_is_answered(
    fresh: Any, load: Any, monkeypatch: pytest.MonkeyPatch, error: Any, word: int, ends: bool
) -> None:
    def fails(*_: object) -> bytes:
        raise error or load("lib.journal").DamagedError

    opened(fresh)
    monkeypatch.setattr(load("card.issuer"), "process", fails)
    assert sw(fresh, SERIAL) == word
    assert (fresh.session is None) == ends


# -- the rules that commands share -----------------------------------------------------------------


def refused(load: Any, need: Callable[..., None], *given: object) -> int:
    try:
        need(*given)
    except load("lib.apdu").Refused as one:
        return int(one.sw)
    return 0


@pytest.mark.parametrize(
    ("secure", "level", "kvn", "session", "keys", "firm"),
    [
        (True, 0x33, 1, 0, 0, 0),
        (True, 0x33, 0xFF, 0, 0, 0x6982),
        (True, 0x13, 1, 0, 0x6982, 0x6982),
        (False, 0x33, 1, 0x6982, 0x6982, 0x6982),
        (True, None, 1, 0, 0x6982, 0x6982),
    ],
)
def test_whom_each_rule_lets_in(
    held: Any, load: Any, secure: bool, level: int | None, kvn: int, session: int, keys: int,
    firm: int,
) -> None:  # fmt: skip
    held.secure, held.store.kvn = secure, kvn
    held.session = None if level is None else SimpleNamespace(level=level)
    assert refused(load, held.need_session) == session
    assert refused(load, held.need_keys) == keys
    assert held.private() is (keys == 0)
    assert refused(load, held.need_firm_keys) == firm


@pytest.mark.parametrize(
    ("life_cycle", "cell", "presses", "word", "done"),
    [
        (0x07, 0, False, 0, []),
        (0x07, 1, False, 0, []),
        (0x07, 2, True, 0x6985, []),
        (0x0F, 0, True, 0, [("press", "for x")]),
        (0x0F, 0, False, 0x6985, [("press", "for x")]),
        (0x0F, 2, True, 0x6985, []),
        (0xFF, 0, False, 0x6985, [("press", "for x")]),
    ],
)
def test_a_card_in_service_asks_its_holder(
    held: Any, load: Any, life_cycle: int, cell: int, presses: bool, word: int, done: Any
) -> None:
    held.store.life_cycle, held.terminal.cell_state, held.terminal.presses = (
        life_cycle, cell, presses)  # fmt: skip
    assert refused(load, held.need_consent, "for x") == word
    assert held.done == done
