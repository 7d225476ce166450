"""Back to an instant of a firm: what is there to look at, and that it is as it was."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner

from tallystick.cli import tally
from tallystick.common.errors import BadInputError
from tallystick.common.identity import Identity
from tallystick.emulator import boards
from tallystick.emulator.devices.card import Card
from tallystick.tools import fresh
from tallystick.tools.campaign.firm import replaying
from tallystick.tools.campaign.firm.ground import FirmChance, FirmClock, House
from tallystick.tools.campaign.firm.portal import IN, PASSWORD, PortalBrowser, TypedKind
from tallystick.tools.campaign.firm.replaying import FirmInstant, seconds_of

LINE = "firm,cards=2,readers=0,days=1,faults=none,seed=1"


@pytest.fixture(scope="module")
def instant(tmp_path_factory: pytest.TempPathFactory) -> FirmInstant:
    folder = tmp_path_factory.mktemp("replay") / "new"
    return replaying.go(LINE, fresh.image(boards.DEFAULT), folder, until="day 0, 12:00")


def test_nothing_that_comes_later_has_happened(instant: FirmInstant) -> None:
    assert instant.result.violations == []  # what is written for whoever looks is none of it
    story = (instant.folder / "story.txt").read_text(encoding="utf-8").splitlines()
    assert story == [str(one) for one in instant.result.told]
    assert story and max(one.at for one in instant.result.told) <= 12 * 3600 + 59
    with closing(sqlite3.connect(instant.folder / "server.db")) as database:
        (newest,) = database.execute("SELECT MAX(at_ms) FROM audit").fetchone()
    assert newest / 1000 <= instant.at


def test_each_card_is_as_it_was(instant: FirmInstant) -> None:
    serial = "TS00000001"
    assert (instant.folder / f"{serial}.png").read_bytes().startswith(b"\x89PNG")
    identity = Identity.derive(serial, 20260101).encode()
    with Card(fresh.image(boards.DEFAULT), identity=identity) as card:
        card.flash.memory[:] = (instant.folder / f"{serial}.flash").read_bytes()
        card.power_on()
        card.press()
        assert card.read_code() is not None


def test_the_pages_are_as_they_were_for_an_administrator_more(instant: FirmInstant) -> None:
    pages = instant.folder / replaying.PAGES
    pages.mkdir()
    for name in ("server.db", "server.keys"):
        (pages / name).touch(mode=0o600)
        (pages / name).write_bytes((instant.folder / name).read_bytes())
    before = (instant.folder / "server.db").read_bytes()
    code = replaying._let_look(pages, instant.at)
    house = House(pages, FirmClock(instant.at), FirmChance(0))
    with closing(house), closing(PortalBrowser(house, "127.0.0.1")) as browser:
        assert browser.log_in(replaying.ONLOOKER, PASSWORD, TypedKind.TOTP, lambda: code) == IN
        browser._get("/p/default/people")
        assert "p0001" in browser.page
    assert (instant.folder / "server.db").read_bytes() == before


def test_the_keys_are_for_their_owner_alone(instant: FirmInstant) -> None:
    assert (instant.folder / "server.keys").stat().st_mode & 0o077 == 0


def test_what_to_open_is_said(instant: FirmInstant) -> None:
    words = (instant.folder / "README.txt").read_text(encoding="utf-8")
    for one in ("tally emulate card --flash", "--serve 0", "--at 'day 0, 12:00'", "server.db"):
        assert one in words


def test_a_planted_bug_is_replayed(tmp_path: Path) -> None:
    ask = ["campaign", "replay", LINE, "--keep", str(tmp_path), "--zoo", "never-locked", "--json"]
    result = CliRunner().invoke(tally, ask)
    assert result.exit_code == 1, result.output
    said = json.loads(result.stdout)
    assert said["found"] and said["told"] and said["folder"] == str(tmp_path)
    readme = (tmp_path / "README.txt").read_text(encoding="utf-8")
    assert f"'{LINE}' --zoo never-locked --keep" in readme


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("day 0, 00:00", 59), ("day 3, 09:14", 3 * 86400 + 9 * 3600 + 14 * 60 + 59),
     ("3 9:14:30", 3 * 86400 + 9 * 3600 + 14 * 60 + 30)],
)  # fmt: skip
def test_an_instant_is_written_as_stories_do(text: str, seconds: int) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "noon", "day 1", "day 1, 24:00", "day 1, 10:60", "-1 10:00"])
def test_what_is_no_instant_is_refused(text: str) -> None:
    with pytest.raises(BadInputError, match="no instant"):
        seconds_of(text)


def _refused(*words: str) -> str:
    result = CliRunner().invoke(tally, ["campaign", "replay", *words])
    assert isinstance(result.exception, BadInputError)
    return result.exception.what


def test_a_folder_of_others_is_not_touched(tmp_path: Path) -> None:
    mine = tmp_path / "mine.txt"
    mine.write_text("mine", encoding="utf-8")
    assert "holds files that are no replay's" in _refused(LINE, "--keep", str(tmp_path))
    assert [one.name for one in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([LINE, "--prompt", "after"], "takes --at, --keep"),
        ([LINE, "--shrink"], "takes --at, --keep"),
        (["pico/press/1/3p44", "--at", "day 0, 10:00"], "are for a firm's line"),
        ([LINE, "--zoo", "no-such"], "No bug called"),
        (["firm,cards=1"], "is no line"),
    ],
)
def test_what_does_not_go_together_is_refused(words: list[str], said: str, tmp_path: Path) -> None:
    folder = tmp_path / "no-such-folder"
    more = [] if "--at" in words else ["--keep", str(folder)]
    assert said in _refused(*words, *more)
    assert not folder.exists()
