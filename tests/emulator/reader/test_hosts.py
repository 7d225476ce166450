"""The reader seen from outside: UDP, uhid's events, control interface, panel."""

from __future__ import annotations

import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import httpx
import pytest
from fido2.ctap2 import ClientPin, Ctap2
from fido2.ctap2.bio import FPBioEnrollment
from fido2.hid import CtapHidDevice
from fido2.hid.base import CtapHidConnection
from playwright.sync_api import sync_playwright

from tallystick.common.errors import TallyError
from tallystick.common.reader_identity import ReaderIdentity
from tallystick.emulator.devices.hand import FINGERS, Hand
from tallystick.emulator.devices.image import Image
from tallystick.emulator.devices.reader import Reader
from tallystick.emulator.parts.r503 import R503
from tallystick.emulator.serving import hid_uhid
from tallystick.emulator.serving.hid_udp import UdpHid
from tallystick.emulator.serving.reader_control import ReaderControlServer
from tallystick.emulator.serving.reader_service import ReaderService
from tallystick.tools.campaign.reader.host import DESCRIPTOR
from tests import needs
from tests.emulator.reader.rig import PIN


class UdpConnection(CtapHidConnection):
    """What any program can do: datagrams of 64 bytes."""

    def __init__(self, port: int) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.connect(("127.0.0.1", port))
        self._socket.settimeout(20)

    def write_packet(self, data: bytes) -> None:
        self._socket.send(data)

    def read_packet(self) -> bytes:
        return self._socket.recv(64)

    def close(self) -> None:
        self._socket.close()


@dataclass
class Running:
    service: ReaderService
    port: int
    url: str

    def device(self) -> CtapHidDevice:
        return CtapHidDevice(DESCRIPTOR, UdpConnection(self.port))


@pytest.fixture
def running(reader_image: Image) -> Iterator[Running]:
    """A reader with its real sensor, served from a thread."""
    reader = Reader(reader_image, identity=ReaderIdentity.development("TR00000001").encode())
    sensor = R503(reader.clock)
    reader.plug_sensor(sensor)
    reader.power_on()
    udp = UdpHid(0)
    service = ReaderService(reader, udp)
    control = ReaderControlServer(service, Hand(reader.clock, sensor), 0)
    thread = threading.Thread(target=service.run)
    thread.start()
    control.start()
    yield Running(service, udp.port, control.url)
    control.stop()
    service.stop()
    thread.join(10)


def test_enrolled_and_verified_over_udp_with_real_prints(running: Running) -> None:
    """A finger pressed through the control interface, an image, minutiae, a match."""
    http = httpx.Client(base_url=running.url, timeout=60)
    device = running.device()
    ctap = Ctap2(device)
    client_pin = ClientPin(ctap)
    client_pin.set_pin(PIN)

    def pressing(finger: str) -> Callable[[int], None]:
        def press(status: int) -> None:
            if status == 2:
                http.post("/finger", json={"finger": finger, "manner": "still", "ms": 700})

        return press

    token = client_pin.get_pin_token(PIN, ClientPin.PERMISSION.BIO_ENROLL)
    enroller = FPBioEnrollment(ctap, client_pin.protocol, token).enroll()
    while enroller.capture(on_keepalive=pressing("right-thumb")) is None:
        pass
    assert ctap.get_info().options["uv"]
    permission = ClientPin.PERMISSION.GET_ASSERTION
    assert client_pin.get_uv_token(permission, "x", on_keepalive=pressing("right-thumb"))
    device.close()
    http.close()


def test_state_power_touch_and_cable(running: Running) -> None:
    with httpx.Client(base_url=running.url, timeout=60) as http:
        state = http.get("/state").json()
        assert state["powered"] and state["sensor"] and not state["waits_for_finger"]
        assert not http.post("/power", json={"on": False}).json()["powered"]
        assert http.post("/power", json={"on": True}).json()["boots"] == 2
        assert not http.post("/sensor", json={"plugged": False}).json()["sensor"]
        assert http.post("/sensor", json={"plugged": True}).json()["sensor"]
        assert http.post("/touch", json={"ms": 300}).status_code == 200
        assert http.get("/trace").text.count("\n") > 3


def test_wrong_fingers_and_foreign_pages_are_refused(running: Running) -> None:
    with httpx.Client(base_url=running.url, timeout=60) as http:
        refused = http.post("/finger", json={"finger": "nose"})
        assert refused.status_code == 400
        assert "nose" in refused.json()["error"]["what"]
        for wrong in ({"ms": 0}, {"person": "1"}, {"fingers": FINGERS[1]}):
            said = http.post("/finger", json={"finger": FINGERS[0], **wrong})
            assert said.status_code == 422
            assert next(iter(wrong)) in said.json()["error"]["what"]
        foreign = {"Origin": "https://example.com"}
        assert http.post("/touch", json={}, headers=foreign).status_code == 403
        assert http.post("/touch", content="{}").status_code == 415


def test_the_panel_has_ten_fingers_and_fetches_nothing(running: Running) -> None:
    page = httpx.get(f"{running.url}/").text
    for finger in FINGERS:
        assert f'data-finger="{finger}"' in page
    assert "http://" not in page and "https://" not in page


_WORDS_ON_FINGERS = """() => [...document.querySelectorAll("svg text")].filter(words => {
    const a = words.getBBox();
    return [...words.parentNode.querySelectorAll(".finger")].some(finger => {
        const b = finger.getBBox();
        return a.x < b.x + b.width && b.x < a.x + a.width
            && a.y < b.y + b.height && b.y < a.y + a.height;
    });
}).map(words => words.textContent)"""


@needs.chromium.mark
def test_a_finger_pressed_on_the_panel(running: Running) -> None:
    """In a browser, by keyboard, while a command waits for a touch."""
    device = running.device()
    waiting = threading.Thread(target=lambda: Ctap2(device).selection())
    with sync_playwright() as driver:
        browser = needs.launch(driver)
        page = browser.new_page()
        problems: list[str] = []
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.goto(running.url)
        page.get_by_text("Ready.").wait_for()
        lying_on = page.evaluate(_WORDS_ON_FINGERS)
        assert lying_on == []
        waiting.start()
        page.get_by_text("Waits for a finger").wait_for()
        page.get_by_label("right index").focus()
        page.keyboard.press("Enter")
        page.get_by_text("On the sensor: right index.").wait_for()
        waiting.join(10)
        assert not waiting.is_alive()
        page.get_by_role("button", name="Unplug").click()
        page.get_by_text("Unplugged.").wait_for()
        assert problems == []
        browser.close()
    device.close()


def test_a_selection_waits_in_real_time_and_a_touch_ends_it(running: Running) -> None:
    device = running.device()

    def touch(status: int) -> None:
        if status == 2:
            httpx.post(f"{running.url}/touch", json={})

    Ctap2(device).selection(on_keepalive=touch)
    device.close()


def test_datagrams_of_another_length_are_dropped(running: Running) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.connect(("127.0.0.1", running.port))
        other.send(b"hello")
        other.send(bytes(65))
    device = running.device()
    assert device.ping(b"still here") == b"still here"
    device.close()


def test_a_taken_port_is_said_clearly() -> None:
    first = UdpHid(0)
    with pytest.raises(TallyError, match="taken"):
        UdpHid(first.port)
    first.close()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        words = ["-m", "tallystick.cli", "emulate", "reader", "--control", str(port)]
        ended = subprocess.run(
            [sys.executable, *words], capture_output=True, text=True, timeout=60, check=False
        )
        assert ended.returncode == 3
        said = f"Port {port} of 127.0.0.1 cannot be used: Address already in use."
        assert said in ended.stderr and "Traceback" not in ended.stderr


def test_events_of_uhid() -> None:
    """Offsets of linux/uhid.h. The device itself needs a kernel that has it."""
    event = hid_uhid.create_event("Tallystick reader", 0x1209, 1, b"\x06\xd0\xf1")
    assert len(event) == 4 + 128 + 64 + 64 + 2 + 2 + 16 + 4096
    assert event[:4] == struct.pack("<I", 11)
    assert event[4 + 256 : 4 + 260] == struct.pack("<HH", 3, 3)
    assert event[280:283] == b"\x06\xd0\xf1"
    assert hid_uhid.input_event(bytes(64)) == struct.pack("<IH", 12, 64) + bytes(64)
    report = bytes(range(64))
    output = struct.pack("<I", 6) + (b"\0" + report).ljust(4096, b"\0") + struct.pack("<HB", 65, 1)
    assert hid_uhid.output_report(output) == report
    assert hid_uhid.output_report(struct.pack("<I", 4)) is None
