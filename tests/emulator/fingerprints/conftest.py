import pytest

from tallystick.emulator.clock import Clock
from tallystick.emulator.parts.r503 import R503
from tests.emulator.fingerprints.host import Host


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def module(clock):
    return R503(clock, seed=1)


@pytest.fixture
def host(module, clock):
    host = Host(module, clock)
    host.power_up()
    return host
