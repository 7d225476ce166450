"""The measurement: genuine and impostor scores of one population, a finger at a time, kept on disk
so that a run that was stopped goes on where it was."""

from __future__ import annotations

import hashlib
import json
import os
from base64 import b64decode, b64encode
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tallystick.emulator.fingerprints.matcher import Matcher, NbisMatcher
from tallystick.tools.fingerprints.population import FingerOwner, observe


@dataclass(frozen=True)
class TrialPlan:
    """`probes` of every finger's first tries are compared with every other finger's template."""

    first_seed: int = 2_000_000
    fingers: int = 300
    logins: int = 10
    probes: int = 4


@dataclass(frozen=True)
class Impostors:
    """One finger's probes against everybody else's templates. `best`: how often each
    best-of-samples score came; `single`: likewise for the first sample alone."""

    seed: int
    best: dict[int, int]
    single: dict[int, int]


@dataclass(frozen=True)
class Scores:
    subjects: list[FingerOwner]
    impostors: list[Impostors]


def run(plan: TrialPlan, cache: Path, tick: Callable[[str, int], None]) -> Scores:
    """Measures what the cache does not have yet. `tick(stage, done)` hears of progress."""
    matcher = NbisMatcher()
    cache.mkdir(parents=True, exist_ok=True)
    key = hashlib.sha256(json.dumps([asdict(plan), _sources()]).encode()).hexdigest()[:16]
    subjects = list(_subjects(plan, cache / f"subjects-{key}.jsonl", matcher, tick))
    impostors = list(_impostors(subjects, cache / f"impostors-{key}.jsonl", matcher, tick))
    return Scores(subjects, impostors)


def _sources() -> str:
    """Digest of the code that decides scores: other code, other measurement."""
    from tallystick.emulator import fingerprints  # noqa: PLC0415 - only to find the folder

    digest = hashlib.sha256()
    for path in sorted(Path(fingerprints.__path__[0]).glob("*.py")):
        if path.name not in ("levels.py", "fingers.py"):
            digest.update(path.read_bytes())
    return digest.hexdigest()


def _subjects(
    plan: TrialPlan, path: Path, matcher: Matcher, tick: Callable[[str, int], None]
) -> Iterator[FingerOwner]:
    known = [_subject(line) for line in _lines(path)]
    yield from known
    with path.open("a", encoding="utf-8") as out:
        for k in range(len(known), plan.fingers):
            subject = observe(plan.first_seed + k, plan.logins, plan.probes, matcher)
            _append(out, _plain(subject))
            tick("fingers", k + 1)
            yield subject


def _impostors(
    subjects: list[FingerOwner],
    path: Path,
    matcher: Matcher,
    tick: Callable[[str, int], None],
) -> Iterator[Impostors]:
    known = [
        Impostors(line["seed"], _counts(line["best"]), _counts(line["single"]))
        for line in _lines(path)
    ]
    yield from known
    with path.open("a", encoding="utf-8") as out:
        for k in range(len(known), len(subjects)):
            best: Counter[int] = Counter()
            single: Counter[int] = Counter()
            for other in subjects:
                if other.seed == subjects[k].seed or other.template is None:
                    continue
                for probe in subjects[k].probes:
                    scores = [matcher.score(probe, sample) for sample in other.template]
                    best[max(scores)] += 1
                    single[scores[0]] += 1
            found = Impostors(subjects[k].seed, dict(best), dict(single))
            _append(out, asdict(found))
            tick("impostors", k + 1)
            yield found


def _counts(value: dict[str, int]) -> dict[int, int]:
    return {int(score): count for score, count in value.items()}


def _lines(path: Path) -> list[dict[str, Any]]:
    """Whole lines only: the last one is torn when the run was killed while it wrote."""
    if not path.exists():
        return []
    whole = path.read_bytes().rpartition(b"\n")[0]
    os.truncate(path, len(whole) + bool(whole))
    return [json.loads(line) for line in whole.splitlines()]


def _append(out: Any, value: dict[str, Any]) -> None:
    out.write(json.dumps(value) + "\n")
    out.flush()


def _plain(subject: FingerOwner) -> dict[str, Any]:
    value = asdict(subject)
    value["probes"] = [b64encode(probe).decode() for probe in subject.probes]
    if subject.template is not None:
        value["template"] = [b64encode(sample).decode() for sample in subject.template]
    return value


def _subject(line: dict[str, Any]) -> FingerOwner:
    line["probes"] = [b64decode(probe) for probe in line["probes"]]
    if line["template"] is not None:
        line["template"] = tuple(b64decode(sample) for sample in line["template"])
    return FingerOwner(**line)
