# As short as can be: MicroPython compiles this text at every start. Between boot.py and main.py it
# brings up USB, with a serial port and its prompt: the reader's program, which is in the slot that
# was mounted, begins here and never ends, so that the host sees a security key or nothing.
try:
    import start

    start.run()
    del start  # its room is the program's
    import program  # noqa: F401
except BaseException as error:
    import sys

    sys.print_exception(error)
finally:
    # The interactive prompt would be a way to the secrets: start again instead of falling through
    # to it.
    import board

    board.restart()
