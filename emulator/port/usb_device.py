"""`machine.USBDevice` of the boards that have it, as far as firmware uses it.

The host's enumeration is played here, when the device becomes active: the configuration is opened
and the HID report descriptor is asked for. Transfers go to the emulator; their ends come with
waits.
"""

import time

import link
import machine

_EVENT = 0xFE  # among the pins that fired: a transfer is over


class USBDevice:
    class BUILTIN_NONE:  # noqa: N801
        """No serial port beside the firmware's own interface."""

    def __init__(self):
        self.builtin_driver = None
        self._callbacks = None
        self._active = False
        self._out = {}

    def config(
        self,
        desc_dev,
        desc_cfg,
        desc_strs,
        open_itf_cb=None,
        reset_cb=None,
        control_xfer_cb=None,
        xfer_cb=None,
    ):
        for name, descriptor in (("desc_dev", desc_dev), ("desc_cfg", desc_cfg)):
            if isinstance(descriptor, int):
                raise ValueError(name)
        self._descriptors = (bytes(desc_dev), bytes(desc_cfg))
        self._callbacks = (open_itf_cb, reset_cb, control_xfer_cb, xfer_cb)

    def active(self, value=None):
        before = self._active
        if value is None:
            return before
        if value and not self._active:
            if not self._callbacks:
                raise OSError(22)
            self._active = True
            time._handlers[_EVENT] = (self._events, None)
            self._active = True  # before the host opens it: what it opens may be armed
            opened, _, control, _ = self._callbacks
            if opened:
                opened(memoryview(self._descriptors[1])[9:])
            report = control and control(1, memoryview(b"\x81\x06\x00\x22\x00\x00\x00\x01"))
            parts = self._descriptors + (bytes(report or b""),)
            link.post(
                link.OP_USB_ACTIVE, 1, 0, b"".join(len(p).to_bytes(2, "little") + p for p in parts)
            )
        elif self._active and not value:
            self._active = False
            if self._callbacks[1]:
                self._callbacks[1]()
            link.post(link.OP_USB_ACTIVE, 0)
        return before

    def submit_xfer(self, endpoint, buffer):
        if not self._active:
            raise OSError(22)
        if endpoint & 0x80:
            link.post(link.OP_USB_SUBMIT, endpoint, 0, buffer)
        else:
            self._out[endpoint] = buffer
            link.post(link.OP_USB_SUBMIT, endpoint, len(buffer))
        return True

    def _events(self, _):
        while True:
            endpoint = link.call(link.OP_USB_EVENT)
            data = link.answer()
            if not endpoint:
                return
            if not endpoint & 0x80:
                self._out[endpoint][: len(data)] = data
                self._callbacks[3](endpoint, 0, len(data))
            else:
                self._callbacks[3](endpoint, 0, 64)


machine.USBDevice = USBDevice
