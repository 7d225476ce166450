"""`tally campaign wire`: a relay on the serial line, which does what it likes with every block."""

from __future__ import annotations

import time
from dataclasses import asdict

import click

from tallystick.common.console import err, json_option, out, print_json, progress
from tallystick.common.errors import BadInputError, ExitCode
from tallystick.common.ranges import RealRange
from tallystick.emulator.interpreter import resident
from tallystick.tools import options
from tallystick.tools.campaign.wire import zoo
from tallystick.tools.campaign.wire.acts import TO_CARD_ACTS, TO_STATION_ACTS
from tallystick.tools.campaign.wire.deeds import TO_CARD, Deed
from tallystick.tools.campaign.wire.run import Wire, WireSighting, WireTally, run, subject

_SECONDS = 600.0


@click.command()
@click.option("--runs", type=click.IntRange(1), help="Relays, instead of a time.")
@click.option(
    "--seconds",
    type=RealRange(min=1),
    help=f"How long (default: {_SECONDS:.0f}, or --runs).",
)
@options.seed(1, "Of the first relay.")
@options.jobs
@click.option("--replay", "line", help="One relay again, as a violation names it.")
@click.option("--zoo", "broken", is_flag=True, help="Cards and stations broken on purpose.")
@json_option
def wire(
    *, runs: int | None, seconds: float | None, seed: int, jobs: int, line: str | None,
    broken: bool, as_json: bool,
) -> None:  # fmt: skip
    """Let a relay forge, strip, reorder, replay, delay and downgrade what station and card say.

    Station and firmware are the product's own: provisioning, resuming, a new seed, new keys, the
    card's end, an update. No forged answer may be taken, no secret may pass in the clear, no card
    may be left that the journal does not know, and an honest line must finish every card.
    """
    if line is not None:
        _tell_one(_replay(line), as_json)
        return
    if broken:
        _hunt(as_json)
        return
    began, tally = time.monotonic(), WireTally()
    if runs is None and seconds is None:
        seconds = _SECONDS
    with progress(disable=as_json) as bar:
        shown = bar.add_task("relays", total=runs)
        for tally in run(subject(), runs, seconds, seed, jobs):
            bar.update(shown, completed=tally.runs)
    _tell(tally, time.monotonic() - began, as_json)
    if tally.violations:
        raise SystemExit(ExitCode.FAILED)


def _replay(line: str) -> list[WireSighting]:
    """Raises BadInputError."""
    name, *words = (word.strip() for word in line.split(","))
    deeds = tuple(Deed.parse(word) for word in words)
    for deed in deeds:
        known = TO_CARD_ACTS if deed.way == TO_CARD else TO_STATION_ACTS
        if deed.name not in known:
            raise BadInputError(f"{deed} is no deed.", todo=f"One of {', '.join(sorted(known))}.")
    with resident.enabled():
        relays = Wire(*subject())
        try:
            if name not in relays.scenarios:
                raise BadInputError(
                    f"There is no scenario {name!r}.", todo=f"One of {', '.join(relays.scenarios)}."
                )
            return [WireSighting(line, *one) for one in relays.run(name, deeds, WireTally())]
        finally:
            relays.close()


def _tell_one(found: list[WireSighting], as_json: bool) -> None:
    if as_json:
        print_json({"runs": 1, "violations": len(found), "found": [asdict(one) for one in found]})
    elif not found:
        out().print("no violation")
    for one in () if as_json else found:
        out().print(f"{one.kind}: {one.what}", markup=False)
    if found:
        raise SystemExit(ExitCode.FAILED)


def _tell(tally: WireTally, seconds: float, as_json: bool) -> None:
    if as_json:
        print_json(tally.as_dict() | {"seconds": round(seconds, 1)})
        return
    for one in tally.found:
        out().print(f"[red]{one.kind}[/]: {one.what}\n  --replay '{one.line}'")
    deeds = sum(tally.deeds.values())
    out().print(
        f"{tally.runs:,} relays with {deeds:,} deeds in {seconds:.0f} s, {tally.done:,} in vain; "
        f"{tally.violations:,} violations"
    )


def _hunt(as_json: bool) -> None:
    rows = []
    for one in (*zoo.CARDS, *zoo.STATIONS):
        found = zoo.hunt(one)
        rows.append((one, found))
        if not as_json:
            line = f"{found.kind}: {found.what}" if found else "NOT CAUGHT"
            err().print(f"{one.name:<22} {line}", markup=False)
    escaped = [one.name for one, found in rows if found is None]
    if as_json:
        print_json(
            [
                {"name": one.name, "sentence": one.sentence, "caught": found is not None}
                | (asdict(found) if found else {})
                for one, found in rows
            ]
        )
    if escaped:
        raise SystemExit(ExitCode.FAILED)
