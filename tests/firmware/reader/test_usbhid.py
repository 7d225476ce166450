"""What the reader answers a host that enumerates it, as MicroPython takes it: bytes are data, True
and False are answers. An empty bytes object is neither: the request is then refused."""

from __future__ import annotations

import pytest

SOURCE = """
from lib.usbhid import UsbHid

given = UsbHid(None)._control({stage}, memoryview(bytes.fromhex("{request}")))
answer([type(given).__name__, given.hex() if isinstance(given, bytes) else given])
"""
GET_REPORT_DESCRIPTOR, SET_IDLE, SET_PROTOCOL = (
    "810600220000ff00", "210a000000000000", "210b000000000000",
)  # fmt: skip


@pytest.mark.parametrize(
    ("request_", "given"), [(SET_IDLE, ["bool", True]), (SET_PROTOCOL, ["bool", False])]
)
def test_a_request_without_data_is_taken_or_refused(micropython, request_, given):
    assert micropython.run(SOURCE.format(stage=1, request=request_)) == given


def test_the_report_descriptor_is_given(micropython):
    kind, data = micropython.run(SOURCE.format(stage=1, request=GET_REPORT_DESCRIPTOR))
    assert kind == "bytes"
    assert data.startswith("06d0f1")  # FIDO's usage page


def test_the_later_stages_go_on(micropython):
    assert micropython.run(SOURCE.format(stage=2, request=SET_IDLE)) == ["bool", True]


UNREAD = """
from lib import usbhid

class Device:
    sent = 0
    def submit_xfer(self, endpoint, data):
        self.sent += endpoint == 0x81

waits = []
usbhid.sleep_ms = waits.append
device = Device()
hid = usbhid.UsbHid(device)
hid._opened(b"")
for _ in range(129):  # the longest answer; whoever asked has gone
    hid.write(bytes(64))
lost = len(waits)
hid._transferred(0x81, 0, 64)  # somebody reads again
hid._transferred(1, 0, 64)
hid.write(bytes(64))
answer([lost, len(waits), device.sent])
"""


def test_an_answer_that_nobody_reads_costs_a_second_and_not_one_for_each_packet(micropython):
    assert micropython.run(UNREAD) == [1000, 1000, 2]
