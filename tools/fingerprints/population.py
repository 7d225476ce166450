"""A population of synthetic fingers: each enrolled once, then used for a number of log-ins, by the
same rules as the sensor and the reader's driver."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from tallystick.emulator.fingerprints import feedback
from tallystick.emulator.fingerprints.enrolment import of_one_finger
from tallystick.emulator.fingerprints.feedback import Fault, Placement
from tallystick.emulator.fingerprints.impression import (
    Press,
    careful_press,
    impression,
    usual_press,
)
from tallystick.emulator.fingerprints.master import Master, make_master
from tallystick.emulator.fingerprints.matcher import Matcher, minutiae_count
from tallystick.emulator.fingerprints.quality import measure

SAMPLES = 6
MOST_PRESSES = 30  # of one enrolment, before it counts as failed
TRIES = 3
ENOUGH = 150  # a score that no threshold comes near: no further try is needed


@dataclass
class FingerOwner:
    """One finger. `template` is None when it could not be enrolled. `logins` has the best score
    over the template's samples for each try, -1 when no features came out of the image. `single`
    has the scores of log-in images against the first enrolled sample. `probes` are features of
    first tries."""

    seed: int
    pattern: str
    presses: int = 0
    merge_failures: int = 0
    template: tuple[bytes, ...] | None = None
    logins: list[list[int]] = field(default_factory=list)
    single: list[int] = field(default_factory=list)
    probes: list[bytes] = field(default_factory=list)


def observe(seed: int, logins: int, probes: int, matcher: Matcher) -> FingerOwner:
    """Enrols the finger of this seed and logs in `logins` times, always with the same result."""
    master = make_master(seed)
    rng = np.random.default_rng((0x10C1, seed))
    subject = FingerOwner(seed, str(master.traits.pattern))
    _enrol(subject, master, rng, matcher)
    if subject.template is not None:
        for _ in range(logins):
            _log_in(subject, subject.template, master, rng, matcher, probes)
    return subject


def _enrol(
    subject: FingerOwner, master: Master, rng: np.random.Generator, matcher: Matcher
) -> None:
    samples: list[bytes] = []
    while subject.presses < MOST_PRESSES:
        subject.presses += 1
        features = _features(master, careful_press(rng, master.traits), rng, matcher)
        if features is not None:
            samples.append(features)
        if len(samples) == SAMPLES:
            if of_one_finger(samples, matcher):
                subject.template = tuple(samples)
                return
            subject.merge_failures += 1
            samples.clear()


def _log_in(
    subject: FingerOwner,
    template: tuple[bytes, ...],
    master: Master,
    rng: np.random.Generator,
    matcher: Matcher,
    probes: int,
) -> None:
    tries: list[int] = []
    for attempt in range(TRIES):
        features = _features(master, usual_press(rng, master.traits), rng, matcher)
        if features is None:
            tries.append(-1)
            continue
        scores = [matcher.score(features, sample) for sample in template]
        tries.append(max(scores))
        subject.single.append(scores[0])
        if attempt == 0 and len(subject.probes) < probes:
            subject.probes.append(features)
        if max(scores) >= ENOUGH:
            break
    subject.logins.append(tries)


def _features(
    master: Master, press: Press, rng: np.random.Generator, matcher: Matcher
) -> bytes | None:
    """None when the sensor would ask for another press (GetImageEx or Img2Tz refuse)."""
    pixels = impression(master, press, rng)
    quality = measure(pixels)
    if not feedback.shows_finger(quality) or feedback.placement(quality) is not Placement.GOOD:
        return None
    template = matcher.extract(pixels)
    good = feedback.fault(quality, minutiae_count(template)) is Fault.NONE
    return template if good else None
