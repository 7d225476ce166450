"""One workshop for a board: its bases are made once."""

from __future__ import annotations

from functools import cache

import pytest

from tallystick.tools.campaign.card.workshop import Workshop


@cache
def workshop_of(board: str) -> Workshop:
    return Workshop.of(board)


@pytest.fixture(params=["pico", "nucleo_l476rg"])
def workshop(request: pytest.FixtureRequest) -> Workshop:
    return workshop_of(request.param)


@pytest.fixture
def pico() -> Workshop:
    return workshop_of("pico")
