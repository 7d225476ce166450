"""A card whose flash fails while it is in the dock, or whose boot record is damaged."""

from __future__ import annotations

import pytest

from tallystick.common.identity import DEVELOPMENT_MASTER
from tallystick.emulator import boards
from tallystick.emulator.parts.nor_flash import Failure
from tallystick.provisioning.card.connection import CardConnection, CommandApdu, StatusWord
from tallystick.provisioning.card.issuer import IssuerSession, LifeCycle
from tallystick.provisioning.card.oath import OathSession, select_oath
from tallystick.provisioning.card.scp03 import SecureChannel
from tallystick.provisioning.custody.keyfile import KeyRing
from tallystick.provisioning.custody.software import SoftwareCustody
from tallystick.tools.campaign.engine.subject import image_under_test
from tallystick.tools.docked import DockedLink
from tallystick.tools.flash.field import P1_CONFIRM, P1_LOAD
from tallystick.tools.image.build import build
from tallystick.tools.personalise import personalise
from tests.provisioning.emulated import emulated_card

GET_IMAGE = CommandApdu(0x80, 0xCA, 0xDF, 0x25)


@pytest.fixture(scope="module")
def image():
    return image_under_test("card", boards.DEFAULT, None, readable=False)


@pytest.fixture
def card(image):
    with emulated_card(image) as card:
        personalise(card)
        yield card


def wear_out(card):
    card.flash.can_fail = True
    card.flash.fault_plan = lambda operation: Failure(operation.old)


def channel_of(connection):
    custody = SoftwareCustody(KeyRing.create(DEVELOPMENT_MASTER))
    select_oath(connection)
    return SecureChannel.open(connection, custody.channel_keys), custody


def test_a_worn_card_says_so_on_the_dock_as_off_it(card):
    wear_out(card)
    card.press()
    off_the_dock = card.frame()
    card.run_for(40_000)
    with CardConnection(DockedLink(card)) as connection:
        card.press()
        assert card.frame() == off_the_dock and not off_the_dock.blank
        assert IssuerSession(connection).serial() == "TS00000001"


def test_commands_of_a_worn_card_name_its_flash_and_it_goes_on(card):
    with CardConnection(DockedLink(card)) as connection:
        channel, _ = channel_of(connection)
        wear_out(card)
        erase = CommandApdu(0, 0x04, 0xDE, 0xAD)
        assert channel.transmit(erase).sw == StatusWord.FLASH_FAILURE
        assert [entry.name for entry in OathSession(channel).list()] == ["TS00000001"]


def test_a_worn_card_started_on_the_dock_stops_without_a_crash(card):
    wear_out(card)
    card.power_off()
    card.power_on()  # a crash of the firmware would be raised here
    assert not card.frame().blank
    DockedLink(card)
    card.run_for(20_000)


@pytest.fixture
def damaged(card):
    """With keys of a firm, and a boot record of which nothing is whole."""
    with CardConnection(DockedLink(card)) as connection:
        channel, custody = channel_of(connection)
        update = channel.update
        keys = custody.firm_keys(update.key_version, update.diversification_data)
        IssuerSession(channel).put_key(1, keys)
        region = card.board.record
        half = region.size // 2
        card.flash.load(region.address + half, b"\x55" * half)
        yield connection, custody


def test_a_damaged_boot_record_is_a_failure_of_flash(damaged):
    connection, _ = damaged
    assert connection.transmit(GET_IMAGE).sw == StatusWord.FLASH_FAILURE


def test_no_update_begins_on_a_damaged_boot_record_and_the_session_stays(damaged, image):
    connection, custody = damaged
    channel = SecureChannel.open(connection, custody.channel_keys)
    signed = build("card", image.board.name, "0.2.0").header
    for p1, data in ((P1_LOAD, signed), (P1_CONFIRM, b"")):
        refused = channel.transmit(CommandApdu(0x80, 0xE6, p1, 0, data))
        assert refused.sw == StatusWord.FLASH_FAILURE
    assert IssuerSession(channel).life_cycle() is LifeCycle.INITIALIZED
