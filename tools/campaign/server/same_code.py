"""`tally campaign server`: is a code accepted once, and a guess counted, under parallel load?

The real server runs with several workers on a real database. In each round one right code is
posted many times at once: it must be accepted exactly once. In each guessing round a fresh card
gets more wrong codes at once than the policy allows: exactly the limit must be evaluated.
"""

from __future__ import annotations

import json
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import click
import httpx
from pskc import PSKC

from tallystick.common.closing import Closing
from tallystick.common.console import json_option, out, print_json, progress
from tallystick.common.errors import ExitCode
from tallystick.common.secret import Secret
from tallystick.server.accounts.credentials import NewCredential
from tallystick.server.rules.judge import CodePolicy
from tallystick.server.rules.otp import hotp
from tallystick.server.serving.running import RunningServer, running
from tallystick.tools import options

HOTP_PROFILE = "urn:ietf:params:xml:ns:keyprov:pskc:hotp"
LIMIT = CodePolicy().max_failures


@dataclass
class SameCodeResult:
    """double_accepts: rounds in which a code was accepted more than once. lost: rounds in which it
    was accepted by nobody. extra_guesses: guesses evaluated beyond the limit; missing_guesses:
    below it. errors: answers of 5xx, and requests without an answer."""

    database: str
    workers: int
    parallel: int
    rounds: int = 0
    guess_rounds: int = 0
    double_accepts: int = 0
    lost: int = 0
    extra_guesses: int = 0
    missing_guesses: int = 0
    errors: int = 0
    seconds: float = 0.0

    @property
    def clean(self) -> bool:
        found = (
            self.double_accepts,
            self.lost,
            self.extra_guesses,
            self.missing_guesses,
            self.errors,
        )
        return not any(found)


@click.command()
@click.option(
    "--rounds",
    default=1000,
    show_default=True,
    type=click.IntRange(1),
    help="Codes that are each posted many times at once.",
)
@click.option(
    "--guess-rounds",
    default=100,
    show_default=True,
    type=click.IntRange(0),
    help="Cards that are each guessed at many times at once.",
)
@options.workers(4)
@click.option(
    "--parallel", default=8, show_default=True, type=click.IntRange(2, 64), help="Requests at once."
)
@click.option("--db", metavar="URL", help="A database to fill (default: SQLite in a new folder).")
@json_option
def server(
    *, rounds: int, guess_rounds: int, workers: int, parallel: int, db: str | None, as_json: bool
) -> None:
    """Post the same code many times at once, and too many guesses at once."""
    with progress(disable=as_json) as bar:
        task = bar.add_task("rounds", total=rounds + guess_rounds)
        result = run(
            rounds=rounds,
            guess_rounds=guess_rounds,
            workers=workers,
            parallel=parallel,
            db=db,
            on_round=lambda: bar.advance(task),
        )
    if as_json:
        print_json(asdict(result))
    else:
        for name, value in asdict(result).items():
            out().print(f"{name:>16}  {value}")
    if not result.clean:
        raise SystemExit(ExitCode.FAILED)


def run(
    *,
    rounds: int,
    guess_rounds: int,
    workers: int,
    parallel: int,
    db: str | None = None,
    on_round: Callable[[], None] = lambda: None,
) -> SameCodeResult:
    """Start a server, run the rounds, stop it. `db` names an empty database."""
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with running(folder, db=db, workers=workers) as live:
            database = live.settings.db_url.split(":", 1)[0].split("+", 1)[0]
            result = SameCodeResult(database, workers, parallel)
            seeds = {f"c{n:06}": Secret.random(20).reveal() for n in range(guess_rounds + 1)}
            service = _enrol(live, folder, seeds)
            with _Crowd(live.url, service, parallel) as crowd:
                right, *others = seeds
                for factor in range(rounds):
                    _same_code(crowd, result, right, hotp(seeds[right], factor, 6))
                    on_round()
                for serial in others:
                    _guesses(crowd, result, serial, _wrong_code(seeds[serial]))
                    on_round()
    result.seconds = round(time.perf_counter() - began, 1)
    return result


def _same_code(crowd: _Crowd, result: SameCodeResult, user: str, code: str) -> None:
    reasons = crowd.post_all({"user": user, "code": code})
    result.rounds += 1
    result.double_accepts += reasons["ok"] > 1
    result.lost += reasons["ok"] == 0
    result.errors += reasons["error"]


def _guesses(crowd: _Crowd, result: SameCodeResult, user: str, code: str) -> None:
    evaluated = errors = sent = 0
    while sent < LIMIT + crowd.size:
        reasons = crowd.post_all({"user": user, "code": code})
        sent += crowd.size
        errors += reasons["error"]
        evaluated += _evaluated(reasons)
    result.guess_rounds += 1
    result.extra_guesses += max(0, evaluated - LIMIT)
    result.missing_guesses += max(0, LIMIT - evaluated)
    result.errors += errors


def _evaluated(reasons: Counter[str]) -> int:
    """How many of the answers say that the code was compared with the card's."""
    return sum(reasons[reason] for reason in ("ok", "wrong", "resynchronise", "replayed"))


def _wrong_code(seed: bytes) -> str:
    near = {hotp(seed, factor, 6) for factor in range(200)}
    return next(code for code in (f"{n:06}" for n in range(1000)) if code not in near)


class _Crowd(Closing):
    """Clients with open connections that post at the same instant."""

    def __init__(self, url: str, service: NewCredential, size: int) -> None:
        headers = {"authorization": f"Bearer {service.token.reveal().decode()}"}
        self.size = size
        self._clients = [
            httpx.Client(base_url=url, headers=headers, timeout=60) for _ in range(size)
        ]
        self._pool = ThreadPoolExecutor(size)
        self._barrier = threading.Barrier(size)

    def close(self) -> None:
        self._pool.shutdown()
        for client in self._clients:
            client.close()

    def post_all(self, body: dict[str, str]) -> Counter[str]:
        """→ how often each reason was answered; `error` for 5xx or no answer."""
        content = json.dumps(body)
        return Counter(self._pool.map(lambda n: self._post(n, content), range(self.size)))

    def _post(self, number: int, content: str) -> str:
        self._barrier.wait()
        try:
            answer = self._clients[number].post(
                "/v1/verify", content=content, headers={"content-type": "application/json"}
            )
        except httpx.HTTPError:
            return "error"
        return "error" if answer.status_code >= 500 else str(answer.json()["reason"])


def _enrol(live: RunningServer, folder: Path, seeds: dict[str, bytes]) -> NewCredential:
    station = live.add_credential("station", "campaign-station")
    assert station.psk
    container = PSKC()
    for serial, seed in seeds.items():
        container.add_key(
            id=serial,
            serial=serial,
            secret=seed,
            counter=0,
            algorithm=HOTP_PROFILE,
            response_encoding="DECIMAL",
            response_length=6,
        )
    container.encryption.setup_preshared_key(key=station.psk.reveal(), algorithm="aes128-cbc")
    target = folder / "campaign.pskcxml"
    container.write(str(target))
    headers = {"authorization": f"Bearer {station.token.reveal().decode()}"}
    with httpx.Client(base_url=live.url, headers=headers, timeout=60) as client:
        client.post("/v1/cards", content=target.read_bytes()).raise_for_status()
        for serial in seeds:
            client.put(f"/v1/cards/{serial}/assignment", json={"user": serial}).raise_for_status()
    return live.add_credential("service", "campaign-service")
