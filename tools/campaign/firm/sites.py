"""A large firm on several processors: sites of so many cards, each with a server, stations and a
desk of its own. How many there are depends on the number of cards alone, so the same seed gives the
same on one processor and on many."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from concurrent.futures import as_completed
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from tallystick.emulator.devices.image import Image
from tallystick.tools.campaign.engine.pool import worker_pool
from tallystick.tools.campaign.firm.run import FirmResult, simulate
from tallystick.tools.campaign.firm.script import SimulatedFirm
from tallystick.tools.campaign.firm.world import FirmEvent

SITE = 250
_SEEDS_APART = 1_000_003


@dataclass(frozen=True)
class FirmSighting:
    """A violation. site: where. result: of the whole site, to be shortened."""

    site: SimulatedFirm
    what: str
    at: int
    number: int
    result: FirmResult = field(repr=False)


@dataclass
class FirmTally:
    """Of all sites that are done. events: what a person would look at, for a film."""

    sites: int = 0
    simulated_hours: float = 0.0
    faults: int = 0
    acts: int = 0
    violations: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    happened: dict[str, int] = field(default_factory=dict)
    digests: dict[int, str] = field(default_factory=dict)
    found: list[FirmSighting] = field(default_factory=list)
    told: list[list[FirmEvent]] = field(default_factory=list)

    def add(self, number: int, result: FirmResult) -> None:
        self.sites += 1
        self.simulated_hours = max(self.simulated_hours, result.simulated_hours)
        self.faults += result.faults
        self.acts += result.acts
        self.violations += len(result.violations)
        for name, count in asdict(result.counts).items():
            self.counts[name] = self.counts.get(name, 0) + count
        for name, count in result.happened.items():
            self.happened[name] = self.happened.get(name, 0) + count
        self.digests[number] = result.digest
        last = result.told[-1] if result.told else FirmEvent(0, 0, "")
        self.found += [
            FirmSighting(result.firm, what, last.at, last.number, result)
            for what in result.violations
        ]
        self.told.append(result.told)

    @property
    def digest(self) -> str:
        """Of all sites, in their order."""
        texts = (self.digests[number] for number in sorted(self.digests))
        return hashlib.sha256("".join(texts).encode()).hexdigest()

    def as_dict(self) -> dict[str, Any]:
        return {
            "simulated_hours": self.simulated_hours,
            "sites": self.sites,
            "faults": self.faults,
            "acts": self.acts,
            "violations": self.violations,
            "counts": self.counts,
            "happened": self.happened,
            "digest": self.digest,
        }


def sites(firm: SimulatedFirm) -> list[SimulatedFirm]:
    """The firm in parts, none of more than `SITE` cards."""
    count = max(1, -(-firm.cards // SITE))
    share, more = divmod(firm.cards, count)
    readers, others = divmod(firm.readers, count)
    return [
        replace(
            firm,
            cards=share + (number < more),
            readers=readers + (number < others),
            seed=firm.seed + number * _SEEDS_APART,
        )
        for number in range(count)
    ]


def simulate_all(
    firm: SimulatedFirm, image: Image, jobs: int, *, keep: Path | None = None
) -> Iterator[FirmTally]:
    """The tally after each site."""
    tally, parts = FirmTally(), sites(firm)
    if len(parts) == 1:
        tally.add(0, simulate(firm, image=image, keep=keep))
        yield tally
        return
    with worker_pool(min(jobs, len(parts))) as pool:
        waiting = {
            pool.submit(simulate, part, image=image, keep=_folder(keep, number)): number
            for number, part in enumerate(parts)
        }
        for done in as_completed(waiting):
            tally.add(waiting[done], done.result())
            yield tally


def _folder(keep: Path | None, number: int) -> Path | None:
    return None if keep is None else keep / f"site-{number + 1}"
