"""From a fresh card to an accepted code, and what the chain must refuse."""

import httpx
import pytest

from tallystick.common.errors import RefusedError
from tallystick.emulator.devices.card import Card
from tallystick.tools import fresh
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
def test_codes_of_every_length(
    home: Station, portal: Portal, emulated_card: Card, digits: int
) -> None:
    home.provision(emulated_card, user="alice", digits=digits)
    for _ in range(3):
        code = press(emulated_card)
        assert len(code) == digits
        assert portal.verify("alice", code)["accepted"] is True
        assert portal.verify("alice", code)["reason"] == "replayed"


def test_a_press_while_a_code_is_up_shows_the_same_code(home: Station, emulated_card: Card) -> None:
    home.provision(emulated_card)
    emulated_card.press()
    first = emulated_card.read_code()
    moved = emulated_card.flash.operations
    for _ in range(4):
        emulated_card.press()
        assert emulated_card.read_code() == first
    assert emulated_card.flash.operations == moved


def test_presses_in_a_wallet_stay_inside_the_window(
    home: Station, portal: Portal, emulated_card: Card
) -> None:
    home.provision(emulated_card, user="alice")
    for _ in range(8):
        press(emulated_card)
    assert portal.verify("alice", press(emulated_card))["accepted"] is True


def test_resynchronisation_with_two_codes(
    home: Station, portal: Portal, emulated_card: Card
) -> None:
    home.provision(emulated_card, user="alice")
    for _ in range(40):
        press(emulated_card)
    assert portal.verify("alice", press(emulated_card))["accepted"] is False
    codes = [press(emulated_card), press(emulated_card)]
    assert portal.resynchronise("alice", codes)["accepted"] is True
    assert portal.verify("alice", press(emulated_card))["accepted"] is True


def test_codes_go_on_after_the_cell_was_pulled(
    home: Station, portal: Portal, emulated_card: Card
) -> None:
    home.provision(emulated_card, user="alice")
    seen = {press(emulated_card)}
    for _ in range(5):
        emulated_card.power_off()
        emulated_card.power_on()
        code = press(emulated_card)
        assert code not in seen
        seen.add(code)
        assert portal.verify("alice", code)["accepted"] is True


def test_a_knock_costs_nothing(home: Station, emulated_card: Card) -> None:
    home.provision(emulated_card)
    operations, boots = emulated_card.flash.operations, emulated_card.mcu.boots
    emulated_card.press(4)
    emulated_card.run_for(2_000)
    assert emulated_card.frame().blank
    assert emulated_card.flash.operations == operations
    assert emulated_card.mcu.boots <= boots + 2


def test_a_stuck_button_costs_one_wake(home: Station, emulated_card: Card) -> None:
    home.provision(emulated_card)
    operations, boots = emulated_card.flash.operations, emulated_card.mcu.boots
    emulated_card.hold_down()
    emulated_card.run_for(2 * 86_400_000)
    assert emulated_card.frame().blank
    assert emulated_card.flash.operations == operations
    assert emulated_card.mcu.boots <= boots + 1
    emulated_card.let_go()
    emulated_card.run_for(5_000)
    assert emulated_card.mcu.boots <= boots + 2
    press(emulated_card)


def test_low_and_critical_cell(home: Station, emulated_card: Card) -> None:
    home.provision(emulated_card)
    # The Pico draws 24 mA where the card's chip draws 8: its cell looks emptier under load.
    emulated_card.cell.fixed_mv = 2_800 if emulated_card.board.name == "pico" else 2_550
    emulated_card.press()
    code = emulated_card.read_code()
    assert code is not None
    emulated_card.run_for(12_000)
    assert emulated_card.frame().blank, "a low cell shows a code for a shorter time"
    operations = emulated_card.flash.operations
    emulated_card.cell.fixed_mv = 2_450 if emulated_card.board.name == "pico" else 2_250
    emulated_card.press()
    assert emulated_card.read_code() is None and not emulated_card.frame().blank
    emulated_card.run_for(10_000)
    assert emulated_card.flash.operations == operations, "an empty cell moves nothing"
    emulated_card.cell.fixed_mv = 3_000
    assert press(emulated_card) != code


def test_a_second_card_with_the_same_serial_number_is_refused(home: Station) -> None:
    with fresh.card("pico") as first, fresh.card("pico") as second:
        first.power_on()
        home.provision(first)
        second.power_on()
        with pytest.raises(RefusedError):
            home.provision(second)
        second.press()
        assert second.read_code() is None, "the second card must not keep a seed"


def test_a_card_in_service_is_not_provisioned_again(home: Station, emulated_card: Card) -> None:
    home.provision(emulated_card)
    before = press(emulated_card)
    with pytest.raises(RefusedError):
        home.provision(emulated_card)
    assert press(emulated_card) != before


def test_a_press_on_the_dock_shows_a_code_once(
    home: Station, portal: Portal, emulated_card: Card
) -> None:
    emulated_card.dock()
    emulated_card.press()
    assert emulated_card.read_code() is None and not emulated_card.frame().blank, (
        "a card without a key says so"
    )
    emulated_card.undock()
    home.provision(emulated_card, user="alice")
    emulated_card.dock()
    emulated_card.press()
    code = emulated_card.read_code()
    assert code is not None
    moved = emulated_card.flash.operations
    emulated_card.press()
    assert emulated_card.read_code() == code and emulated_card.flash.operations == moved
    emulated_card.run_for(31_000)
    assert emulated_card.frame().blank
    emulated_card.press()
    assert emulated_card.read_code() != code
    emulated_card.undock()
    assert emulated_card.frame().blank
    assert portal.verify("alice", code)["accepted"] is True


def test_the_way_back_from_an_empty_cell_is_higher_than_the_way_there(
    home: Station, emulated_card: Card
) -> None:
    home.provision(emulated_card)
    sag = (
        16 if emulated_card.board.name == "pico" else 2
    )  # mV that the chip takes from a fresh cell
    emulated_card.cell.fixed_mv = 2_280 + sag
    emulated_card.press()
    assert emulated_card.read_code() is None and not emulated_card.frame().blank
    emulated_card.run_for(10_000)
    emulated_card.cell.fixed_mv = 2_400 + sag
    emulated_card.press()
    assert emulated_card.read_code() is None, "a rested cell is still an empty one"
    emulated_card.run_for(10_000)
    emulated_card.cell.fixed_mv = 2_900 + sag
    press(emulated_card)


def test_asleep_the_card_wakes_for_nothing(home: Station, emulated_card: Card) -> None:
    home.provision(emulated_card)
    press(emulated_card)
    boots = emulated_card.mcu.boots
    emulated_card.run_for(86_400_000)
    assert emulated_card.mcu.boots == boots


def test_a_hold_or_a_press_while_a_code_is_up_changes_neither_the_code_nor_its_time(
    home: Station, emulated_card: Card
) -> None:
    home.provision(emulated_card)
    emulated_card.press()
    code = emulated_card.read_code()
    for ms in (1_700, 120, 120):
        emulated_card.run_for(6_000)
        emulated_card.press(ms)
        assert emulated_card.read_code() == code
    emulated_card.run_for(11_000)
    assert emulated_card.frame().blank
