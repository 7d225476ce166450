"""The self-test of a line: the board that lies there, held to the firm's limits, and no other."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from tallystick.common.errors import BadInputError, ExitCode, RefusedError
from tallystick.provisioning.card.connection import CardConnection
from tallystick.tools.docked import DockedLink
from tallystick.tools.line import acceptance
from tallystick.tools.line.acceptance import over_a_line
from tallystick.tools.selftest.batch import read
from tallystick.tools.selftest.cli import selftest
from tests.tools.flash.conftest import custody, firm, outputs  # noqa: F401

SERIAL = "TS00000001"


@pytest.fixture
def port(firm, monkeypatch):  # noqa: F811
    """A board from the line, in the dock of its port."""
    with firm.blank("pico") as card:
        card.power_on()

        class OnThePort(CardConnection):
            @classmethod
            def open(cls, port: str) -> CardConnection:
                assert port == "/dev/ttyTEST"
                return CardConnection(DockedLink(card))

        monkeypatch.setattr(acceptance, "CardConnection", OnThePort)
        yield "/dev/ttyTEST"


def limits(tmp_path, text: str):
    path = tmp_path / "limits.toml"
    path.write_text(text)
    return path


def test_a_board_within_its_limits_tells_what_it_measured(port, tmp_path):
    batch = tmp_path / "job.toml.jsonl"
    over_a_line(port, limits(tmp_path, "[cell_mv]\nlow = 2000\nhigh = 3700\n"), batch)(SERIAL)
    [board] = read(batch)
    found = board.values
    assert (board.serial, board.good, board.problems) == (SERIAL, True, ())
    assert 2000 <= found["cell_mv"] <= 3700 and found["heap_bytes"] > 0 and "flash_s" in found


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("[cell_mv]\nhigh = 2000\n", "cell_mv: .* is above 2000"),
        ("[heap_bytes]\nlow = 9000000\n", "heap_bytes: .* is below 9e"),
        ("[current_ua]\nhigh = 2.5\n", "current_ua was not measured"),
    ],
)
def test_a_board_outside_of_them_is_not_locked(port, tmp_path, text, what):
    batch, page = tmp_path / "job.toml.jsonl", tmp_path / "page.html"
    test = over_a_line(port, limits(tmp_path, text), batch)
    with pytest.raises(RefusedError, match=what) as refused:
        test(SERIAL)
    assert "not locked and got no label" in refused.value.kept
    # The batch has it, too: what fails says more of a line than what passes.
    words = ["--batch", str(batch), "--drift", str(page)]
    result = CliRunner().invoke(selftest, [*words, "--limits", str(tmp_path / "limits.toml")])
    assert result.exit_code == ExitCode.FAILED and f"did not pass: {SERIAL}" in result.output
    assert text.split("]")[0][1:] in page.read_text()


def test_the_board_of_another_number(port, tmp_path):
    """It lies in the dock in place of the one that was written: the batch has neither."""
    batch = tmp_path / "job.toml.jsonl"
    with pytest.raises(RefusedError, match=f"it says that it is {SERIAL}"):
        over_a_line(port, None, batch)("TS00000002")
    assert not batch.exists()


def test_a_job_without_a_port_tests_nothing(tmp_path):
    batch = tmp_path / "job.toml.jsonl"
    assert over_a_line(None, None, batch) is None
    with pytest.raises(BadInputError, match="is not TOML"):
        over_a_line("/dev/ttyTEST", limits(tmp_path, "cell_mv = = 3"), batch)
