"""The self-test of a line: the board that lies there, held to the firm's limits, and no other."""

from __future__ import annotations

import pytest

from tallystick.common.errors import BadInputError, RefusedError
from tallystick.provisioning.card.connection import CardConnection
from tallystick.tools.docked import DockedLink
from tallystick.tools.line import acceptance
from tallystick.tools.line.acceptance import over_a_line
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
    test = over_a_line(port, limits(tmp_path, "[cell_mv]\nlow = 2000\nhigh = 3700\n"))
    found = test(SERIAL)
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
    test = over_a_line(port, limits(tmp_path, text))
    with pytest.raises(RefusedError, match=what) as refused:
        test(SERIAL)
    assert "not locked and got no label" in refused.value.kept


def test_the_board_of_another_number(port):
    """It lies in the dock in place of the one that was written."""
    with pytest.raises(RefusedError, match=f"it says that it is {SERIAL}"):
        over_a_line(port, None)("TS00000002")


def test_a_job_without_a_port_tests_nothing(tmp_path):
    assert over_a_line(None, None) is None
    with pytest.raises(BadInputError, match="is not TOML"):
        over_a_line("/dev/ttyTEST", limits(tmp_path, "cell_mv = = 3"))
