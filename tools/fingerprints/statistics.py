"""Intervals for error rates."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np


def exact_interval(events: int, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """Clopper and Pearson's two-sided interval for a proportion (0 to 1), trials taken as
    independent. confidence: 0 to 1."""
    if not trials:
        return 0.0, 1.0
    tail = (1 - confidence) / 2
    low = 0.0
    if events:
        low = _root(lambda p: 1 - _at_most(events - 1, trials, p), tail)
    high = 1.0
    if events < trials:
        high = _root(lambda p: 1 - _at_most(events, trials, p), 1 - tail)
    return low, high


def _root(rising: Callable[[float], float], value: float) -> float:
    """Where a function that rises from 0 to 1 over [0, 1] takes `value`."""
    low, high = 0.0, 1.0
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if rising(middle) < value else (low, middle)
    return (low + high) / 2


def _at_most(events: int, trials: int, p: float) -> float:
    """Binomial probability of no more than `events`."""
    if p <= 0:
        return 1.0
    if p >= 1:
        return 1.0 if events >= trials else 0.0
    k = np.arange(events + 1)
    choose = math.lgamma(trials + 1) - np.array(
        [math.lgamma(i + 1) + math.lgamma(trials - i + 1) for i in range(events + 1)]
    )
    return float(np.exp(choose + k * math.log(p) + (trials - k) * math.log1p(-p)).sum())


def cluster_interval(
    events: Sequence[int], trials: Sequence[int], confidence: float = 0.95, draws: int = 4000
) -> tuple[float, float]:
    """Bootstrap interval for a proportion when the trials of one finger go together: `events` and
    `trials` a finger; whole fingers are drawn anew. Proportion and `confidence`: 0 to 1."""
    rng = np.random.default_rng(1)
    hits, counts = np.asarray(events), np.asarray(trials)
    chosen = rng.integers(len(hits), size=(draws, len(hits)))
    rates = hits[chosen].sum(axis=1) / np.maximum(1, counts[chosen].sum(axis=1))
    tail = (1 - confidence) / 2
    low, high = np.quantile(rates, [tail, 1 - tail])
    return float(low), float(high)
