"""The update in the field, on the real firmware: what is taken, what is refused, what stays."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tallystick.common.errors import BadInputError, RefusedError
from tallystick.provisioning.card.connection import CardConnection, CardRefusedError
from tallystick.provisioning.card.issuer import IssuerSession, LifeCycle
from tallystick.provisioning.card.t1 import Waiting
from tallystick.tools.docked import DockedLink
from tallystick.tools.flash import field
from tallystick.tools.flash.field import (
    InterruptedUpdateError,
    SlotState,
    Update,
    install,
    running,
)
from tallystick.tools.image.header import SIZE, Header
from tallystick.tools.image.keys import SigningKey
from tests.tools.flash.conftest import BOARDS, press

VECTORS = Path(__file__).parents[2] / "vectors"
CODES = [row["code"] for row in json.loads((VECTORS / "hotp_rfc4226.json").read_text())["hotp"]]
OTHER_KEY = SigningKey.of(bytes(range(32)))


@pytest.fixture(params=BOARDS)
def board(request):
    return request.param


@pytest.fixture
def card_in_the_field(firm, board):
    with firm.card(board) as card:
        yield card


@pytest.fixture
def line(card_in_the_field):
    return CardConnection(DockedLink(card_in_the_field))


@pytest.fixture
def unchecked(monkeypatch):
    """A station that checks nothing: what is refused then, the card refuses."""
    monkeypatch.setattr(field, "_check", lambda connection, header: None)


def signed(header: Header, content: bytes, key: SigningKey | None = None) -> Update:
    plain = header.encode()
    return Update(header, plain + (key or SigningKey.development()).sign(plain), content)


def test_an_update_runs_and_stays(firm, card_in_the_field, line, board):
    done = []
    update = firm.update(board, security=3)
    now = install(
        line, firm.custody.channel_keys, update, progress=lambda at, total: done.append(at)
    )
    assert (now.slot, now.state, now.floor) == (1, SlotState.CONFIRMED, 3)
    assert str(IssuerSession(line).version()) == "0.2.0"
    assert done == sorted(done) and done[-1] == len(update.file_system)
    for _ in range(3):
        card_in_the_field.power_off()
        card_in_the_field.power_on()
    again = CardConnection(DockedLink(card_in_the_field))
    assert running(again).header == update.header


def test_seed_factor_and_keys_are_untouched(firm, card_in_the_field, board):
    assert press(card_in_the_field) == CODES[0]
    line = CardConnection(DockedLink(card_in_the_field))
    install(line, firm.custody.channel_keys, firm.update(board))
    line.close()
    card_in_the_field.run_for(1000)
    assert press(card_in_the_field) == CODES[1]


def test_the_second_update_goes_into_the_first_slot(firm, line, board):
    install(line, firm.custody.channel_keys, firm.update(board))
    now = install(line, firm.custody.channel_keys, firm.update(board, "0.3.0"))
    assert (now.slot, now.header.version) == (0, "0.3.0")


def test_a_card_in_service_asks_for_a_press(firm, board):
    with firm.card(board, LifeCycle.SECURED) as card:
        line = CardConnection(DockedLink(card))
        pressed = []

        def finger():
            if not pressed:
                pressed.append(card.button.push())
                card.run_for(120)
                card.button.release()

        waiting = Waiting(finger)
        update = firm.update(board)
        with pytest.raises(CardRefusedError, match="no press came"):
            install(line, firm.custody.channel_keys, update, waiting=Waiting())
        assert running(line).slot == 0
        assert install(line, firm.custody.channel_keys, update, waiting=waiting).slot == 1
        line.close()
        card.run_for(1000)
        assert press(card) == CODES[0]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"board": "another"}, "incorrect data"),
        ({"device": "reader"}, "incorrect data"),
        ({"size": 0}, "incorrect data"),
        ({"size": 0x7FFFFFFF}, "incorrect data"),
    ],
)
def test_the_card_itself_refuses_what_is_not_for_it(
    firm, card_in_the_field, line, board, unchecked, change, why
):
    update = firm.update(board)
    wrong = signed(replace(update.header, **change), update.file_system)
    erased = card_in_the_field.flash.operations
    with pytest.raises(CardRefusedError, match=why):
        install(line, firm.custody.channel_keys, wrong)
    assert card_in_the_field.flash.operations == erased
    assert running(line).slot == 0


def test_another_firms_signature_is_refused_before_anything_is_erased(
    firm, card_in_the_field, line, board
):
    update = firm.update(board)
    operations = card_in_the_field.flash.operations
    for key in (OTHER_KEY, None):
        wrong = signed(update.header, update.file_system, key)
        if key is None:  # one bit of the signature
            damaged = bytearray(wrong.signed)
            damaged[SIZE + 5] ^= 1
            wrong = replace(wrong, signed=bytes(damaged))
        with pytest.raises(RefusedError, match="another signing key"):
            install(line, firm.custody.channel_keys, wrong)
    assert card_in_the_field.flash.operations == operations


def test_a_changed_image_does_not_start(firm, line, board):
    update = firm.update(board)
    content = bytearray(update.file_system)
    content[1000] ^= 0x10
    with pytest.raises(CardRefusedError, match="switch"):
        install(line, firm.custody.channel_keys, replace(update, file_system=bytes(content)))
    assert running(line).slot == 0


def test_no_way_back_below_the_floor(firm, line, board, unchecked):
    install(line, firm.custody.channel_keys, firm.update(board, security=3))
    with pytest.raises(CardRefusedError, match="6985"):
        install(line, firm.custody.channel_keys, firm.update(board, "0.3.0", security=2))
    assert (
        install(line, firm.custody.channel_keys, firm.update(board, "0.3.0", security=3)).slot == 0
    )


def test_an_image_that_crashes_is_left_again(firm, card_in_the_field, line, board):
    """The new image is signed, whole, and does not run."""
    from tallystick.tools.image import filesystem

    card_board = card_in_the_field.board
    room = card_board.slots[0].size - card_board.flash_timing.sector
    content = filesystem.pack(
        {"main.py": b"import board\nboard.off(False)\n"},
        card_board,
        room=room,
        what="test",
    )
    header = Header.of(content, device="card", board=board, version="9.9.9", security=9)
    with pytest.raises(Exception, match=r"exception|No card answered|went back"):
        install(line, firm.custody.channel_keys, signed(header, content))
    line.close()
    card_in_the_field.power_off()
    card_in_the_field.power_on()
    again = CardConnection(DockedLink(card_in_the_field))
    now = running(again)
    assert (now.slot, now.state, now.floor) == (0, SlotState.CONFIRMED, 0)
    again.close()
    card_in_the_field.run_for(1000)
    assert press(card_in_the_field) == CODES[0]


def test_a_trial_that_nobody_confirms_is_over_at_the_next_start(
    firm, card_in_the_field, line, board
):
    channel = field.SecureChannel.open(line, firm.custody.channel_keys)
    field._send(channel, firm.update(board), lambda at, total: None, None)
    line.t1.resynchronise()
    assert (running(line).slot, running(line).state) == (1, SlotState.TRIED)
    line.close()
    card_in_the_field.run_for(1000)
    assert press(card_in_the_field) == CODES[0]  # the press is that next start
    assert running(CardConnection(DockedLink(card_in_the_field))).slot == 0


def test_a_card_on_trial_takes_no_other_update(firm, line, board):
    channel = field.SecureChannel.open(line, firm.custody.channel_keys)
    field._send(channel, firm.update(board), lambda at, total: None, None)
    line.t1.resynchronise()
    channel = field.SecureChannel.open(line, firm.custody.channel_keys)
    with pytest.raises(CardRefusedError, match="6985"):
        field._send(channel, firm.update(board, "0.3.0"), lambda at, total: None, None)


def test_the_line_may_fail_and_the_update_goes_on(firm, line, board):
    update = firm.update(board)

    class Lost(Exception):
        pass

    def stop_late(at, total):
        if at > total * 3 // 4:
            raise Lost

    with pytest.raises(Lost):
        install(line, firm.custody.channel_keys, update, progress=stop_late)
    before = line.wire_bytes
    assert install(line, firm.custody.channel_keys, update).slot == 1
    assert line.wire_bytes - before < before  # what it had was not sent again


def test_what_was_begun_goes_on_under_its_own_signature_only(firm, line, board):
    update = firm.update(board)
    forged = signed(update.header, update.file_system, OTHER_KEY)
    channel = field.SecureChannel.open(line, firm.custody.channel_keys)
    answers = [
        field._install(channel, field.P1_LOAD, one.signed).sw for one in (update, update, forged)
    ]
    assert answers == [0x9000, 0x9000, 0x6300]
    load = field.CommandApdu(0x80, field.INS_LOAD, 0, 0, bytes(4) + bytes(8))
    assert channel.transmit(load).sw == 0x6985  # and then it is not under way


def test_power_lost_in_the_middle_is_told_as_that(firm, card_in_the_field, line, board):
    """And not as a want of keys, which the person has given."""
    update = firm.update(board)

    def pull(at, total):
        if at > total // 2 and card_in_the_field.mcu.boots == boots:
            card_in_the_field.power_off()
            card_in_the_field.power_on()
            line.t1.resynchronise()

    boots = card_in_the_field.mcu.boots
    with pytest.raises(InterruptedUpdateError, match="started anew") as told:
        install(line, firm.custody.channel_keys, update, progress=pull)
    assert "secure channel" not in str(told.value) and "same command again" in told.value.todo
    assert install(line, firm.custody.channel_keys, update).slot == 1


def test_only_the_firm_updates(firm, board):
    with firm.blank(board) as card:
        card.power_on()
        line = CardConnection(DockedLink(card))
        with pytest.raises(RefusedError, match="no keys of a firm"):
            install(line, firm.custody.channel_keys, firm.update(board))


def test_the_card_takes_updates_from_its_firm_only(firm, board, unchecked):
    with firm.blank(board) as card:
        card.power_on()
        line = CardConnection(DockedLink(card))
        with pytest.raises(CardRefusedError, match="6982"):
            install(line, firm.custody.channel_keys, firm.update(board))


def test_commands_out_of_order_are_refused(firm, line, board):
    channel = field.SecureChannel.open(line, firm.custody.channel_keys)
    for p1 in (field.P1_SWITCH, 0x7F):
        assert field._install(channel, p1).sw in (0x6985, 0x6A86)
    assert field._install(channel, field.P1_CONFIRM).sw == 0x9000  # nothing to do
    load = field.CommandApdu(0x80, field.INS_LOAD, 0, 0, bytes(4) + bytes(8))
    assert channel.transmit(load).sw == 0x6985


def test_an_update_file_that_was_cut_is_told(firm, board, outputs):
    data = outputs(board, "0.2.0")["update"].read_bytes()
    for bad in (b"", data[:-1], data[:200], b"x" + data, data[:500] + b"!" + data[501:]):
        with pytest.raises(BadInputError):
            Update.parse(bad)
