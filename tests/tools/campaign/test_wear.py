"""A million presses and more; and not fewer than at the last commit."""

from __future__ import annotations

import pytest

from tallystick.tools.campaign.commands.wear import AIM, BOARDS, committed, measure


@pytest.mark.slow
@pytest.mark.parametrize("board", BOARDS)
def test_presses_until_the_first_sector_wears_out(board: str) -> None:
    figure = measure(board)
    assert figure.presses >= AIM
    assert figure.presses >= committed()[board]
