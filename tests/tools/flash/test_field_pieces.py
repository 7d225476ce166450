"""The update in the field, command by command, with a card that only notes what it is sent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from tallystick.common.errors import BadInputError, RefusedError
from tallystick.provisioning.card.connection import CardRefusedError, CommandApdu, Response
from tallystick.provisioning.card.t1 import Waiting
from tallystick.tools.flash import field
from tallystick.tools.flash.field import (
    InterruptedUpdateError,
    Running,
    SlotState,
    Update,
    install,
    running,
    state_format,
)
from tallystick.tools.image.header import SIGNATURE_SIZE, SIZE, Header, StateFormats

BOARD = "pico"
CONTENT = b"a" * 256 + b"\xff" * 256 + b"b" * 88
HEADER = Header.of(CONTENT, device="card", board=BOARD, version="0.2.0", security=3)
BEFORE = Header.of(b"old", device="card", board=BOARD, version="0.1.0", security=3)
OK = Response(b"", 0x9000)


def update_of(header: Header = HEADER, content: bytes = CONTENT) -> Update:
    return Update(header, header.encode() + bytes(range(SIGNATURE_SIZE)), content)


class NotingCard:
    """A card, its line and its secure channel. happened: what came, in its order; answers: in place
    of what it would say, by name."""

    def __init__(self) -> None:
        self.t1 = self
        self.happened: list[str] = []
        self.sent: list[CommandApdu] = []
        self.waited: list[Waiting | None] = []
        self.challenges: list[bytes | None] = []
        self.answers: dict[str, Response] = {}
        self.start = 0
        self.floor = 3
        self.runs, self.keys, self.board = BEFORE, 1, BOARD
        self.starts: Header | None = HEADER

    def resynchronise(self) -> None:
        self.happened.append("restart")
        self.runs = self.starts or self.runs

    def transmit(self, command: CommandApdu, waiting: Waiting | None = None) -> Response:
        name, answer = self._answer(command)
        self.happened.append(name)
        return self.answers.get(name, Response(answer, 0x9000))

    def _answer(self, command: CommandApdu) -> tuple[str, bytes]:
        assert (command.cla, command.ins) == (0x80, 0xCA)
        tag = command.p1 << 8 | command.p2
        image = bytes((1, 2)) + self.floor.to_bytes(4, "big") + self.runs.encode()
        return {
            0xDF21: ("version", bytes((0, 1, 0)) + self.board.encode()),
            0xDF25: ("image", image),
            0xDF26: ("format", b"\1"),
            0x00E0: ("keys", bytes.fromhex("E006C00401") + bytes((self.keys,)) + b"\x88\x10"),
        }[tag]


class NotingChannel:
    def __init__(self, card: NotingCard) -> None:
        self.card = card

    def transmit(self, command: CommandApdu, waiting: Waiting | None = None) -> Response:
        card = self.card
        what = (command.ins, command.p1)
        name = {(0xE6, 0x02): "begin", (0xE6, 0x0C): "switch", (0xE6, 0x40): "confirm"}.get(
            what, "part"
        )
        card.sent.append(command)
        card.waited.append(waiting)
        card.happened.append(name)
        return card.answers.get(name, Response(card.start.to_bytes(4, "big"), 0x9000))

    def close(self) -> None:
        self.card.happened.append("close")


@pytest.fixture
def card(monkeypatch) -> NotingCard:
    def opened(connection, derive, *, host_challenge=None):
        assert derive is keys
        connection.happened.append("open")
        connection.challenges.append(host_challenge)
        return NotingChannel(connection)

    monkeypatch.setattr(field.SecureChannel, "open", opened)
    return NotingCard()


def keys(update, context):
    raise AssertionError("no channel is really opened")


CHECKED = ["version", "image", "format", "keys"]
CONFIRMED = ["close", "restart", "image", "open", "confirm", "close", "image"]


def test_an_update_from_beginning_to_end(card):
    """The channel is closed before the card starts anew, and what it runs is asked for again."""
    done = []
    now = install(card, keys, update_of(), progress=lambda at, size: done.append((at, size)))
    assert now == Running(1, SlotState.TRIAL, 3, HEADER)
    assert card.happened == [*CHECKED, "open", "begin", "part", "part", "switch", *CONFIRMED]
    assert done == [(256, 600), (512, 600), (600, 600)]
    begin, first, last, switch, confirm = card.sent
    assert begin == CommandApdu(0x80, 0xE6, 0x02, 0, HEADER.encode() + bytes(range(64)))
    assert first == CommandApdu(0x80, 0xE8, 0, 0, bytes(4) + b"a" * 256)
    assert last == CommandApdu(0x80, 0xE8, 0, 0, (512).to_bytes(4, "big") + b"b" * 88)
    assert switch == CommandApdu(0x80, 0xE6, 0x0C, 0)
    assert confirm == CommandApdu(0x80, 0xE6, 0x40, 0)


@pytest.mark.parametrize(
    ("start", "sent"), [(0, [0, 512]), (1, [512]), (256, [512]), (512, [512]), (513, [])]
)
def test_what_the_card_has_already_is_not_sent_again(card, start, sent):
    card.start = start
    install(card, keys, update_of())
    parts = [command.data[:4] for command in card.sent if command.ins == 0xE8]
    assert [int.from_bytes(at, "big") for at in parts] == sent


def test_the_press_that_is_waited_for_is_at_the_beginning(card):
    waiting = Waiting()
    install(card, keys, update_of(), waiting=waiting)
    assert card.waited[0] is waiting and not any(card.waited[1:])


def test_each_channel_has_a_challenge_of_its_own(card):
    challenges = iter([b"first", b"second"])
    install(card, keys, update_of(), host_challenge=lambda: next(challenges))
    install(card, keys, update_of())
    assert card.challenges == [b"first", b"second", None, None]


# -- what is refused before anything is sent -----------------------------------------------------


def refused(card, header, kind=RefusedError):
    with pytest.raises(kind) as caught:
        install(card, keys, update_of(header))
    assert "open" not in card.happened
    return caught.value


WRONG = {
    "device": {"device": "reader"},
    "board": {"board": "pico2"},
    "floor": {"security": 2},
    "formats": {"formats": StateFormats(2, 3)},
}


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (["device", "floor", "formats", "keys"], "is for a reader on pico; this is a card on pico"),
        (["board", "floor", "formats", "keys"], "is for a card on pico2; this is a card on pico"),
        (["floor", "formats", "keys"], "security version 2; this card takes none below 3"),
        (["formats", "keys"], "state has format 1; the update reads 2 to 3"),
        (["keys"], "has no keys of a firm yet"),
    ],
)
def test_of_what_is_wrong_the_first_is_told(card, wrong, said):
    """What a person cannot change comes before what he can."""
    change = {key: value for one in wrong for key, value in WRONG.get(one, {}).items()}
    card.keys = 0xFF if "keys" in wrong else 1
    error = refused(card, replace(HEADER, **change))
    assert said in error.what and error.kept.startswith("Nothing was sent to it.") and error.todo


@pytest.mark.parametrize("security", [3, 4, 0xFFFF])
def test_the_floor_itself_is_taken(card, security):
    header = card.starts = replace(HEADER, security=security)
    assert install(card, keys, update_of(header)).header == header


def test_the_format_of_a_state(card):
    card.answers["format"] = Response(b"\3\7", 0x9000)
    assert state_format(card) == 3
    card.answers["format"] = Response(b"", 0x6A88)  # of before they were numbered
    assert state_format(card) == 1
    card.answers["format"] = Response(b"", 0x6F00)
    with pytest.raises(CardRefusedError, match="tell its state's format"):
        state_format(card)
    card.answers["image"] = Response(b"", 0x6A88)
    with pytest.raises(CardRefusedError, match="tell which image it runs"):
        running(card)


# -- what goes wrong on the way ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("at", "sw", "kind", "said", "kept"),
    [
        ("begin", 0x6300, RefusedError, "trusts another signing key .* \\(6300\\)", "was erased"),
        ("begin", 0x6982, CardRefusedError, "take the update", ""),
        ("begin", 0x6A80, CardRefusedError, "take the update", ""),
        ("part", 0x6982, InterruptedUpdateError, "started anew .* \\(6982\\)", "that it had"),
        ("part", 0x6581, CardRefusedError, "store a part of the update", ""),
        ("switch", 0x6982, InterruptedUpdateError, "started anew", "that it had"),
        ("switch", 0x6985, CardRefusedError, "switch to its new image", "keeps running the one"),
        ("confirm", 0x6985, CardRefusedError, "confirm its new image", ""),
    ],
)
def test_what_is_said_when_the_card_refuses(card, at, sw, kind, said, kept):
    """And nothing more is sent to it, or said to be done."""
    card.answers[at] = Response(b"", sw)
    done = []
    with pytest.raises(kind, match=said) as caught:
        install(card, keys, update_of(), progress=lambda *parts: done.append(parts))
    assert len(done) == (0 if at in ("begin", "part") else 3)
    assert type(caught.value) is kind and kept in caught.value.kept
    assert card.happened[-1] == at


def test_a_card_that_went_back_is_not_confirmed(card):
    card.starts = None
    with pytest.raises(RefusedError, match="went back to the one before") as caught:
        install(card, keys, update_of())
    assert "untouched" in caught.value.kept and card.happened[-2:] == ["restart", "image"]


# -- what is read --------------------------------------------------------------------------------


def test_a_report_on_the_image_that_is_malformed():
    header = Header("card", BOARD, "0.1.0", 2, 5, bytes(32))
    data = bytes((1, 2)) + (7).to_bytes(4, "big") + header.encode()
    assert Running.parse(data) == Running(1, SlotState.TRIAL, 7, header)
    assert Running.parse(bytes((0, 1)) + b"\1\2\3\4" + data[6:]).floor == 0x01020304
    assert Running.parse(bytes((0, 3)) + data[2:]).state is SlotState.TRIED
    blank = data[:6] + b"\xff" * SIZE
    assert Running.parse(blank) == Running(1, SlotState.TRIAL, 7, None)
    for bad in (b"", data[:-1], data + b"\0"):
        with pytest.raises(BadInputError, match="report on its image is malformed"):
            Running.parse(bad)


def test_an_update_file_is_taken_apart():
    whole = update_of()
    assert Update.parse(whole.signed + CONTENT) == whole
    odd = replace(HEADER, device="reader", formats=StateFormats(2, 3), security=9)
    assert Update.parse(update_of(odd).signed + CONTENT) == update_of(odd)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda data: b"", "is not an update file"),
        (lambda data: b"x" + data, "is not an update file"),
        (lambda data: data[: SIZE - 1], "is not an update file"),
        (lambda data: data[:-1], "cut or changed"),
        (lambda data: data + b"\xff", "cut or changed"),
        (lambda data: data[:-1] + b"!", "cut or changed"),
        (lambda data: data[: SIZE + SIGNATURE_SIZE], "cut or changed"),
    ],
)
def test_a_file_that_is_none_or_was_cut(change: Callable[[bytes], bytes], said: str):
    with pytest.raises(BadInputError, match=said) as caught:
        Update.parse(change(update_of().signed + CONTENT))
    assert caught.value.todo
