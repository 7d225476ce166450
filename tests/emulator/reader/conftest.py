from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
from fido2.ctap2 import ClientPin

from tallystick import __version__
from tallystick.emulator.devices.image import Image
from tallystick.tools.campaign.reader.sensor import ScriptedSensor
from tallystick.tools.image.build import build, write
from tests.emulator.reader.rig import PIN, Rig
from tests.whole import WHOLE


@pytest.fixture(scope="session")
def reader_image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    folder = tmp_path_factory.mktemp("reader-image")
    return Image.load(write(build("reader", "pico2", __version__), folder)["bin"])


@dataclass(frozen=True)
class Life:
    """What a reader and its sensor keep without power."""

    flash: bytes
    sensor: ScriptedSensor


@pytest.fixture(scope="session")
def in_service(reader_image: Image) -> Life:
    """A reader with a PIN and a thumb."""
    rig = Rig(reader_image, spared=True)
    ClientPin(rig.ctap()).set_pin(PIN)
    rig.enrol("thumb")
    life = Life(rig.image_of_flash(), rig.sensor)
    rig.close()
    return life


@pytest.fixture
def new_rig(reader_image: Image) -> Iterator[Callable[..., Rig]]:
    """Makes readers: new ones, or with the life of another. The host is spared: they answer the
    same, and arithmetic and heap have tests of their own. A whole run spares nobody."""
    made: list[Rig] = []

    def make(life: Life | None = None, seed: int = 0, *, spared: bool = not WHOLE) -> Rig:
        kept = (life.flash, life.sensor) if life else ()
        rig = Rig(reader_image, *kept, seed=seed, spared=spared)
        made.append(rig)
        return rig

    yield make
    for rig in made:
        rig.close()


@pytest.fixture
def fresh(new_rig: Callable[..., Rig]) -> Rig:
    """A reader as from the factory."""
    return new_rig()


@pytest.fixture
def rig(new_rig: Callable[..., Rig], in_service: Life) -> Rig:
    """A reader with a PIN and a thumb."""
    return new_rig(in_service)
