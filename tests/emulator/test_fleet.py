"""Many cards on one clock."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tallystick.emulator.chip.mcu import ChipState
from tallystick.emulator.devices.card import Card
from tallystick.emulator.devices.fleet import Fleet
from tallystick.emulator.parts.flash_memory import FlashPool
from tallystick.emulator.parts.nor_flash import FlashTiming, NorFlash
from tallystick.tools.fresh import card, image
from tallystick.tools.personalise import personalise

HOUR_MS = 3_600_000
TIMING = FlashTiming(
    program_unit=8, program_us=1, sector=4096, erase_us=1, program_ua=1, erase_ua=1, endurance=9
)


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
            assert one.mcu.state is ChipState.ASLEEP
            assert one.clock.now == fleet.now_us
            used = one.supply.used_uah
            assert used["chip asleep"] > 0.064 * 24.9


def test_asleep_only_what_differs_from_the_image_is_kept():
    with Fleet(image("nucleo_l476rg"), 8) as fleet:
        for one in fleet:
            fleet.with_card(one, personalise)
            fleet.with_card(one, Card.press)
            fleet.pass_time(HOUR_MS)
        assert [len(one.flash.kept) for one in fleet] == [2] * 8  # identity, journal
        assert fleet.pool.idle == 1  # one piece of memory has served them all


@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.integers(0, 15), st.binary(min_size=8, max_size=8)),
        max_size=30,
    ),
    st.sets(st.integers(0, 30)),
)
def test_flashes_of_a_pool_do_not_see_one_another(programs, put_away_after):
    """Three flashes in turn, put away now and then, against three that are alone."""
    first = bytes(range(256)) * 256
    pool = FlashPool(first)
    together = [NorFlash(len(first), TIMING, pool=pool) for _ in range(3)]
    alone = [NorFlash(len(first), TIMING) for _ in range(3)]
    for flash in alone:
        flash.load(0, first)
    for number, (which, sector, data) in enumerate(programs):
        for flash in (together[which], alone[which]):
            if data[0] & 1:
                flash.erase(sector * 4096)
            flash.program(sector * 4096 + data[1] // 8 * 8, data)
        if number in put_away_after:
            together[which].put_away()
    assert [flash.memory[:] for flash in together] == [flash.memory[:] for flash in alone]
    for flash in (*together, *alone):
        flash.close()
    pool.close()


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
