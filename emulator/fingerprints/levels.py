"""Score thresholds. `tally fingerprints measure` measures them; see findings/fingerprints.md."""

from __future__ import annotations

# Security level of the module → false match rate aimed at, for one probe against one enrolled
# finger (best of its samples), and the least score of a match.
FALSE_MATCH_RATES = {1: 1e-2, 2: 1e-3, 3: 1e-4, 4: 3e-5, 5: 1e-5}
THRESHOLDS = {1: 27, 2: 34, 3: 44, 4: 48, 5: 56}
