"""The whole chain where one process is enough: emulated cards, a station, a server process."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tallystick.emulator.devices.card import Card
from tallystick.tools import fresh
from tallystick.tools.bench.station import Station, station


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Station]:
    """A station enrolled with a running server."""
    with station(tmp_path) as made:
        yield made


@pytest.fixture(params=["nucleo_l476rg", "pico"])
def emulated_card(request: pytest.FixtureRequest) -> Iterator[Card]:
    """A card fresh from the factory, powered."""
    with fresh.card(request.param) as device:
        device.power_on()
        yield device
