"""A firm on one clock: the same seed gives the same bytes, nothing is wrong with what ships, and
what is broken on purpose is seen."""

from __future__ import annotations

import base64
import html.parser
import json
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyotp
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from tallystick.cli import tally
from tallystick.common.errors import BadInputError, ExitCode
from tallystick.emulator import boards
from tallystick.server.accounts.policy import FirmPolicy
from tallystick.tools import fresh
from tallystick.tools.campaign.firm import acts, command, film, parts, thumbs, zoo
from tallystick.tools.campaign.firm.asked import ServerSaid
from tallystick.tools.campaign.firm.oracle import Judge, end_of_day
from tallystick.tools.campaign.firm.run import FirmResult, simulate
from tallystick.tools.campaign.firm.script import (
    CHANGE_DAY,
    Level,
    Mishap,
    SimulatedFirm,
    Verb,
    script,
)
from tallystick.tools.campaign.firm.sites import FirmTally, sites
from tallystick.tools.campaign.firm.soak import FORMAT, Soaked, _alone_with, soak
from tallystick.tools.campaign.firm.story import FirmLine, FirmStory
from tallystick.tools.campaign.firm.world import START, FirmEvent
from tests.whole import WHOLE, long

LIVELY = SimulatedFirm(cards=12, readers=1, days=3, level=Level.HIGH, seed=250)
"""Of three days with nearly everything that can happen."""
HUNTED = zoo.ALL if WHOLE else [zoo.find(name) for name in ("used-again", "never-locked")]
FIRMS = st.builds(
    SimulatedFirm,
    cards=st.integers(1, 300),
    readers=st.integers(0, 10),
    days=st.integers(1, 30),
    level=st.sampled_from(Level),
    seed=st.integers(0, 2**31),
)


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> tuple[FirmResult, Path]:
    folder = tmp_path_factory.mktemp("firm")
    return simulate(LIVELY, image=fresh.image(boards.DEFAULT), keep=folder), folder


def test_nothing_is_wrong_with_what_ships(lived: tuple[FirmResult, Path]) -> None:
    result, _ = lived
    assert result.violations == []
    counts = result.counts
    assert counts.presses > 5 and counts.log_ins > 5 and counts.thumbs and counts.portal
    assert counts.calls and counts.recoveries and counts.lost_connections and counts.heard > 10_000
    assert result.faults and result.simulated_hours > 40
    told = " ".join(one.words for one in result.told)
    for said in (
        "loses its power while it writes", "The card lost power", "is away for",
        "way to the server",
        "database is gone", "desk lends", "is found again", "a copy of card",
        "is full", "clock is", "and is barred",
    ):  # fmt: skip
        assert said in told


def test_the_same_seed_gives_the_same_bytes_in_another_process(
    lived: tuple[FirmResult, Path], tmp_path: Path
) -> None:
    first, folder = lived
    words = str(FirmLine(LIVELY))
    asked = subprocess.run(
        [sys.executable, "-m", "tallystick.cli", "campaign", "firm", "--replay", words, "--json",
         "--keep", str(tmp_path)],
        capture_output=True, check=True, text=True,
        env={**os.environ, "PYTHONHASHSEED": "77"}, encoding="utf-8",
    )  # fmt: skip
    told = json.loads(asked.stdout)
    assert told["told"] == [str(one) for one in first.told]
    assert {"TS00000001.flash", "TR00000001.flash"} <= {file.name for file in folder.iterdir()}
    for file in folder.iterdir():
        assert (tmp_path / file.name).read_bytes() == file.read_bytes(), file.name


@long
@pytest.mark.slow
def test_a_device_that_spares_the_host_gives_the_same_bytes(
    lived: tuple[FirmResult, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that did now work for themselves, and the other way."""
    for module in (parts, thumbs):
        monkeypatch.setattr(module, "spared", lambda number: number % 10 == 0)
    other = simulate(LIVELY, image=fresh.image(boards.DEFAULT))
    first, _ = lived
    assert [str(one) for one in other.told] == [str(one) for one in first.told]
    assert other.digest == first.digest


def test_a_busy_machine_gives_the_same_bytes_and_nothing_runs_beside_it(
    lived: tuple[FirmResult, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each look at this computer's clocks costs it up to seconds. No thread but the one that looks
    whether a firmware loops for ever, which changes nothing of one that does not."""
    started: list[str] = []
    genuine = threading.Thread.start
    uneven, lost = random.Random(5), [0.0]

    def start(thread: threading.Thread) -> None:
        started.append(thread.name)
        genuine(thread)

    def busy(clock: Callable[[], float]) -> Callable[[], float]:
        def late() -> float:
            lost[0] += uneven.choice((0.0, 0.001, 2.5))
            return clock() + lost[0]

        return late

    image = fresh.image(boards.DEFAULT)
    monkeypatch.setattr(threading.Thread, "start", start)
    for name in ("time", "monotonic", "perf_counter"):
        monkeypatch.setattr(time, name, busy(getattr(time, name)))
    result = simulate(LIVELY, image=image)
    assert result.violations == [] and result.counts.portal
    assert lost[0] > 3600 and set(started) <= {"silence"}
    first, _ = lived
    assert [str(one) for one in result.told] == [str(one) for one in first.told]
    assert result.digest == first.digest and result.counts == first.counts


def test_nearly_everything_happens_in_it_and_all_of_it_is_carried_out() -> None:
    assert set(acts._ACTS) == {*Verb, *Mishap}
    assert len({act.what for act in script(LIVELY)}) >= len(acts._ACTS) - 2


def test_another_seed_gives_another_story() -> None:
    assert script(LIVELY) != script(replace(LIVELY, seed=5))


@pytest.mark.campaign
def test_each_planted_bug_is_seen_and_its_story_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zoo, "ALL", tuple(HUNTED))
    asked = CliRunner().invoke(tally, ["campaign", "firm", "--zoo", "--jobs", "2", "--json"])
    found = json.loads(asked.stdout)
    assert [one["name"] for one in found] == [one.name for one in HUNTED]
    assert [one["name"] for one in found if not one["caught"]] == [] and asked.exit_code == 0
    assert [one for one in found if one["acts"] > 12 or not one["story"]] == []


def test_a_bug_that_is_not_seen_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    class Pool:
        """In place of processes, each of which finds nothing."""

        def __init__(self, _jobs: int) -> None:
            pass

        def __enter__(self) -> Pool:
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def in_order(self, _work: object, names: list[str]) -> list[None]:
            return [None for _ in names]

    monkeypatch.setattr(command, "worker_pool", Pool)
    asked = CliRunner().invoke(tally, ["campaign", "firm", "--zoo"])
    assert asked.exit_code == ExitCode.FAILED
    assert "NOT CAUGHT" in asked.stderr


def test_there_are_fifteen_planted_bugs_in_all_three() -> None:
    assert len(zoo.FIRMWARE) >= 4 and len(zoo.SERVER) >= 14 and len(zoo.STATIONS) >= 7
    assert len(zoo.ALL) >= 15
    assert len({one.name for one in zoo.ALL}) == len(zoo.ALL)


@given(FIRMS)
def test_a_script_is_in_the_order_of_time_and_numbered(firm: SimulatedFirm) -> None:
    acts = script(firm)
    assert [act.number for act in acts] == list(range(len(acts)))
    assert acts == sorted(acts, key=lambda act: (act.at, act.number))
    assert sum(act.what == Verb.PROVISION for act in acts) == firm.cards
    troubles = {act.what for act in acts} & set(Mishap)
    assert bool(troubles) == (firm.level is not Level.NONE)


@given(FIRMS, st.none() | st.lists(st.integers(0, 50), min_size=1, max_size=9))
def test_a_line_says_which_firm_and_which_acts(firm: SimulatedFirm, acts: list[int] | None) -> None:
    line = FirmLine(firm, None if acts is None else tuple(acts))
    assert FirmLine.parse(str(line)) == line


@pytest.mark.parametrize(
    "line",
    [
        "", "firm", "press,board=pico", "firm,cards=x,readers=0,days=1,faults=low,seed=1",
        "firm,cards=1,readers=0,days=1,faults=much,seed=1",
        "firm,cards=1,cards=1,readers=0,days=1,faults=low,seed=1",
        "firm,cards=1,readers=0,days=1,faults=low,seed=1,acts=1--2",
        "firm,cards=99999,readers=0,days=1,faults=low,seed=1",
        "firm,cards=2,readers=-1,days=1,faults=low,seed=1",
    ],
)  # fmt: skip
def test_a_line_that_is_none_is_refused(line: str) -> None:
    with pytest.raises(BadInputError, match="is no line"):
        FirmLine.parse(line)


def test_a_line_with_acts_that_there_are_not_is_refused() -> None:
    with pytest.raises(BadInputError, match="names others"):
        _ = FirmLine(SimulatedFirm(1, 0, 1, Level.NONE), (100_000,)).script


@given(FIRMS)
def test_sites_share_what_there_is(firm: SimulatedFirm) -> None:
    parts = sites(replace(firm, cards=firm.cards * 20))
    assert sum(part.cards for part in parts) == firm.cards * 20
    assert sum(part.readers for part in parts) == firm.readers
    assert len({part.seed for part in parts}) == len(parts)


def test_a_day_ends_at_six_by_the_clocks_on_the_wall() -> None:
    hour, day = 3600, 86_400
    assert end_of_day(START + 9 * hour) == START + 18 * hour
    assert end_of_day(START + 17.6 * hour) == START + day + 18 * hour
    sunday = START + CHANGE_DAY * day  # the clocks go forward at two: noon comes an hour early
    assert end_of_day(sunday + 8 * hour) == sunday + 17 * hour


SEED = b"12345678901234567890"  # RFC 4226, appendix D
CODES = ("755224", "287082", "359152", "969429", "338314", "254676")


def _judge() -> Judge:
    judge = Judge(FirmPolicy())
    judge.makes("A", SEED)
    judge.registered("A")
    return judge


def test_the_judge_knows_the_codes_of_the_standard() -> None:
    judge = _judge()
    assert [judge.saw("A", code) for code in CODES[2:]] == [2, 3, 4, 5]
    assert judge.violations == []


@pytest.mark.parametrize(
    ("shown", "what"),
    [((2, 2), "shows a code again"), ((3, 2), "none of its next ones"), ((3,), "skips 1 codes")],
)
def test_the_judge_sees_a_code_that_is_not_next(shown: tuple[int, ...], what: str) -> None:
    judge = _judge()
    for factor in shown:
        judge.saw("A", CODES[factor])
    assert what in judge.violations[-1]


def test_a_card_whose_power_was_away_may_skip_some_codes_once() -> None:
    judge = _judge()
    judge.restarted("A")
    judge.saw("A", CODES[4])
    assert judge.violations == []
    judge.saw("A", pyotp.HOTP(base64.b32encode(SEED).decode()).at(6))
    assert judge.violations == ["card A skips 1 codes"]


@pytest.mark.parametrize(("ahead", "wrong"), [(9, 0), (10, 1)])
def test_the_window_is_judged_to_the_code(ahead: int, wrong: int) -> None:
    judge = _judge()
    assert judge.must_be_let_in("A", 2 + ahead) is (not wrong)
    judge.asked("A", 2 + ahead, ServerSaid(200, accepted=True, serial="A"))
    assert len(judge.violations) == wrong


def test_the_judge_sees_a_code_accepted_twice() -> None:
    judge = _judge()
    judge.saw("A", CODES[2])
    for _ in range(2):
        judge.asked("A", 2, ServerSaid(200, accepted=True, serial="A"))
    assert "accepted twice" in judge.violations[0]


def test_an_answer_that_is_lost_leaves_a_doubt() -> None:
    judge = _judge()
    judge.saw("A", CODES[2])
    judge.asked("A", 2, ServerSaid(0))
    assert not judge.must_be_let_in("A", 2)
    assert judge.must_be_let_in("A", 3)


def test_what_the_server_was_not_asked_leaves_none() -> None:
    judge = _judge()
    judge.saw("A", CODES[2])
    judge.asked("A", 2, ServerSaid(0, asked=False))
    assert judge.must_be_let_in("A", 2)


class _Page(html.parser.HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.targets: list[str] = []
        self.ids: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        said = dict(attrs)
        self.targets += [str(said["href"])] if tag == "a" else []
        self.ids += [str(said["id"])] if "id" in said else []
        assert "src" not in said and tag != "script"


def test_the_film_opens_each_event_and_loads_nothing(lived: tuple[FirmResult, Path]) -> None:
    tally_ = FirmTally()
    tally_.add(0, lived[0])
    seen = _Page()
    seen.feed(film.page(LIVELY, tally_))
    assert "svg" in seen.tags and "details" in seen.tags
    assert seen.targets and {one.removeprefix("#") for one in seen.targets} <= set(seen.ids)


def test_each_day_of_a_large_firm_can_be_opened() -> None:
    tally_ = FirmTally()
    told = [FirmEvent(day * 86_400 + at, 0, "p0001 logs in with card TS00000001")
            for day in range(3) for at in range(900)]  # fmt: skip
    tally_.add(0, FirmResult(LIVELY, told=told))
    seen = _Page()
    seen.feed(film.page(LIVELY, tally_))
    assert seen.targets == ["#lists", "#in-0", "#in-24", "#in-48"]  # hours
    assert seen.ids == ["lists", "in-0", "in-24", "in-48"]


def test_the_film_tells_a_violations_story() -> None:
    tally_ = FirmTally()
    tally_.add(0, FirmResult(LIVELY, violations=["two <codes>"]))
    story = FirmStory(FirmLine(LIVELY, (1, 7)), 2, "two <codes>", ("day 0, 09:14: pressed",))
    seen = film.page(LIVELY, tally_, [story])
    assert "<h2>two &lt;codes&gt; <small>2 acts</small></h2>" in seen
    assert "<li>day 0, 09:14: pressed</li>" in seen and "acts=1-7&#x27;</code>" in seen


def test_the_film_is_read_out_and_a_long_story_leaves_room_for_it() -> None:
    """What is in an image is nothing for a screen reader; a link has a name."""
    tally_ = FirmTally()
    told = [FirmEvent(9 * 3600, 0, "p0001 logs in with card TS00000001")]
    tally_.add(0, FirmResult(LIVELY, told=told))
    lines = tuple(f"day 0, 09:{minute:02}: pressed" for minute in range(50))
    story = FirmStory(FirmLine(LIVELY, (1, 7)), 50, "POST /v1/cards", lines)
    seen = film.page(LIVELY, tally_, [story])
    assert "role='img'" not in seen and "aria-label='log-ins, day 0, 09:00: 1'" in seen
    assert "<summary>20 lines before these</summary>" in seen and "<ol start='21'>" in seen
    assert "overflow-wrap: anywhere" in seen.partition("main {")[2].partition("}")[0]


def test_the_film_shows_how_much_there_is_and_not_how_often_it_was_told() -> None:
    tally_ = FirmTally()
    told = [FirmEvent(0, 0, "3 spares are in the drawer"),
            FirmEvent(86_400, 1, "5 spares are in the drawer"),
            FirmEvent(86_400, 1, "the cell that has given most has given 12.5 µAh")]  # fmt: skip
    tally_.add(0, FirmResult(LIVELY, told=told))
    seen = film.page(LIVELY, tally_)
    for said in ("day 0, 00:00: 3<", "day 1, 00:00: 5<", "day 1, 00:00: 12.5<", ">5 at last<"):
        assert said in seen


def test_stock_and_cells_are_counted_each_morning(lived: tuple[FirmResult, Path]) -> None:
    words = [one.words for one in lived[0].told]
    assert sum("spares are in the drawer" in said for said in words) == LIVELY.days
    assert any("that has given most" in said for said in words)


def test_the_film_takes_no_words_for_markup() -> None:
    tally_ = FirmTally()
    told = [FirmEvent(0, 0, "VIOLATION: <script>alert(1)</script>")]
    tally_.add(0, FirmResult(LIVELY, violations=["<b>"], told=told))
    assert "<script" not in film.page(LIVELY, tally_)


def test_a_soak_goes_on_where_it_was(tmp_path: Path) -> None:
    file = tmp_path / "soak.json"
    so_far = Soaked()
    so_far.add(FirmResult(LIVELY, simulated_hours=2.0, acts=3))
    so_far.keep(file)
    assert Soaked.read(file) == so_far
    file.write_text("{}", encoding="utf-8")
    with pytest.raises(BadInputError, match="holds no soak"):
        Soaked.read(file)


@pytest.mark.parametrize(
    "value",
    [{"done": 5}, {"done": ["1"]}, {"acts": "3"}, {"found": [["a line"]]}, {"found": 7},
     {"firm": 7}],
)  # fmt: skip
def test_a_file_that_holds_no_soak_is_refused(tmp_path: Path, value: dict[str, object]) -> None:
    file = tmp_path / "soak.json"
    file.write_text(json.dumps({"format": FORMAT} | value), encoding="utf-8")
    with pytest.raises(BadInputError, match="holds no soak"):
        Soaked.read(file)


def test_what_was_kept_before_is_not_taken_for_this_firms(tmp_path: Path) -> None:
    """SQLite would take another database's log for this one's."""
    (tmp_path / "station-9.journal-wal").write_bytes(b"of another firm")
    firm = SimulatedFirm(1, 0, 1, Level.NONE)
    simulate(firm, [], image=fresh.image(boards.DEFAULT), keep=tmp_path)
    assert not (tmp_path / "station-9.journal-wal").exists()
    assert (tmp_path / "server.db").exists()


def test_two_soaks_do_not_share_a_file(tmp_path: Path) -> None:
    image = fresh.image(boards.DEFAULT)
    with _alone_with(tmp_path / "soak.json"):
        other = soak(SimulatedFirm(1, 0, 1, Level.NONE), image, 1, 1, tmp_path / "soak.json")
        with pytest.raises(BadInputError, match="Another soak is at work"):
            next(other)
    with _alone_with(tmp_path / "soak.json"):
        pass


def test_a_soak_goes_on_with_the_same_firms_alone(tmp_path: Path) -> None:
    so_far = Soaked()
    so_far.must_be_of(LIVELY, tmp_path / "soak.json")
    so_far.must_be_of(replace(LIVELY, seed=1), tmp_path / "soak.json")
    with pytest.raises(BadInputError, match="a soak of other firms"):
        so_far.must_be_of(replace(LIVELY, cards=5), tmp_path / "soak.json")


@pytest.mark.parametrize(
    "words",
    [
        ["--state", "x.json"], ["--zoo", "--replay", "x"], ["--soak", "9", "--report", "x.html"],
        ["--soak", "9", "--keep", "x"], ["--zoo", "--report", "x.html"],
        ["--replay", "x", "--soak", "9"],
    ],
)  # fmt: skip
def test_options_that_would_be_passed_over_are_refused(words: list[str]) -> None:
    result = CliRunner().invoke(tally, ["campaign", "firm", *words])
    assert isinstance(result.exception, BadInputError)
    assert "does not go with" in result.exception.what


def test_a_report_that_cannot_be_written_is_refused_before_anything_is_simulated() -> None:
    words = ["campaign", "firm", "--cards", "1", "--report", "/no/such/folder/x.html"]
    result = CliRunner().invoke(tally, words)
    assert result.exit_code == 2 and "there is no folder" in result.output


@pytest.mark.parametrize(
    ("words", "said"), [(["--report", ""], "is a folder"), (["--soak", "nan"], "is no number")]
)
def test_what_names_nothing_is_refused_at_once(words: list[str], said: str) -> None:
    result = CliRunner().invoke(tally, ["campaign", "firm", "--cards", "1", *words])
    assert result.exit_code == 2 and said in result.output


def test_the_command_counts() -> None:
    words = ["campaign", "firm", "--cards", "2", "--readers", "0", "--days", "1", "--json"]
    result = CliRunner().invoke(tally, [*words, "--faults", "none"])
    assert result.exit_code == 0, result.output
    said = json.loads(result.stdout)
    assert said["violations"] == 0 and said["acts"] and said["simulated_hours"] > 20
    assert {"faults", "wall_seconds"} <= said.keys()


def test_every_kind_of_act_and_of_fault_comes_about_in_the_default_run() -> None:
    result = CliRunner().invoke(tally, ["campaign", "firm", "--json"])
    assert result.exit_code == 0, result.output
    said = json.loads(result.stdout)
    assert said["violations"] == 0
    assert said["happened"].keys() == {*Verb, *Mishap}
    assert [what for what, times in said["happened"].items() if not times] == []
