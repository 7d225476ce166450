"""From a fresh card to an accepted code, and what the chain must refuse."""

import httpx
import pytest

from tallystick.common.errors import RefusedError
from tallystick.emulator.devices.card import Card
from tallystick.tools.bench import fresh
from tallystick.tools.bench.station import Station


class Portal:
    """A service that verifies codes."""

    def __init__(self, home: Station) -> None:
        self._url = home.server.url
        self._token = home.server.add_credential("service", "portal").token.reveal().decode()

    def _post(self, path: str, body: dict[str, object]) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self._token}"}
        return httpx.post(self._url + path, json=body, headers=headers)

    def verify(self, user: str, code: str) -> dict[str, object]:
        result: dict[str, object] = self._post("/v1/verify", {"user": user, "code": code}).json()
        return result

    def resynchronise(self, user: str, codes: list[str]) -> dict[str, object]:
        body: dict[str, object] = {"user": user, "codes": codes}
        result: dict[str, object] = self._post("/v1/resynchronise", body).json()
        return result


@pytest.fixture
def portal(home: Station) -> Portal:
    return Portal(home)


def press(card: Card) -> str:
    card.press()
    code = card.read_code()
    assert code is not None
    card.run_for(31_000)
    assert card.display.errors == [], "the panel was driven as its data sheet asks"
    assert card.frame().blank, "no code may stay on the glass"
    return code


@pytest.mark.parametrize("digits", [6, 7, 8])
def test_codes_of_every_length(home: Station, portal: Portal, card: Card, digits: int) -> None:
    home.provision(card, user="alice", digits=digits)
    for _ in range(3):
        code = press(card)
        assert len(code) == digits
        assert portal.verify("alice", code)["accepted"] is True
        assert portal.verify("alice", code)["reason"] == "replayed"


def test_a_press_while_a_code_is_up_shows_the_same_code(home: Station, card: Card) -> None:
    home.provision(card)
    card.press()
    first = card.read_code()
    moved = card.flash.operations
    for _ in range(4):
        card.press()
        assert card.read_code() == first
    assert card.flash.operations == moved


def test_presses_in_a_wallet_stay_inside_the_window(
    home: Station, portal: Portal, card: Card
) -> None:
    home.provision(card, user="alice")
    for _ in range(8):
        press(card)
    assert portal.verify("alice", press(card))["accepted"] is True


def test_resynchronisation_with_two_codes(home: Station, portal: Portal, card: Card) -> None:
    home.provision(card, user="alice")
    for _ in range(40):
        press(card)
    assert portal.verify("alice", press(card))["accepted"] is False
    codes = [press(card), press(card)]
    assert portal.resynchronise("alice", codes)["accepted"] is True
    assert portal.verify("alice", press(card))["accepted"] is True


def test_codes_go_on_after_the_cell_was_pulled(home: Station, portal: Portal, card: Card) -> None:
    home.provision(card, user="alice")
    seen = {press(card)}
    for _ in range(5):
        card.power_off()
        card.power_on()
        code = press(card)
        assert code not in seen
        seen.add(code)
        assert portal.verify("alice", code)["accepted"] is True


def test_a_knock_costs_nothing(home: Station, card: Card) -> None:
    home.provision(card)
    operations, boots = card.flash.operations, card.mcu.boots
    card.press(4)
    card.run_for(2_000)
    assert card.frame().blank
    assert card.flash.operations == operations
    assert card.mcu.boots <= boots + 2


def test_a_stuck_button_costs_one_wake(home: Station, card: Card) -> None:
    home.provision(card)
    operations, boots = card.flash.operations, card.mcu.boots
    card.hold_down()
    card.run_for(2 * 86_400_000)
    assert card.frame().blank
    assert card.flash.operations == operations
    assert card.mcu.boots <= boots + 1
    card.let_go()
    card.run_for(5_000)
    assert card.mcu.boots <= boots + 2
    press(card)


def test_low_and_critical_cell(home: Station, card: Card) -> None:
    home.provision(card)
    # The Pico draws 24 mA where the card's chip draws 8: its cell looks emptier under load.
    card.cell.fixed_mv = 2_800 if card.board.name == "pico" else 2_550
    card.press()
    code = card.read_code()
    assert code is not None
    card.run_for(12_000)
    assert card.frame().blank, "a low cell shows a code for a shorter time"
    operations = card.flash.operations
    card.cell.fixed_mv = 2_450 if card.board.name == "pico" else 2_250
    card.press()
    assert card.read_code() is None and not card.frame().blank
    card.run_for(10_000)
    assert card.flash.operations == operations, "an empty cell moves nothing"
    card.cell.fixed_mv = 3_000
    assert press(card) != code


def test_a_second_card_with_the_same_serial_number_is_refused(home: Station) -> None:
    with fresh.card("pico") as first, fresh.card("pico") as second:
        first.power_on()
        home.provision(first)
        second.power_on()
        with pytest.raises(RefusedError):
            home.provision(second)
        second.press()
        assert second.read_code() is None, "the second card must not keep a seed"


def test_a_card_in_service_is_not_provisioned_again(home: Station, card: Card) -> None:
    home.provision(card)
    before = press(card)
    with pytest.raises(RefusedError):
        home.provision(card)
    assert press(card) != before


def test_a_press_on_the_dock_shows_a_code_once(home: Station, portal: Portal, card: Card) -> None:
    card.dock()
    card.press()
    assert card.read_code() is None and not card.frame().blank, "a card without a key says so"
    card.undock()
    home.provision(card, user="alice")
    card.dock()
    card.press()
    code = card.read_code()
    assert code is not None
    moved = card.flash.operations
    card.press()
    assert card.read_code() == code and card.flash.operations == moved
    card.run_for(31_000)
    assert card.frame().blank
    card.press()
    assert card.read_code() != code
    card.undock()
    assert card.frame().blank
    assert portal.verify("alice", code)["accepted"] is True


def test_the_way_back_from_an_empty_cell_is_higher_than_the_way_there(
    home: Station, card: Card
) -> None:
    home.provision(card)
    sag = 290 if card.board.name == "pico" else 100  # mV that the chip takes from a fresh cell
    card.cell.fixed_mv = 2_280 + sag
    card.press()
    assert card.read_code() is None and not card.frame().blank
    card.run_for(10_000)
    card.cell.fixed_mv = 2_400 + sag
    card.press()
    assert card.read_code() is None, "a rested cell is still an empty one"
    card.run_for(10_000)
    card.cell.fixed_mv = 2_900 + sag
    press(card)


def test_asleep_the_card_wakes_for_nothing(home: Station, card: Card) -> None:
    home.provision(card)
    press(card)
    boots = card.mcu.boots
    card.run_for(86_400_000)
    assert card.mcu.boots == boots


def test_a_hold_or_a_press_while_a_code_is_up_changes_neither_the_code_nor_its_time(
    home: Station, card: Card
) -> None:
    home.provision(card)
    card.press()
    code = card.read_code()
    for ms in (1_700, 120, 120):
        card.run_for(6_000)
        card.press(ms)
        assert card.read_code() == code
    card.run_for(11_000)
    assert card.frame().blank
