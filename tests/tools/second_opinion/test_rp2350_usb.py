"""The RP2350's USB controller, with a device written here in place of a program, and the host."""

from __future__ import annotations

import struct

import pytest

from tallystick.tools.second_opinion.cortex import Cortex
from tallystick.tools.second_opinion.rp2350.usb import STALLED, Usb
from tallystick.tools.second_opinion.rp2350.usb_host import UsbHost

MS = 1e6
DEVICE = bytes.fromhex("1201000200000040091201000001010200 01".replace(" ", ""))
REPORT = bytes.fromhex("06d0f10901a101c0")
CONFIGURATION = bytes.fromhex(
    "0902290001010080320904000002030000000921110100012208000705010340000507058103400005"
)
STRINGS = [b"\x04\x03\x09\x04", b"\x06\x03M\0e\0", b"\x06\x03i\0t\0"]
SIE_CTRL, SIE_STATUS, BUFF_STATUS, INTR, INTE = 0x4C, 0x50, 0x58, 0x8C, 0x90
SUSPENDED, RESUMED = 1 << 14, 1 << 15
CLEAR = 3
FULL, DATA, AVAILABLE, STALL = 1 << 15, 1 << 13, 1 << 10, 1 << 11
IN, OUT = 0, 1


class Program:
    """What firmware does, looked at every tenth of a millisecond."""

    def __init__(self, core: Cortex, usb: Usb, *, idle: bool = True) -> None:
        self.core, self.usb, self.idle = core, usb, idle
        self.received: list[bytes] = []
        self.to_send: list[bytes] = []
        self.setups: list[bytes] = []
        self.address = 0
        self.frames = 0
        usb.change(0x40, 0, 1)
        self.control(0x08, 0)  # endpoint 1 IN and OUT
        usb.change(SIE_CTRL, 0, 1 << 16)
        self.step()

    def control(self, at: int, value: int) -> None:
        self.usb.dpram.write_some(at, 0, 4, value)

    def buffer(self, direction: int, endpoint: int) -> int:
        return 0x80 + 8 * endpoint + 4 * direction

    def arm_out(self, endpoint: int) -> None:
        self.control(self.buffer(OUT, endpoint), AVAILABLE | 64)

    def answer(self, endpoint: int, data: bytes, at: int) -> None:
        self.usb.dpram.data[at : at + len(data)] = data
        self.control(self.buffer(IN, endpoint), FULL | AVAILABLE | len(data))

    def step(self) -> None:
        usb = self.usb
        status = usb.read(SIE_STATUS)
        if status & 1 << 19:
            usb.change(SIE_STATUS, CLEAR, 1 << 19)
        if status & 1 << 17:
            usb.change(SIE_STATUS, CLEAR, 1 << 17)
            self.on_setup(bytes(usb.dpram.data[:8]))
        done = usb.read(BUFF_STATUS)
        usb.change(BUFF_STATUS, CLEAR, done)
        if done & 1 and self.address:
            usb.change(0, 0, self.address)
        if done & 8:
            at = 0x180
            size = usb.dpram.read_some(self.buffer(OUT, 1), 2) & 0x3FF
            self.received.append(bytes(usb.dpram.data[at : at + size]))
            self.arm_out(1)
        if self.to_send and not usb.dpram.read_some(self.buffer(IN, 1), 2) & AVAILABLE:
            self.answer(1, self.to_send.pop(0), 0x1C0)
        self.core.after(MS / 10, self.step)

    def on_setup(self, setup: bytes) -> None:
        self.setups.append(setup)
        _, request, value, _, size = struct.unpack("<BBHHH", setup)
        if request == 6:
            found = {1: DEVICE, 2: CONFIGURATION, 0x22: REPORT}.get(value >> 8)
            if value >> 8 == 3:
                found = STRINGS[value & 255]
            assert found is not None
            self.answer(0, found[:size][:64], 0x100)
            self.arm_out(0)
            return
        if request == 5:
            self.address = value
        if request == 9:
            self.control(0x08, 1 << 31 | 3 << 26 | 0x1C0)
            self.control(0x0C, 1 << 31 | 3 << 26 | 0x180)
            self.arm_out(1)
        if request == 10 and not self.idle:
            self.control(self.buffer(IN, 0), STALL)
            return
        self.answer(0, b"", 0x100)


@pytest.fixture
def core():
    core = Cortex("cortex-m33", 12e6, 1.0)
    core.held = True
    return core


def plug(core, **options):
    usb = Usb(core)
    host = UsbHost(core, usb)
    program = Program(core, usb, **options)
    core.run(400 * MS)
    return usb, host, program


def test_a_host_enumerates_what_plugs_in(core):
    usb, host, _ = plug(core)
    assert host.ready
    assert usb.address == 1
    now = host.now
    assert (now.device, now.configuration, now.report) == (DEVICE, CONFIGURATION, REPORT)
    assert now.strings == ["Me", "it"]
    assert (now.in_endpoint, now.out_endpoint, now.interval_ms) == (1, 1, 5)
    assert now.refused == []


def test_a_request_that_is_stalled_is_noted(core):
    _, host, _ = plug(core, idle=False)
    assert host.ready
    assert [setup[1] for setup in host.now.refused] == [10]


def test_reports_go_both_ways(core):
    _, host, program = plug(core)
    seen = []
    host.on_report = lambda report: seen.append((core.now_ns, report))
    program.to_send += [b"\x11" * 64, b"\x22" * 64]
    host.write(b"hello")
    host.write(b"again")
    core.run(core.now_ns + 50 * MS)
    assert program.received == [b"hello".ljust(64, b"\0"), b"again".ljust(64, b"\0")]
    assert [report for _, report in seen] == [b"\x11" * 64, b"\x22" * 64]
    assert seen[1][0] - seen[0][0] >= 4 * MS  # asked in the next slot of five frames


def test_what_the_device_does_not_take_waits(core):
    _, host, program = plug(core)
    program.arm_out = lambda endpoint: None
    host.write(b"one")
    host.write(b"two")
    core.run(core.now_ns + 50 * MS)
    assert len(program.received) == 1
    del program.arm_out
    program.arm_out(1)
    core.run(core.now_ns + 50 * MS)
    assert len(program.received) == 2


def test_unplugged_and_plugged_in_it_is_enumerated_again(core):
    usb, host, _ = plug(core)
    usb.change(SIE_CTRL, CLEAR, 1 << 16)
    core.run(core.now_ns + MS)
    assert host.now is None
    assert not host.ready
    usb.change(SIE_CTRL, 2, 1 << 16)
    core.run(core.now_ns + 400 * MS)
    assert host.ready
    assert len(host.seen) == 2


def test_a_host_that_sleeps_asks_nothing_and_goes_on_where_it_was(core):
    usb, host, program = plug(core)
    reports = []
    host.on_report = reports.append
    host.sleep()
    assert usb.read(INTR) & SUSPENDED and usb.read(SIE_STATUS) & 1 << 4
    usb.change(SIE_STATUS, CLEAR, 1 << 4)
    assert not usb.read(INTR) & SUSPENDED
    host.write(b"asked")
    program.to_send.append(b"told".ljust(64, b"\0"))
    core.run(5000 * MS)
    assert not program.received and not reports
    host.wake()
    assert usb.read(INTR) & RESUMED and usb.read(SIE_STATUS) & 1 << 11
    usb.change(SIE_STATUS, CLEAR, 1 << 11)
    core.run(core.now_ns + 50 * MS)
    assert [report[:5] for report in program.received] == [b"asked"]
    assert [report[:4] for report in reports] == [b"told"]
    assert len(host.seen) == 1  # it was not enumerated again


def test_nothing_is_taken_from_or_given_to_a_buffer_that_is_not_there(core):
    usb = Usb(core)
    assert usb.take(1) is None
    assert usb.give(1, b"x") is None


def test_a_stall_ends_with_the_next_setup(core):
    usb = Usb(core)
    usb.dpram.write_some(0x80, 0, 2, STALL)
    assert usb.take(0) == STALLED
    usb.setup(bytes(8))
    assert usb.take(0) is None


def test_an_interrupt_is_held_until_its_cause_is_cleared(core):
    usb = Usb(core)
    usb.change(INTE, 0, 1 << 12)
    usb.bus_reset()
    assert usb.read(0x98) == 1 << 12
    assert 16 + 14 in core.nvic.pending
    usb.change(SIE_STATUS, CLEAR, 1 << 19)
    assert usb.read(0x98) == 0


def test_two_buffers_take_turns(core):
    usb = Usb(core)
    usb.dpram.write_some(0x08, 0, 4, 1 << 31 | 1 << 30 | 0x180)
    usb.dpram.data[0x180:0x184], usb.dpram.data[0x1C0:0x1C4] = b"0000", b"1111"
    half = FULL | AVAILABLE | 4
    usb.dpram.write_some(0x88, 0, 4, half << 16 | half | 1 << 12)
    assert [usb.take(1), usb.take(1), usb.take(1)] == [b"0000", b"1111", None]
    assert usb.read(BUFF_STATUS) == 1 << 2


def test_a_frame_is_told_only_where_it_is_asked_for(core):
    usb, _, program = plug(core)
    before = usb.read(0x48)
    usb.change(INTE, 0, 1 << 17)
    program.arm_out(1)
    core.run(core.now_ns + 10 * MS)
    assert usb.read(0x48) > before
