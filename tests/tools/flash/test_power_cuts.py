"""The campaign of power cuts during an update, sampled; `tally campaign update` is the whole."""

from __future__ import annotations

import pytest

from tallystick.tools.campaign.update import run


@pytest.mark.campaign
@pytest.mark.parametrize(("board", "every"), [("pico", 90), ("nucleo_l476rg", 2000)])
def test_no_cut_hurts(board, every):
    result = run(board, every=every, seed=7)
    assert result.cuts >= 8
    assert result.violations == []


@pytest.mark.campaign
def test_the_first_and_the_last_operations():
    """A record of the boot journal is written there."""
    operations = run("pico", only="0:before:-1").operations
    for operation in (0, 1, operations - 3, operations - 1):
        assert run("pico", only=f"{operation}:during:2").violations == []
