"""A relay on the serial line: a sample of what `tally campaign wire` does, and of its zoo."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from click.testing import CliRunner

from tallystick.cli import tally
from tallystick.common.errors import BadInputError
from tallystick.emulator.devices.device import FirmwareCrashError
from tallystick.emulator.interpreter import resident
from tallystick.tools.campaign.wire import zoo
from tallystick.tools.campaign.wire.acts import TO_CARD_ACTS, TO_STATION_ACTS
from tallystick.tools.campaign.wire.deeds import TO_CARD, TO_STATION, Deed
from tallystick.tools.campaign.wire.relay import renumbered
from tallystick.tools.campaign.wire.run import Wire, WireTally, line_of, subject
from tests.whole import WHOLE

ALL = (*zoo.CARDS, *zoo.STATIONS)
HUNTED = ALL if WHOLE else [one for one in ALL if one.name == "wire-challenge-again"]


@pytest.fixture(scope="module")
def wire() -> Iterator[Wire]:
    with resident.enabled():
        made = Wire(*subject())
        yield made
        made.close()


def test_a_card_that_is_taken_away_when_it_is_done(wire: Wire) -> None:
    """Nothing is left to finish, and no violation."""
    blocks = wire.scenarios["resume"].blocks
    ends = range(blocks - 6, blocks + 1)
    for at in ends:
        assert wire.run("resume", (Deed.parse(f"<{at}.switch.0"),), WireTally()) == [], at


@pytest.mark.parametrize("name", ["provision", "resume", "reseed", "rekey", "refused", "wipe"])
def test_an_honest_relay_changes_nothing(wire: Wire, name: str) -> None:
    result = WireTally()
    assert wire.run(name, (), result) == []
    assert result.done == (name != "refused")


@pytest.mark.campaign
def test_relays_gain_nothing(wire: Wire) -> None:
    result = WireTally()
    found = []
    for seed in range(5000 if WHOLE else 40):
        name, deeds = wire.draw(seed)
        if WHOLE or name != "update":
            found += [(line_of(name, deeds), one) for one in wire.run(name, deeds, result)]
    assert found == []
    assert result.done < result.runs and len(result.deeds) > 15


def test_every_deed_does_something(wire: Wire) -> None:
    """In every place of the shortest work, one of them."""
    blocks = wire.scenarios["wipe"].blocks
    result = WireTally()
    for number, act in enumerate((*TO_CARD_ACTS, *TO_STATION_ACTS)):
        way = TO_CARD if number < len(TO_CARD_ACTS) else TO_STATION
        deed = Deed(way, number % blocks, act, 7919 * number)
        assert wire.run("wipe", (deed,), result) == [], deed
    assert set(result.deeds) == {*TO_CARD_ACTS, *TO_STATION_ACTS}


@pytest.mark.parametrize("at", range(10, 14))
def test_that_a_seed_is_gone_is_not_taken_on_a_status_word(wire: Wire, at: int) -> None:
    """6984 carries no R-MAC: whoever sits on the line can say it in the card's place."""
    assert wire.run("refused", (Deed.parse(f">{at}.answer.1"),), WireTally()) == []


def test_the_station_that_takes_it_on_a_status_word(wire: Wire) -> None:
    (broken,) = (one for one in zoo.STATIONS if one.name == "word-believed")
    with broken.change():
        found = [wire.run("refused", (Deed.parse(f">{at}.answer.1"),), WireTally())
                 for at in range(10, 14)]  # fmt: skip
    assert any(found)


@pytest.mark.parametrize(
    ("station", "deed"),
    [
        ("proof-unchecked", "<{}.invent.0"),
        ("bare-taken", "<{}.bare.0"),
        ("data-unproved", "<{}.unproved.0"),
        ("cleans-up", "<{}.silence.0"),
        ("in-the-clear", ">{}.edit.99"),
        ("refusal-unheard", ">{}.edit.99"),
        ("serial-believed", "<{}.edit.72"),
    ],
)
def test_a_broken_station_is_caught(wire: Wire, station: str, deed: str) -> None:
    (broken,) = (one for one in zoo.STATIONS if one.name == station)
    with broken.change():
        lines = ((Deed.parse(deed.format(at)),) for at in range(3, 15))
        assert any(wire.run("provision", line, WireTally()) for line in lines)


@pytest.mark.parametrize(
    ("error", "kind"), [(FirmwareCrashError("It stopped."), "firmware"), (ValueError("x"), "crash")]
)
def test_a_card_or_a_station_that_crashes_is_a_violation(wire, monkeypatch, error, kind):
    def act(*_):
        raise error

    monkeypatch.setattr(wire.scenarios["wipe"], "act", act)
    assert [found for found, _ in wire.run("wipe", (), WireTally())] == [kind]


@pytest.mark.campaign
@pytest.mark.parametrize("one", HUNTED, ids=lambda one: one.name)
def test_the_zoo_is_caught(one: zoo.Broken) -> None:
    assert zoo.hunt(one) is not None


@pytest.mark.parametrize("text", ["", ">", "3.drop.0", ">x.drop.0", ">-1.drop.0", ">1.drop"])
def test_what_is_no_deed(text: str) -> None:
    with pytest.raises(BadInputError):
        Deed.parse(text)


def test_the_command() -> None:
    done = CliRunner().invoke(tally, ["campaign", "wire", "--runs", "2", "--jobs", "1", "--json"])
    said = json.loads(done.output)
    assert done.exit_code == 0
    assert (said["runs"], said["violations"]) == (2, 0) and isinstance(said["runs"], int)


def test_a_relay_again() -> None:
    line = "wipe,<4.bare.0"
    done = CliRunner().invoke(tally, ["campaign", "wire", "--replay", line, "--json"])
    assert json.loads(done.output) == {"runs": 1, "violations": 0, "found": []}


@pytest.mark.parametrize("line", ["wipe,>3.fly.0", "wipe,>3.bare.0", "sleep,>3.drop.0", ""])
def test_what_is_no_relay(line: str) -> None:
    done = CliRunner().invoke(tally, ["campaign", "wire", "--replay", line])
    assert isinstance(done.exception, BadInputError) or done.exit_code not in (0, 1)


def test_a_block_that_noise_made_longer_than_a_block_is_still_one() -> None:
    """Two deeds on one block told of a crash that was the relay's own."""
    long = b"\0\0\xfe" + bytes(300) + b"\0\0"
    made = renumbered(long, 1, 0)
    assert made[1] == 0x40 and len(made) == 3 + 255 + 2
    line = "provision,>0.damage.27786,>13.insert.4852,>13.noise.40472,<7.smaller.45188"
    done = CliRunner().invoke(tally, ["campaign", "wire", "--replay", line])
    assert done.exit_code == 0, done.output
