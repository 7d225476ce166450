"""Synthetic fingers, their impressions on the sensor, and the matcher that tells them apart.

`docs/fingerprints.md` says how they are made, how they compare with real prints, and what they are
not fit for.
"""

import os

# The matrix products here are small: threads that share them out cost ten times the work itself.
# Heeded when numpy has not been imported yet.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
