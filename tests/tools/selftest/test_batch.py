"""The self-test as an acceptance test: limits, a batch, drift, and the page of it."""

from __future__ import annotations

import json
import random
from html.parser import HTMLParser
from importlib.resources import files

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from tallystick.common.errors import BadInputError
from tallystick.provisioning.card.issuer import FirmwareVersion
from tallystick.tools.selftest import batch, checks, drift_page
from tallystick.tools.selftest.batch import BatchBoard, append, read, series
from tallystick.tools.selftest.checks import Check, CheckVerdict
from tallystick.tools.selftest.cli import selftest
from tallystick.tools.selftest.limits import Limit, measured, problems, read_limits
from tests import needs

numbers = st.floats(-1e6, 1e6, allow_nan=False)


def board_with(*found: Check) -> checks.TestedBoard:
    return checks.TestedBoard("TS00000001", FirmwareVersion(0, 1, 0, "pico"), None, list(found))


def cell(mv: float, verdict: CheckVerdict = CheckVerdict.PASSED) -> Check:
    return Check("cell", verdict, f"{mv} mV under load", 0.4, {"cell_mv": mv})


def boards(values: list[float], name: str = "cell_mv", start: int = 0) -> list[BatchBoard]:
    return [
        BatchBoard(
            f"TS{start + n:08}", f"2026-01-01T{n // 60:02}:{n % 60:02}:00", True, {name: value}
        )
        for n, value in enumerate(values)
    ]


def steady(count: int, seed: int = 1) -> list[float]:
    rng = random.Random(seed)
    return [3000 + rng.gauss(0, 10) for _ in range(count)]


@pytest.fixture
def limits_file(tmp_path):
    path = tmp_path / "limits.toml"
    path.write_text("[cell_mv]\nlow = 2900\nhigh = 3300\n[current_ua]\nhigh = 2.5\n")
    return path


def test_limits_are_read(limits_file):
    assert read_limits(limits_file) == {
        "cell_mv": Limit(2900, 3300), "current_ua": Limit(None, 2.5)
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "limits nothing"), ("[a]", "limits nothing"), ("a = 1", "low and high"),
        ("[a]\nlow = 3\nhigh = 2", "allows nothing"), ("[a]\nlow = true", "no number"),
        ('[a]\nlow = "1"', "no number"), ("[a]\nlowest = 1", "low and high"),
        ("[A b]\nlow = 1", "not TOML"), ("[", "not TOML"), ("[a]\nlow = nan", "no number"),
        ("[a]\nhigh = inf", "no number"), ("[a]\nhigh = 1" + "0" * 400, "no number"),
    ],
)  # fmt: skip
def test_limits_that_are_none(tmp_path, text, what):
    path = tmp_path / "limits.toml"
    path.write_text(text)
    with pytest.raises(BadInputError, match=what):
        read_limits(path)


def test_a_board_is_held_to_them(limits_file):
    limits = read_limits(limits_file)
    good = {"current_ua": 1.5}
    assert problems(board_with(cell(3000)), limits, good) == []
    assert problems(board_with(cell(2899)), limits, good) == ["cell_mv: 2899 is below 2900"]
    assert problems(board_with(cell(3301)), limits, good) == ["cell_mv: 3301 is above 3300"]
    assert problems(board_with(cell(3000)), limits, {"current_ua": 9}) == [
        "current_ua: 9 is above 2.5"
    ]
    failed = cell(3000, CheckVerdict.FAILED)
    assert problems(board_with(failed), limits, good) == ["cell: 3000 mV under load"]


def test_a_probe_that_was_not_connected_passes_nothing(limits_file):
    assert problems(board_with(cell(3000)), read_limits(limits_file)) == [
        "current_ua was not measured"
    ]


def test_what_was_skipped_is_not_measured():
    skipped = Check("button", CheckVerdict.SKIPPED, "nobody", 0.1)
    assert measured(board_with(cell(3000), skipped)) == {"cell_mv": 3000, "cell_s": 0.4}


@given(numbers, numbers, numbers)
def test_a_limit_refuses_exactly_what_is_outside(low, high, value):
    low, high = sorted((low, high))
    assert bool(Limit(low, high).refuses(value)) == (not low <= value <= high)


def test_a_batch_comes_back(tmp_path):
    path = tmp_path / "batch.jsonl"
    written = boards(steady(5))
    for board in written:
        append(path, board)
    assert read(path) == written


@pytest.mark.parametrize(
    "line", ["{}", "[]", "nonsense", '{"serial":1,"time":"","good":true,"values":{"a":"x"}}',
             '{"serial":"a","time":"","good":true,"values":{"a":NaN},"problems":[]}',
             '{"serial":"a","time":"","good":true,"values":{"a":1e308},"problems":[]}',
             '{"serial":"a","time":"","good":true,"values":{"a":1%s},"problems":[]}' % ("0" * 400),
             "[" * 100_000]
)  # fmt: skip
def test_a_batch_that_was_cut_is_refused_with_its_line(tmp_path, line):
    path = tmp_path / "batch.jsonl"
    append(path, boards([1])[0])
    with path.open("a") as file:
        file.write(line)
    before = path.read_bytes()
    with pytest.raises(BadInputError, match="line 2, is no test"):
        read(path)
    assert path.read_bytes() == before


def test_a_test_behind_a_line_that_was_cut_is_kept(tmp_path):
    path = tmp_path / "batch.jsonl"
    first, second = boards([1, 2])
    append(path, first)
    with path.open("a") as file:
        file.write('{"serial": "TS0')
    append(path, second)
    lines = path.read_text().splitlines()
    path.write_text("\n".join((lines[0], lines[2])) + "\n")
    assert read(path) == [first, second]


def one(values: list[float], limit: Limit | None = None) -> batch.Series:
    [found] = series(boards(values), {} if limit is None else {"cell_mv": limit})
    return found


def test_a_steady_line_does_not_drift():
    """Three rules on random numbers speak up by chance, but seldom."""
    assert sum(bool(one(steady(40, seed)).drift) for seed in range(60)) < 20


def test_each_rule_speaks():
    values = steady(30)
    assert any("three sigma" in line for line in one([*values, 3300]).drift)
    assert any("in a row above" in line for line in one([*values, *[3015.0] * 9]).drift)
    assert any("in a row rise" in line for line in one([*values, *range(2990, 3016, 4)]).drift)


STEADY = [3001.0, 2999.0] * 20  # the last is below the mean


def told(values: list[float]) -> str:
    return "; ".join(one(values).drift)


@pytest.mark.parametrize("sign", [1, -1])
def test_each_rule_begins_where_the_guide_says(sign):
    """Nine on a side and not eight, six that rise and not five; to either side."""

    def turned(values: list[float]) -> list[float]:
        return [3000 + sign * (value - 3000) for value in values]

    side, trend = ("above", "rise") if sign > 0 else ("below", "fall")
    for count, said in ((8, False), (9, True)):
        values = [*STEADY, *[3002.0, 3003.0, 3002.0] * 3][: len(STEADY) + count]
        assert (f"in a row {side}" in told(turned(values))) is said
    for count, said in ((4, False), (5, True)):
        rising = [2999.0 + 0.3 * step for step in range(1, count + 1)]
        assert (f"in a row {trend}" in told(turned([*STEADY, *rising, 2999.0]))) is said
    assert "three sigma from the mean: TS00000040" in told(turned([*STEADY, 3010.0]))
    assert "three sigma" not in told(turned([*STEADY, 3005.0]))


def test_equal_values_are_no_trend_and_end_none():
    assert "in a row" not in told([*STEADY, *[2999.0] * 7, 3001.0, *STEADY])
    rising = [2999.2, 2999.4, 2999.4, 2999.6, 2999.8, 3000.0]
    assert "6 in a row rise" in told([*STEADY, *rising, 2999.0])


def test_a_few_boards_or_equal_ones_say_nothing():
    assert one([1, 2, 3, 4, 5, 6, 7]).drift == ()
    assert one([3000.0] * 50).drift == ()
    assert one([3000.0]).deviation == 0


def test_the_last_test_of_a_board_counts():
    again = BatchBoard("TS00000000", "2026-01-02T00:00:00", True, {"cell_mv": 1.0})
    [found] = series([*boards([5.0, 6.0]), again], {})
    assert (found.serials, found.values) == (("TS00000001", "TS00000000"), (6.0, 1.0))


def test_statistics_of_a_series():
    found = one([2990, 3000, 3010], Limit(2900, 3300))
    assert (found.mean, found.deviation) == (3000, 10)
    assert found.sigma == pytest.approx(10 / 1.128)
    assert found.capability == pytest.approx(100 / 30)
    assert one([2800, 3000, 3400], Limit(2900, 3300)).outside() == ["TS00000000", "TS00000002"]


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag, attributes):
        if tag not in ("meta", "line", "polyline", "circle"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert tag in ("meta", "line", "polyline", "circle") or self.open.pop() == tag

    def handle_startendtag(self, tag, attributes):
        pass


def the_page() -> str:
    made = boards([*steady(60), *[3000 + 2 * n for n in range(20)]])
    made += boards([1.4 + n % 7 / 10 for n in range(40)], "current_ua", 200)
    made[5] = BatchBoard(made[5].serial, made[5].time, False, {"cell_mv": 2800}, ("<cell> & low",))
    limits = {"cell_mv": Limit(2900, 3300), "current_ua": Limit(None, 2.5)}
    return drift_page.page("batch <12>", made, series(made, limits))


def test_the_page_is_whole_and_nothing_in_it_is_markup_of_others():
    page = the_page()
    tags = Tags()
    tags.feed(page)
    assert tags.open == []
    assert "batch &lt;12&gt;" in page and "&lt;cell&gt; &amp; low" in page
    assert "drift in cell_mv" in page and "1 outside" in page


@needs.chromium.mark
@pytest.mark.parametrize("width", [1100, 380])
def test_the_page_in_a_browser(tmp_path, width):
    from playwright import sync_api

    file = tmp_path / "page.html"
    file.write_text(the_page())
    with sync_api.sync_playwright() as driver:
        browser = needs.launch(driver)
        page = browser.new_page(viewport={"width": width, "height": 900})
        page.goto(file.as_uri())
        page.evaluate((files("axe_playwright_python") / "axe.min.js").read_text())
        assert page.evaluate("axe.run({resultTypes: ['violations']})")["violations"] == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        browser.close()


def run(*words: str):
    return CliRunner().invoke(selftest, words)


def test_exit_codes_of_a_batch(tmp_path, limits_file):
    path, page = tmp_path / "batch.jsonl", tmp_path / "page.html"
    for board in boards([3000, 3010, 2990, 3005, 2995]):
        append(path, board)
    words = ["--batch", str(path), "--drift", str(page), "--limits", str(limits_file)]
    good = run(*words)
    assert good.exit_code == 0 and "no drift" in good.output and page.is_file()
    append(path, BatchBoard("TS00000099", "2026-01-03T00:00:00", False, {"cell_mv": 2000}))
    bad = run(*words, "--json")
    assert bad.exit_code != 0
    assert json.loads(bad.stdout)["outside"] == {"cell_mv": ["TS00000099"]}


def test_a_board_that_did_not_pass_is_no_good_batch(tmp_path):
    """Whatever was wrong: its measurements may all be within."""
    path, page = tmp_path / "batch.jsonl", tmp_path / "page.html"
    append(path, BatchBoard("TS00000001", "2026-01-03", False, {"heap_bytes": 1}, ("dark",)))
    words = ["--batch", str(path), "--drift", str(page)]
    bad = run(*words)
    assert bad.exit_code == 1 and "did not pass: TS00000001" in bad.output
    assert json.loads(run(*words, "--json").stdout)["bad"] == ["TS00000001"]
    append(path, BatchBoard("TS00000001", "2026-01-04", True, {"heap_bytes": 1}))
    assert run(*words).exit_code == 0


@pytest.mark.parametrize(
    "words",
    [(), ("--batch", "x"), ("--drift", "x"), ("--port", "/dev/null", "--drift", "x"),
     ("--port", "/dev/null", "--also", "current"), ("--port", "/dev/null", "--also", "a=nan")],
)  # fmt: skip
def test_what_goes_together(words, tmp_path):
    assert run(*words).exit_code == 2
