"""The emulator: the hardware that firmware talks to. It knows firmware only as an image file."""

import os

# Fingerprints are made with small matrix products: threads that share them out cost ten times the
# work itself. Heeded when numpy has not been imported yet.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
