# The reader's program. Between boot.py and main.py MicroPython brings up USB, with a serial port
# and its prompt: from here it never does, and the host sees a security key or nothing.
import gc

import micropython

gc.threshold(16384)  # collect often: holes then stay few and large
micropython.kbd_intr(-1)

import sys

try:
    from reader import app

    app.run()
except BaseException as error:
    sys.print_exception(error)
finally:
    # The interactive prompt would be a way to the secrets: start again instead of falling through
    # to it.
    import board

    board.restart()
