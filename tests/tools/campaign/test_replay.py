"""A line of a campaign goes back to its instant; failures shrink."""

from __future__ import annotations

import io
import json

import pytest
from click.testing import CliRunner

from tallystick.common.errors import BadInputError
from tallystick.tools.campaign.card.workshop import CardWorkshop
from tallystick.tools.campaign.cli import campaign
from tallystick.tools.campaign.commands import replay as replaying
from tallystick.tools.campaign.commands.replay import Replay
from tallystick.tools.campaign.commands.zoo import find
from tallystick.tools.campaign.engine.explore import explore, record
from tallystick.tools.campaign.engine.line import Line
from tallystick.tools.campaign.engine.shrink import shrink, weight
from tests.tools.campaign.conftest import workshop_of


def test_a_line_is_reached_without_living_through_a_card_s_life(pico: CardWorkshop) -> None:
    """The scenario starts from a state that is kept: one press up to the cut, at the fourth
    operation, then the oracle's two starts and three operations. Each further time, too."""
    one = Replay(pico, "pico/press/1/3p44")
    device = one.rig.device
    for _ in range(3):
        boots, operations = device.mcu.boots, device.flash.operations
        assert one.go().reached_in_ms > 0
        assert device.mcu.boots - boots == 3
        assert device.flash.operations - operations == 7
    one.close()


@pytest.mark.parametrize("line", ["pico/wipe-and-reseed/1/2nz", "nucleo_l476rg/press/1/60a"])
def test_both_sides_of_a_cut_are_shown(line: str) -> None:
    one = Replay(workshop_of(line.split("/", maxsplit=1)[0]), line)
    result = one.go()
    one.close()
    assert result.kind == ""
    assert any(" power cut " in row for row in result.trace)
    assert result.trace_after
    assert result.after


def test_before_and_after_are_what_flash_held(pico: CardWorkshop) -> None:
    one = Replay(pico, "pico/press/1/3p44")
    result = one.go()
    one.close()
    ((_, content),) = result.after.items()
    assert result.before == {}  # a blank slot
    assert len(content) == 88


def test_a_cut_in_a_recovery(pico: CardWorkshop) -> None:
    one = Replay(pico, "pico/press/1/3p44/0s4.5/1b")
    result = one.go()
    one.close()
    assert result.kind == ""
    assert result.operation.startswith("program")


def test_a_cut_at_rest_reads_weak_bits_anew() -> None:
    """A campaign gives it as a state of its own, and its line leads to the same state."""
    workshop = workshop_of("nucleo_l476rg")
    scenario = workshop.scenario("press")
    rig = workshop.rig(scenario.start)
    weak = [node for node in record(workshop, rig, scenario, 1).nodes if node.flash.weak]
    rested = [
        child
        for node in weak[:40]
        for child in explore(workshop, rig, node, scenario, 1, deeper=0).children
    ]
    rig.close()
    assert len(rested) == len(weak[:40])
    still = [child for child in rested if child.flash.weak]
    assert still
    for child in still[:3]:
        one = Replay(workshop, "/".join((workshop.image.board.name, "press", "1", *child.path)))
        result = one.go()
        assert one.reached is not None
        one.close()
        assert one.reached.digest == child.digest
        assert result.kind == ""
        assert result.fault.startswith("cut when all is done")


@pytest.mark.parametrize(
    "line",
    [
        # Writes that failed, and starts that took what they left for codes that were shown.
        "pico/provisioning/1/6f/7s1.649/5p176",
        "pico/press-at-lap/1/2p176/3f/13a",
        # The only record of a sector rotted, and the start that counted it erased that sector.
        "nucleo_l476rg/press-at-lap/1/69r8.15/11b",
    ],
)
def test_what_a_campaign_once_found_stays_mended(line: str) -> None:
    one = Replay(workshop_of(line.partition("/")[0]), line)
    result = one.go()
    one.close()
    assert (result.kind, result.verdict) == ("", "")


@pytest.mark.parametrize("line", ["", "pico", "pico/press/x", "pico/nothing/1", "pico/press/1/b"])
def test_what_is_no_line_is_refused(pico: CardWorkshop, line: str) -> None:
    with pytest.raises(BadInputError):
        Replay(pico, line).go()


@pytest.mark.parametrize(
    "line",
    ["pico/nothing/1", "pico/press/1/b", "pico/press/1/0b", "pico/press/1/99b", "pico/press/1"],
)
def test_what_does_not_fail_is_not_shrunk(pico: CardWorkshop, line: str) -> None:
    """Nor what is no line: it was a traceback once."""
    with pytest.raises(BadInputError, match=r"no line of a campaign|does not fail any more"):
        shrink(pico, line)


def test_a_line_is_what_it_was_made_of() -> None:
    line = Line.parse(" pico/press/1/3p44/0b\n")
    assert str(line) == "pico/press/1/3p44/0b"
    assert line.steps() == [(3, "p44"), (0, "b")]


def test_an_operation_that_never_comes(pico: CardWorkshop) -> None:
    one = Replay(pico, "pico/press/1/99b")
    with pytest.raises(BadInputError, match="does not come to"):
        one.go()
    one.close()


@pytest.mark.parametrize("side", ["before", "after"])
def test_a_prompt_in_the_firmware(
    pico: CardWorkshop,
    side: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    one = Replay(pico, "pico/press/1/3p44")
    monkeypatch.setattr("sys.stdin", io.StringIO("import board\nboard.NAME\n1 // 0\n\n"))
    replaying.prompt(one, side)
    one.close()
    out = capsys.readouterr().out
    assert "'pico'" in out
    assert "ZeroDivisionError" in out


def test_a_failure_shrinks_to_the_shortest_one() -> None:
    with find("show-before-commit").firmware() as root:
        workshop = CardWorkshop.of("pico", root)
    short = shrink(workshop, "pico/press/1/4xo7.3")
    assert short.cuts == 1
    assert short.kind == "replay"
    assert short.line.endswith(("a", "b"))
    assert weight(("2b",)) < weight(("2p4",)) < weight(("0b", "0b"))


def test_the_command_tells_by_its_exit_status(pico: CardWorkshop) -> None:
    runner = CliRunner()
    good = runner.invoke(campaign, ["replay", "pico/press/1/2a", "--json"])
    assert good.exit_code == 0, good.output
    assert json.loads(good.stdout)["line"] == "pico/press/1/2a"
    bad = runner.invoke(campaign, ["replay", "pico/press/1/2b", "--zoo", "show-before-commit"])
    assert bad.exit_code == 1
    assert "shown again" in bad.output


@pytest.mark.parametrize("line", ["garbage", "pico", "pico/press"])
def test_what_is_no_line_is_no_unknown_board_either(line: str) -> None:
    result = CliRunner().invoke(campaign, ["replay", line])
    assert result.exit_code != 0
    assert isinstance(result.exception, BadInputError)
    assert "no line of a campaign" in result.exception.what
