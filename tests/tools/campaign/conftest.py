"""One workshop for a board: its bases are made once."""

from __future__ import annotations

from functools import cache

import pytest

from tallystick.tools.campaign.card.workshop import CardWorkshop


@cache
def workshop_of(board: str) -> CardWorkshop:
    return CardWorkshop.of(board)


@pytest.fixture(params=["pico", "nucleo_l476rg"])
def workshop(request: pytest.FixtureRequest) -> CardWorkshop:
    return workshop_of(request.param)


@pytest.fixture
def pico() -> CardWorkshop:
    return workshop_of("pico")
