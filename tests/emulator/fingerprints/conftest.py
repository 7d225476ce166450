import pytest

from tallystick.emulator.clock import Clock
from tallystick.emulator.parts.r503 import R503
from tests.emulator.fingerprints.host import Host


@pytest.fixture
def virtual_clock():
    return Clock()


@pytest.fixture
def module(virtual_clock):
    return R503(virtual_clock, seed=1)


@pytest.fixture
def host(module, virtual_clock):
    host = Host(module, virtual_clock)
    host.power_up()
    return host
