# As short as can be: MicroPython compiles this text at every start, and then main.py, from the slot
# that was mounted.
try:
    import start

    start.run()
except BaseException as error:
    import sys

    sys.print_exception(error)
    # The interactive prompt would be a way to the seed: sleep instead of falling through to it.
    import board

    board.off(0)
