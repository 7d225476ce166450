"""`machine.Signal`."""

import machine


class Signal:
    def __init__(self, pin, *args, invert=False, **kw):
        if not isinstance(pin, machine.Pin):
            if invert and "value" in kw:
                kw["value"] = not kw["value"]
            pin = machine.Pin(pin, *args, **kw)
        elif args or kw:
            raise TypeError
        self._pin = pin
        self._invert = 1 if invert else 0

    def __repr__(self):
        return "<Signal>"

    def value(self, v=machine):
        if v is machine:  # it was given none
            return self._pin.value() ^ self._invert
        self._pin.value((1 if v else 0) ^ self._invert)

    def __call__(self, v=machine):
        return self.value(v)

    def on(self):
        self.value(1)

    def off(self):
        self.value(0)
