"""What is refused before anything goes to a card, each for its own reason."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tallystick.common.errors import RefusedError
from tallystick.provisioning.card.connection import CardConnection
from tallystick.tools.docked import DockedLink
from tallystick.tools.flash import field
from tallystick.tools.flash.field import SlotState, Update, install, running
from tallystick.tools.image.header import StateFormats
from tallystick.tools.image.keys import SigningKey

BOARD = "pico"


@pytest.fixture
def card_in_the_field(firm):
    with firm.card(BOARD) as card:
        yield card


@pytest.fixture
def line(card_in_the_field):
    return CardConnection(DockedLink(card_in_the_field))


def changed(update: Update, **change: object) -> Update:
    header = replace(update.header, **change)
    plain = header.encode()
    return Update(header, plain + SigningKey.development().sign(plain), update.file_system)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"device": "reader"}, "is for a reader on pico; this is a card on pico"),
        ({"board": "pico2_card"}, "is for a card on pico2_card; this is a card on pico"),
        ({"device": "reader", "board": "pico2"}, "is for a reader on pico2; this is"),
    ],
)
def test_an_update_for_another_device_or_board(firm, card_in_the_field, line, change, words):
    """Nothing is sent, not even the signature: the card's flash is as it was."""
    operations = card_in_the_field.flash.operations
    with pytest.raises(RefusedError, match=words) as caught:
        install(line, firm.custody.channel_keys, changed(firm.update(BOARD), **change))
    assert caught.value.kept == "Nothing was sent to it."
    assert f"--board {BOARD}" in caught.value.todo
    assert card_in_the_field.flash.operations == operations


def test_an_update_below_the_floor_is_not_sent(firm, card_in_the_field, line):
    install(line, firm.custody.channel_keys, firm.update(BOARD, security=3))
    operations = card_in_the_field.flash.operations
    with pytest.raises(RefusedError, match=r"security version 2; this card takes none below 3"):
        install(line, firm.custody.channel_keys, firm.update(BOARD, "0.3.0", security=2))
    assert card_in_the_field.flash.operations == operations
    assert running(line).header.version == "0.2.0"


def test_an_update_that_cannot_read_the_cards_state_is_not_sent(firm, card_in_the_field, line):
    update = changed(firm.update(BOARD), formats=StateFormats(2, 3))
    operations = card_in_the_field.flash.operations
    with pytest.raises(RefusedError, match="state has format 1; the update reads 2") as caught:
        install(line, firm.custody.channel_keys, update)
    assert "Nothing was sent" in caught.value.kept
    assert card_in_the_field.flash.operations == operations


def test_the_session_keys_are_forgotten_after_an_update(firm, line, monkeypatch):
    made = []
    genuine = field.SecureChannel.open

    def kept(*arguments, **named):
        channel = genuine(*arguments, **named)
        made.append(channel)
        return channel

    monkeypatch.setattr(field.SecureChannel, "open", kept)
    install(line, firm.custody.channel_keys, firm.update(BOARD))
    assert len(made) == 2
    assert not any(any(vars(channel._keys).values()) for channel in made)


def test_a_card_that_went_back_while_it_was_on_trial(firm, card_in_the_field, line, monkeypatch):
    """It lost its supply before it was confirmed, and runs what it ran before."""
    genuine = line.t1.resynchronise

    def with_a_cut():
        genuine()
        card_in_the_field.power_off()
        card_in_the_field.power_on()
        genuine()

    monkeypatch.setattr(line.t1, "resynchronise", with_a_cut)
    opened = []
    genuine_open = field.SecureChannel.open

    def counted(*words, **more):
        opened.append(genuine_open(*words, **more))
        return opened[-1]

    monkeypatch.setattr(field.SecureChannel, "open", counted)
    with pytest.raises(RefusedError, match="went back to the one before") as caught:
        install(line, firm.custody.channel_keys, firm.update(BOARD))
    assert "untouched" in caught.value.kept
    assert len(opened) == 1  # it is not confirmed, and so not authenticated to again
    assert (running(line).slot, running(line).state) == (0, SlotState.CONFIRMED)
