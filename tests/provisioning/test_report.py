"""Reports of a batch and of a shift."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime

import pytest
from click.testing import CliRunner

from tallystick.common.errors import BadInputError
from tallystick.provisioning.cli import station
from tallystick.provisioning.journal import CardState, StationJournal
from tallystick.provisioning.report import BatchReport, ReportEntry, as_csv, of_time


def run(folder, *words):
    env = {"TALLY_STATION_JOURNAL": str(folder / "journal.db")}
    return CliRunner().invoke(station, ["report", *words], env=env)


def shift(folder) -> None:
    times = iter(range(1_790_000_000, 1_790_100_000, 60))
    journal = StationJournal(folder / "journal.db", who="ann", now=lambda: float(next(times)))
    journal.finish(journal.begin("TS00000001", "june", "u", "ada"), CardState.LOCKED)
    journal.fail(journal.begin("TS00000002", "june", "u", "<b>bea"), "it <broke>")
    journal.begin("TS00000003", "july", "u", None)
    journal.note("card lent", "TS00000009", "=cmd|' /C calc'!A0", by="de-1")
    journal.close()


def test_a_batch_as_a_page(tmp_path):
    shift(tmp_path)
    output = tmp_path / "june.html"
    assert run(tmp_path, "--batch", "june", "--output", str(output)).exit_code == 0
    page = output.read_text()
    assert "1 cards in service, 1 failed, 0 stopped half-way" in page
    assert "TS00000002" in page and "&lt;b&gt;bea" in page and "it &lt;broke&gt;" in page
    assert "TS00000003" not in page and "<b>" not in page


def test_a_shift_as_a_table(tmp_path):
    shift(tmp_path)
    output = tmp_path / "shift.csv"
    since = datetime.fromtimestamp(1_789_990_000, UTC).astimezone().strftime("%Y-%m-%d %H:%M")
    until = datetime.fromtimestamp(1_790_090_000, UTC).astimezone().strftime("%Y-%m-%dT%H:%M")
    words = ("--since", since, "--until", until, "--output", str(output))
    assert run(tmp_path, *words).exit_code == 0
    rows = list(csv.DictReader(io.StringIO(output.read_text())))
    assert [row["act"] for row in rows][-1] == "card lent" and rows[-1]["who"] == "ann as de-1"
    assert rows[-1]["detail"].startswith("'=")  # no spreadsheet takes it for a formula
    assert "'" not in [row["detail"] for row in rows]  # and what is empty stays empty
    assert datetime.fromisoformat(rows[0]["when"]).tzinfo is not None
    page = tmp_path / "shift.html"
    assert run(tmp_path, "--since", since, "--until", until, "--output", str(page)).exit_code == 0
    assert "1 cards in service, 1 failed, 1 stopped half-way" in page.read_text()


@pytest.mark.parametrize("begins", ["=", "+", "-", "@", "\t", "\r"])
def test_no_cell_is_a_formula(begins):
    """As a spreadsheet would take one, in whichever column it is."""
    cell = f"{begins}1+1"
    entry = ReportEntry(1_790_000_000, cell, cell, cell, cell)
    made = as_csv(BatchReport("x", [], [entry], UTC))
    (_, row) = csv.reader(io.StringIO(made, newline=""))
    assert row[1:] == [f"'{cell}"] * 4


def test_a_shift_ends_before_its_end(tmp_path):
    """What was done at that very second is of the next one, and in one report."""
    journal = StationJournal(tmp_path / "journal.db", who="ann", now=lambda: 1_790_000_000.0)
    journal.note("card lent", "TS00000009", "")
    hour = 3600
    for since, found in ((1_790_000_000, 1), (1_790_000_000 - hour, 0)):
        report = of_time(journal, since, since + hour)
        assert sum(one.act == "card lent" for one in report.entries) == found
    journal.close()


def test_what_cannot_be_reported(tmp_path):
    shift(tmp_path)
    for words, why in (
        (("--batch", "none", "--output", "x.csv"), "nothing was done"),
        (("--batch", "june", "--output", "x.pdf"), "none of the formats"),
    ):
        result = run(tmp_path, *words)
        assert isinstance(result.exception, BadInputError) and why in result.exception.what
    assert run(tmp_path, "--output", "x.csv").exit_code == 2
