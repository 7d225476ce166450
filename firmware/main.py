import gc

import micropython

gc.collect()  # the boot stage is over
gc.threshold(8192)  # collect often: holes then stay few and large
micropython.kbd_intr(-1)  # a byte on the serial line must not stop the firmware

import sys

try:
    from card import app

    app.run()
except BaseException as error:
    sys.print_exception(error)
finally:
    # The interactive prompt would be a way to the secret: sleep instead of falling through to it.
    import board

    board.off(0)
