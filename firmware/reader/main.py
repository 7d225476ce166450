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
