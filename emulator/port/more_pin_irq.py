"""What `Pin.irq` answers on an RP2, beyond what is loaded with it."""

import time

import link
import machine

_EDGES = 12


def flags(self):
    """The edge that its handler was called at last: that which left the pin as it is."""
    number = self._pin._n
    if not time.had[number]:
        return 0
    asked = machine._triggers[number]
    if asked != _EDGES:
        return asked
    return machine.Pin.IRQ_RISING if self._pin.value() else machine.Pin.IRQ_FALLING


def trigger(self, edges=None):
    number = self._pin._n
    before = machine._triggers[number]
    if edges is not None:
        time.had[number] = 0
        machine._triggers[number] = edges & _EDGES
        link.post(link.OP_PIN_IRQ, number, edges & _EDGES)
    return before


def call(self):
    handler = time._handlers.get(self._pin._n)
    if handler:
        handler[0](self._pin)


machine.irq_of.flags = flags
machine.irq_of.trigger = trigger
machine.irq_of.call = call
