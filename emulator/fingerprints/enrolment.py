"""When samples may become one template."""

from __future__ import annotations

from collections.abc import Sequence

from tallystick.emulator.fingerprints.matcher import Matcher

# A sample's mean score against the two others that it fits best (the one other, when there are
# two).
MERGE_SCORE = 16


def of_one_finger(samples: Sequence[bytes], matcher: Matcher) -> bool:
    """Whether every sample fits the others. Needs at least two."""
    if len(samples) < 2:
        return False
    for i, one in enumerate(samples):
        scores = sorted(matcher.score(one, other) for j, other in enumerate(samples) if j != i)
        best = scores[-2:]
        if sum(best) < MERGE_SCORE * len(best):
            return False
    return True
