"""The reader's program, which its boot stage begins by this name: it keeps the name for ever."""

import gc

import micropython

gc.threshold(16384)  # collect often: holes then stay few and large
micropython.kbd_intr(-1)

from reader import app

app.run()
