import gc

import micropython

gc.threshold(8192)  # collect often: what stays then lies together
micropython.kbd_intr(-1)  # a byte on the serial line must not stop the device

try:
    import start

    start.run()
except BaseException as error:
    import sys

    sys.print_exception(error)
    # The interactive prompt would be a way to the secret: sleep instead of falling through to it.
    import board

    board.off(0)
# MicroPython now runs main.py, from the slot that was mounted.
