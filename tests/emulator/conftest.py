"""Emulated cards, built from this checkout."""

from collections.abc import Iterator

import pytest

from tallystick.emulator.devices.card import Card
from tallystick.tools.bench import fresh


@pytest.fixture(params=["nucleo_l476rg", "pico"])
def card(request: pytest.FixtureRequest) -> Iterator[Card]:
    """A card fresh from the factory, powered on; its seed is fixed."""
    with fresh.card(request.param) as device:
        device.power_on()
        yield device
