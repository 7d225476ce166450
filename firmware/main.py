# As short as can be: MicroPython compiles this text at every start.
try:
    from card import app

    app.run()
except BaseException as error:
    import sys

    sys.print_exception(error)
finally:
    # The interactive prompt would be a way to the seed: sleep instead of falling through to it.
    import board

    board.off(0)
