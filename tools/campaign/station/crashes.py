"""`tally campaign station`: the station, the card's power or the server is killed at every journal
write, every command to the card and every request to the server; what is left must be finished
by the next run with the same seed, and neither side may ever hold a seed that the other lacks.

The oracle stands outside: the emulated card's own answers and the pixels of its display, and the
server's API with a service's credential.
"""

from __future__ import annotations

import random
import signal
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import click
import httpx

from tallystick.common.console import err, json_option, out, print_json, progress
from tallystick.common.errors import BadInputError, ExitCode
from tallystick.common.identity import DEVELOPMENT_MASTER, Identity
from tallystick.emulator import boards
from tallystick.emulator.devices.card import Card
from tallystick.emulator.devices.image import Image
from tallystick.provisioning.card.connection import CardConnection
from tallystick.provisioning.card.issuer import LifeCycle
from tallystick.provisioning.custody.keyfile import KeyRing, parse_credential
from tallystick.provisioning.recovery import CardAtHand, look_at
from tallystick.server.serving.running import RunningServer, running, start
from tallystick.tools import options
from tallystick.tools.campaign.station.rate import Rate, measure
from tallystick.tools.campaign.station.rig import StationLife, StationRig, run_station
from tallystick.tools.docked import DockedLink
from tallystick.tools.image.build import build, write

BOARD = boards.DEFAULT
RESUMES = 3
RATE_HELP = "Kill nothing: measure how fast so many cards go through."


@dataclass
class CrashResult:
    """kills: how often something was killed. violations: what the oracle found, each with the
    name of its case, which `--only` replays."""

    cases: int = 0
    kills: int = 0
    resumed: int = 0
    events: int = 0
    violations: list[str] = field(default_factory=list)
    seconds: float = 0.0
    seed: int = 0


@dataclass(frozen=True)
class CrashCase:
    """What is killed: "station", "power" or "server"; at which event or write, and what that is;
    then the station again at another event of the next run.
    reseed: the card is in service before, and gets a new seed."""

    target: str
    at: int
    label: str
    again: int | None = None
    arrives: bool = True
    reseed: bool = False

    @property
    def name(self) -> str:
        what = "reseed, " if self.reseed else ""
        return f"{what}{self.target} {self.label}" + (f", then {self.again}" if self.again else "")


@click.command()
@click.option("--pairs", default=20, show_default=True, help="Random cases with a second kill.")
@options.seed(0, "Chooses the pairs.")
@click.option("--only", metavar="CASE", help="Run this case alone, as named in a violation.")
@click.option("--rate", "cards", metavar="CARDS", type=click.IntRange(1), help=RATE_HELP)
@click.option("--ports", default=8, show_default=True, help="Ports for --rate.")
@json_option
def station(
    *, pairs: int, seed: int, only: str | None, cards: int | None, ports: int, as_json: bool
) -> None:
    """Kill station, card and server at every step of provisioning, and look what is left."""
    if cards is not None:
        _print_rate(measure(ports, cards), as_json)
        return
    with progress(disable=as_json) as bar:
        task = bar.add_task("kills", total=None)

        def advance(total: int) -> None:
            bar.update(task, total=total, advance=1)

        result = run(pairs=pairs, seed=seed, only=only, on_case=advance)
    if as_json:
        print_json(
            {**asdict(result), "violations": len(result.violations), "found": result.violations}
        )
    else:
        out().print(
            f"{result.cases} cases, {result.kills} kills over {result.events} events, "
            f"{result.resumed} cards finished by a later run, "
            f"{len(result.violations)} violations, {result.seconds:.0f} s"
        )
    for violation in () if as_json else result.violations:
        err().print(f"[red]violation[/] {violation}", highlight=False)
    if result.violations:
        raise SystemExit(ExitCode.FAILED)


def _print_rate(rate: Rate, as_json: bool) -> None:
    if as_json:
        print_json(asdict(rate))
        return
    for name, value in asdict(rate).items():
        out().print(f"{name:>12}  {value}")


def run(
    *,
    pairs: int = 20,
    seed: int = 0,
    only: str | None = None,
    limit: int | None = None,
    on_case: Callable[[int], None] = lambda total: None,
) -> CrashResult:
    """Run the campaign. limit: at most so many cases, spread over all of them."""
    began = time.perf_counter()
    result = CrashResult(seed=seed)
    with tempfile.TemporaryDirectory() as name, running(Path(name)) as live:
        campaign = _Campaign(Path(name), live, result)
        try:
            campaign.run(pairs, random.Random(seed), only, limit, on_case)
        finally:
            campaign.close()
    result.seconds = round(time.perf_counter() - began, 1)
    return result


class _Campaign:
    def __init__(self, folder: Path, live: RunningServer, result: CrashResult) -> None:
        self._folder = folder
        self._live = live
        self._result = result
        self._restarted: RunningServer | None = None
        self._image = Image.load(write(build("card", BOARD, "0.1.0"), folder / "image")["bin"])
        station = live.add_credential("station", "campaign")
        service = live.add_credential("service", "oracle")
        assert station.psk is not None
        self._station_headers = _bearer(station.token.reveal())
        self._service_headers = _bearer(service.token.reveal())
        ring = KeyRing.create(DEVELOPMENT_MASTER)
        credential = {
            "id": station.id,
            "role": "station",
            "token": station.token.reveal().decode(),
            "psk": station.psk.reveal().hex(),
        }
        ring.enroll(parse_credential(live.url, credential))
        self._ring = ring
        self._cards = 0

    def close(self) -> None:
        if self._restarted is not None:
            self._restarted.stop()

    def run(
        self,
        pairs: int,
        rng: random.Random,
        only: str | None,
        limit: int | None,
        on_case: Callable[[int], None],
    ) -> None:
        whole, reseeded = self._undisturbed()
        self._result.events = len(whole.events) + len(reseeded.events)
        cases = list(_cases(whole, pairs, rng, reseed=False))
        cases += _cases(reseeded, pairs, rng, reseed=True)
        if only is not None:
            cases = [case for case in cases if case.name == only]
            if not cases:
                raise BadInputError(f"There is no case {only}.", todo="Use the same --seed.")
        if limit is not None and len(cases) > limit:
            cases = sorted(rng.sample(cases, limit), key=cases.index)
        for case in cases:
            self._case(case)
            on_case(len(cases))

    def _undisturbed(self) -> tuple[StationLife, StationLife]:
        """A card provisioned, then reseeded, with nothing killed."""
        with self._new_card() as card:
            rig = self._rig()
            runs = []
            for reseed in (False, True):
                run = run_station(replace(rig, reseed=reseed), card)
                if not run.finished:
                    raise BadInputError("A card that nobody disturbs is not provisioned.")
                runs.append(run)
            self._check_end("undisturbed", rig, card)
            return runs[0], runs[1]

    def _new_card(self) -> Card:
        self._cards += 1
        identity = Identity.derive(self._serial, 20260101).encode()
        card = Card(self._image, identity=identity, seed=self._cards)
        card.power_on()
        return card

    @property
    def _serial(self) -> str:
        return f"TC{self._cards:08d}"

    def _rig(self) -> StationRig:
        journal = self._folder / f"journal-{self._cards}.db"
        user = f"user{self._cards}"
        self._live.make_known(user)
        return StationRig(self._ring, self._live.url, journal, user)

    def _case(self, case: CrashCase) -> None:
        self._result.cases += 1
        with self._new_card() as card:
            rig = self._rig()
            if case.reseed:
                run_station(rig, card)
                rig = replace(rig, reseed=True)
            first = self._strike(case, rig, card)
            if not first.finished:
                self._check_between(case.name, card)
                self._finish(case, rig, card)
            self._check_end(case.name, rig, card)

    def _strike(self, case: CrashCase, rig: StationRig, card: Card) -> StationLife:
        """Run a station that the case befalls; counts the kill if it came to that."""
        if case.target == "power":
            struck = run_station(rig, card, power_cut=(case.at, case.arrives))
        elif case.target == "station":
            struck = run_station(rig, card, at=case.label)
        else:
            process = (self._restarted or self._live).process
            struck = run_station(
                rig, card, at=case.label, act=lambda: process.send_signal(signal.SIGKILL)
            )
            self._restart_server()
        self._result.kills += struck.killed or not card.powered or case.target == "server"
        return struck

    def _restart_server(self) -> None:
        (self._restarted or self._live).kill()
        port = int(self._live.url.rsplit(":", 1)[1])
        self._restarted = start(self._live.settings, port=port)

    def _finish(self, case: CrashCase, rig: StationRig, card: Card) -> None:
        """What `tally station resume` does, killed once more if the case says so."""
        if case.again is not None:
            self._result.kills += run_station(rig, card, at=case.again).killed
            self._check_between(case.name, card)
        for _ in range(RESUMES):
            if run_station(rig, card).finished:
                self._result.resumed += 1
                return
            if not rig.reseed and self._look(card).life_cycle is LifeCycle.SECURED:
                return  # it was finished before the kill: provisioning it again is refused

    def _look(self, card: Card) -> CardAtHand:
        if not card.powered:
            card.power_on()
        link = DockedLink(card)
        try:
            return look_at(CardConnection(link))
        finally:
            link.close()

    def _registered(self) -> dict[str, object] | None:
        answer = httpx.get(
            f"{self._live.url}/v1/cards/{self._serial}", headers=self._station_headers
        )
        return answer.json() if answer.status_code == 200 else None

    def _check_between(self, case: str, card: Card) -> None:
        if self._registered() is not None and not self._look(card).credentials:
            self._violation(case, "the server holds a seed that the card lacks")

    def _check_end(self, case: str, rig: StationRig, card: Card) -> None:
        seen = self._look(card)
        if seen.life_cycle is not LifeCycle.SECURED or seen.credentials != (self._serial,):
            self._violation(case, f"the card is left in {seen.life_cycle.name}")
        known = self._registered()
        if known is None or known["user"] != rig.user or known["moving_factor"] != 2:
            self._violation(case, f"the server has {known}")
        card.press()
        code = card.read_code()
        answer = httpx.post(
            f"{self._live.url}/v1/verify",
            json={"user": rig.user, "code": code or "000000"},
            headers=self._service_headers,
        )
        if not answer.json().get("accepted"):
            self._violation(case, "the server refuses the code on the card's display")
        self._check_journal(case, rig)

    def _check_journal(self, case: str, rig: StationRig) -> None:
        database = sqlite3.connect(rig.journal)
        try:
            rows = database.execute("SELECT state, container FROM cards").fetchall()
        finally:
            database.close()
        if not rows or set(rows) != {("locked", None)}:
            states = [state for state, _ in rows]
            self._violation(case, f"the journal has {states}")

    def _violation(self, case: str, what: str) -> None:
        self._result.violations.append(f"{case}: {what}")


def _cases(
    whole: StationLife, pairs: int, rng: random.Random, *, reseed: bool
) -> Iterator[CrashCase]:
    """Every event for the station, every write for the card's power, every request for the
    server; then random pairs."""
    events = list(enumerate(whole.events))
    station = [CrashCase("station", at, label, reseed=reseed) for at, label in events]
    power = [
        CrashCase(
            "power",
            at,
            f"{'after' if arrives else 'before'} write {at}",
            arrives=arrives,
            reseed=reseed,
        )
        for at in range(whole.writes)
        for arrives in (False, True)
    ]
    yield from station
    yield from power
    yield from (
        CrashCase("server", at, label, reseed=reseed) for at, label in events if " http " in label
    )
    for _ in range(pairs):
        yield replace(rng.choice(station + power), again=rng.randrange(1, len(events)))


def _bearer(token: bytes) -> dict[str, str]:
    return {"Authorization": f"Bearer {token.decode()}"}
