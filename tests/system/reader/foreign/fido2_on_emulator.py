"""A pytest plugin for python-fido2's own device tests: the one authenticator of this computer is
the emulated reader, in virtual time, and a person is there who presses when it asks.

    pytest -p tests.system.reader.foreign.fido2_on_emulator tests/device --controller=CONTROLLER

The suite is run as it was shipped. What it asks a person or a test rig to do (touch, plug in, pull
out) it asks an HTTP controller for; that address leads here.
"""

from __future__ import annotations

import atexit
import io
import time
import urllib.request
from typing import Any

import fido2.hid
import pytest
from fido2.ctap2 import ClientPin, Ctap2
from fido2.hid import CtapHidDevice
from fido2.hid.base import CtapHidConnection

from tallystick import __version__
from tallystick.common.reader_identity import ReaderIdentity
from tallystick.emulator.devices.reader import Reader
from tallystick.tools.campaign.engine.subject import image_under_test
from tallystick.tools.campaign.reader.host import DESCRIPTOR
from tallystick.tools.campaign.reader.sensor import ScriptedSensor

CONTROLLER = "http://emulated"
_PIN = "a1b2c3d4"  # the suite's
_KEEPALIVE, _UP_NEEDED = 0xBB, 2
_LIMIT_MS = 40_000
_READY_MS = 400


class _World:
    """The reader and its person."""

    def __init__(self) -> None:
        image = image_under_test("reader", "pico2", None, readable=True)
        identity = ReaderIdentity.development("TR00000001").encode()
        self.reader = Reader(image, identity=identity, seed=1)
        self.sensor = ScriptedSensor(self.reader.clock)
        self.reader.plug_sensor(self.sensor)
        self.reader.power_on(_READY_MS)
        atexit.register(self.reader.close)

    def power(self, *, on: bool) -> None:
        if on and not self.reader.powered:
            self.reader.power_on(_READY_MS)
        elif not on:
            self.reader.power_off()

    def begin_anew(self) -> None:
        """As the suite wants it: reset, with its own PIN. After a test that failed, so that the
        next one does not fail because of it."""
        self.power(on=False)
        self.reader.run_for(100)
        self.power(on=True)
        if self.reader.sensor is None:
            self.reader.plug_sensor(self.sensor)
        ctap = Ctap2(_open_device(None))
        ctap.reset()
        ClientPin(ctap).set_pin(_PIN)


_world = _World()


class _Connection(CtapHidConnection):
    def __init__(self) -> None:
        self._pressed = False  # for the message under way
        _world.reader.reports.clear()

    def write_packet(self, data: bytes) -> None:
        if not _world.reader.powered:
            raise OSError("the reader was pulled out")
        _world.reader.write_report(data)

    def read_packet(self) -> bytes:
        reports = _world.reader.reports
        if not _world.reader.run_until(lambda: bool(reports), limit_ms=_LIMIT_MS):
            raise OSError("the reader answers nothing")
        report = reports.popleft()
        if report[4] != _KEEPALIVE:
            self._pressed = False
        elif report[7] == _UP_NEEDED and not self._pressed:
            self._pressed = True
            _world.sensor.press("thumb")
        return report

    def close(self) -> None:
        """The bus stays."""


def _list_descriptors() -> list[Any]:
    return [DESCRIPTOR] if _world.reader.powered else []


def _open_device(_path: object) -> CtapHidDevice:
    return CtapHidDevice(DESCRIPTOR, _Connection())


def _urlopen(url: str, *_words: object, **_more: object) -> io.BytesIO:
    """The controller. Touches need not be asked for here."""
    assert url.startswith(CONTROLLER), url
    _, _, what = url.rpartition("/power/")
    if what in ("on", "off"):
        _world.power(on=what == "on")
    return io.BytesIO(__version__.encode())


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    report = yield
    if report.failed:
        _world.begin_anew()
    return report


_sleep = time.sleep


def _short_sleep(seconds: float) -> None:
    """A wait for a device that has settled long since."""
    _sleep(min(seconds, 0.01))


fido2.hid.list_descriptors = _list_descriptors  # type: ignore[assignment]
fido2.hid.open_connection = lambda _descriptor: _Connection()
fido2.hid.open_device = _open_device  # type: ignore[assignment]
urllib.request.urlopen = _urlopen  # type: ignore[assignment]
time.sleep = _short_sleep
