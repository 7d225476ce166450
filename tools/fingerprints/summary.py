"""What the scores say: error rates with intervals, by threshold and by security level."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from typing import Any

import numpy as np

from tallystick.emulator.fingerprints.levels import FALSE_MATCH_RATES, THRESHOLDS
from tallystick.tools.fingerprints.measurement import Scores, TrialPlan
from tallystick.tools.fingerprints.population import FingerOwner
from tallystick.tools.fingerprints.statistics import cluster_interval, exact_interval

HIGHEST = 120  # thresholds of the curve go up to here


def summarise(plan: TrialPlan, scores: Scores) -> dict[str, Any]:
    """Everything that the documentation quotes, as plain JSON."""
    enrolled = [subject for subject in scores.subjects if subject.template is not None]
    best = sum((Counter(each.best) for each in scores.impostors), Counter[int]())
    single = sum((Counter(each.single) for each in scores.impostors), Counter[int]())
    genuine = np.array([score for subject in enrolled for score in subject.single])
    return {
        "plan": asdict(plan),
        "fingers": len(scores.subjects),
        "failures_to_enrol": len(scores.subjects) - len(enrolled),
        "presses_per_enrolment": round(float(np.mean([s.presses for s in scores.subjects])), 2),
        "merge_failures": sum(s.merge_failures for s in scores.subjects),
        "patterns": dict(Counter(s.pattern for s in scores.subjects).most_common()),
        "impostor_pairs": best.total(),
        "log_ins": sum(len(s.logins) for s in enrolled),
        "levels": [_level(level, scores, enrolled) for level in THRESHOLDS],
        "single_comparison": _single(genuine, single),
        "impostor_scores": {str(score): best[score] for score in sorted(best)},
        "curve": [_point(t, best, enrolled) for t in range(8, HIGHEST + 1)],
    }


def _level(level: int, scores: Scores, enrolled: list[FingerOwner]) -> dict[str, Any]:
    """False matches a pair, and refused log-ins with one try and with three."""
    least = THRESHOLDS[level]
    matches = [sum(n for s, n in each.best.items() if s >= least) for each in scores.impostors]
    pairs = [sum(each.best.values()) for each in scores.impostors]
    first = [sum(login[0] < least for login in subject.logins) for subject in enrolled]
    three = [sum(max(login) < least for login in subject.logins) for subject in enrolled]
    logins = [len(subject.logins) for subject in enrolled]
    return {
        "level": level,
        "threshold": least,
        "aim": FALSE_MATCH_RATES[level],
        "false_match": _rate(matches, pairs),
        "refused_one_try": _rate(first, logins),
        "refused_three_tries": _rate(three, logins),
    }


def _rate(events: list[int], trials: list[int]) -> dict[str, Any]:
    """`exact`: Clopper-Pearson, as if independent. `by_finger`: bootstrap over fingers. 95 %."""
    total, of = sum(events), sum(trials)
    return {
        "events": total,
        "trials": of,
        "rate": total / of if of else 0.0,
        "exact": list(exact_interval(total, of)),
        "by_finger": list(cluster_interval(events, trials)),
    }


def _single(genuine: Any, impostor: Counter[int]) -> dict[str, Any]:
    """One image against one image, as published figures are given."""
    falling = sorted(impostor.elements(), reverse=True)
    operating = {}
    for rate in (0.01, 0.001):
        threshold = falling[int(rate * len(falling))] + 1
        operating[str(rate)] = {
            "threshold": threshold,
            "true_match_rate": float((genuine >= threshold).mean()),
        }
    return {
        "genuine_quantiles": {
            str(q): float(np.quantile(genuine, q)) for q in (0.05, 0.25, 0.5, 0.75, 0.95)
        },
        "genuine_over_40": float((genuine > 40).mean()),
        "impostor_over_40": sum(n for s, n in impostor.items() if s > 40) / impostor.total(),
        "at_false_match_rate": operating,
    }


def _point(threshold: int, best: Counter[int], enrolled: list[FingerOwner]) -> list[float]:
    """[threshold, false match rate, refused with one try, refused with three]."""
    logins = [login for subject in enrolled for login in subject.logins]
    return [
        threshold,
        sum(n for s, n in best.items() if s >= threshold) / best.total(),
        sum(login[0] < threshold for login in logins) / len(logins),
        sum(max(login) < threshold for login in logins) / len(logins),
    ]
