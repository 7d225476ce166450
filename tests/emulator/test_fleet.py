"""Many cards on one clock."""

from __future__ import annotations

from tallystick.emulator.card import Card
from tallystick.emulator.fleet import Fleet
from tallystick.emulator.mcu import State
from tallystick.tools.bench.fresh import card, image
from tallystick.tools.personalise import personalise

HOUR_MS = 3_600_000


def test_sleeping_cards_have_no_process_and_their_cells_drain_all_the_same():
    with Fleet(image("nucleo_l476rg"), 12) as fleet:
        for one in fleet:
            fleet.with_card(one, personalise)
        fleet.pass_time(HOUR_MS)
        assert fleet.processes() == 0
        codes = [fleet.with_card(one, _code) for one in fleet]
        assert codes == ["755224"] * 12  # RFC 4226, appendix D: the seed is the published one
        assert fleet.processes() > 0
        fleet.pass_time(24 * HOUR_MS)
        assert fleet.processes() == 0
        for one in fleet:
            fleet.with_card(one, lambda device: None)
            assert one.mcu.state is State.ASLEEP
            assert one.clock.now == fleet.now_us
            used = one.supply.used_uah
            assert used["chip asleep"] > 0.35 * 24.9


def test_a_card_of_a_fleet_behaves_as_one_alone():
    with Fleet(image("nucleo_l476rg"), 3) as fleet, card("nucleo_l476rg") as alone:
        alone.power_on()
        personalise(alone)
        for one in fleet:
            fleet.with_card(one, personalise)
        assert fleet.with_card(fleet.cards[2], _code) == _code(alone)


def _code(device: Card) -> str | None:
    device.press()
    return device.read_code()
