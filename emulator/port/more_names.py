"""What the modules have beyond what is loaded with them; what is not emulated is said so."""

import sys

import guard
import late
import link

# module.name → the file that has it.
_WHERE = {
    "machine.Signal": "more_signal",
    "machine.PWM": "more_pwm",
    "machine.Timer": "more_timer",
    "machine.RTC": "more_clock",
    "machine.WDT": "more_timer",
    "machine.SoftI2C": "more_soft",
    "machine.SoftSPI": "more_soft",
    "machine.check_freq": "more_freq",
    "machine.disable_irq": "more_irq",
    "machine.enable_irq": "more_irq",
    "machine.time_pulse_us": "more_irq",
    "os.mkdir": "more_os",
    "os.remove": "more_os",
    "os.rename": "more_os",
    "os.rmdir": "more_os",
    "os.unlink": "more_os",
    "os.sync": "more_os",
    "os.uname": "more_os",
    "sys.stdin": "more_console",
    "time.localtime": "more_clock",
    "time.gmtime": "more_clock",
    "time.mktime": "more_clock",
}


def _module(name):
    return guard.ours.get(name) or sys.modules[name]


def name(module, wanted):
    """What `module` has beyond what is loaded with it."""
    full = module + "." + wanted
    if wanted == "__all__":
        return _public(module)
    where = _WHERE.get(full)
    if where:
        found = getattr(guard.kept.get(where) or late.load(where), wanted)
        setattr(_module(module), wanted, found)
        return found
    # As on a board that lacks it, so that firmware may ask.
    if link.ask(link.OP_DECLARED, 0, 0, full.encode()):
        raise AttributeError("not emulated: %s (docs/guides/emulator.md)" % full)
    raise AttributeError("'module' object has no attribute '%s'" % wanted)


def _public(module):
    """What `from module import *` brings: all that the board has and that is here."""
    names = set(_module(module).__dict__)
    names.update(where.split(".")[1] for where in _WHERE if where.startswith(module))
    return [n for n in names if link.ask(link.OP_DECLARED, 0, 0, (module + "." + n).encode())]
