"""A crowd signs in at once, while services go on checking codes: how much memory the worker takes,
and how much longer a check takes than on a server that is idle otherwise."""

from __future__ import annotations

import re
import tempfile
import threading
import time
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path

import click
import httpx

from tallystick.common.console import json_option, out, print_json
from tallystick.common.secret import Secret
from tallystick.server.accounts import passwords, people
from tallystick.server.accounts.policy import PersonRole
from tallystick.server.serving.running import RunningServer, running
from tallystick.server.store.opened import opened
from tallystick.tools.bench.row import row
from tallystick.tools.bench.server_verify import _load, _register, _resident_bytes

PASSWORD = "correct horse battery"  # noqa: S105
SIGN_INS = 200
CLIENTS = 4
STEP = 50  # checks of each client between two looks at whether the crowd is through


@dataclass(frozen=True)
class CrowdFigures:
    """statuses: of the answers to sign-ins. memory: the most that the worker took, bytes. p99: of a
    check, seconds. seconds: until the last one of the crowd had an answer."""

    sign_ins: int
    statuses: dict[str, int]
    seconds: float
    memory: int
    idle_p99: float
    crowd_p99: float
    checks_meanwhile: int

    @property
    def times(self) -> float:
        return self.crowd_p99 / self.idle_p99


def measure() -> list[dict[str, object]]:
    """Rows of name, value, unit, aim, peer: memory, p99 against the idle one, refusals."""
    got = crowd(SIGN_INS)
    name = f"server: {got.sign_ins} sign-ins at once"
    refused = got.sign_ins - got.statuses.get("200", 0)
    return [
        row(f"{name}, memory of the worker", round(got.memory / 1e6, 1), "MB", "< 400"),
        row(f"{name}, p99 of a check", round(got.crowd_p99 * 1000, 3), "ms", "–"),
        row("server: p99 of a check, nobody signs in", round(got.idle_p99 * 1000, 3), "ms", "–"),
        row(f"{name}, p99 against the idle one", round(got.times, 2), "times", "< 3"),
        row(f"{name}, without a session", refused, "", "0"),
    ]


def crowd(sign_ins: int) -> CrowdFigures:
    """So many people sign in at the same moment, each with the right password."""
    with tempfile.TemporaryDirectory() as folder, running(Path(folder)) as server:
        httpx.get(f"{server.url}/v1/health", timeout=60).raise_for_status()
        _people(server, sign_ins)
        seeds = _register(server, CLIENTS)
        token = server.add_credential("service", "bench").token
        _load(server.url, token, seeds, range(STEP))
        idle: list[float] = []
        factor = STEP
        for _ in range(20):
            idle += _load(server.url, token, seeds, range(factor, factor + STEP))
            factor += STEP
        forms = [_form(server.url) for _ in range(sign_ins)]
        answers: list[str] = []
        memory = _Memory(server.process.pid)
        threads = [
            threading.Thread(target=_sign_in, args=(form, number, answers))
            for number, form in enumerate(forms)
        ]
        began = time.perf_counter()
        for thread in threads:
            thread.start()
        during = _while_any(threads, server, token, seeds, factor)
        seconds = time.perf_counter() - began
        most = memory.stop()
        for client, _ in forms:
            client.close()
    return CrowdFigures(
        sign_ins,
        dict(Counter(answers)),
        seconds,
        most,
        _p99(idle),
        _p99(during),
        len(during),
    )


def _while_any(
    threads: list[threading.Thread],
    server: RunningServer,
    token: Secret,
    seeds: list[bytes],
    factor: int,
) -> list[float]:
    latencies: list[float] = []
    while any(thread.is_alive() for thread in threads):
        latencies += _load(server.url, token, seeds, range(factor, factor + STEP))
        factor += STEP
    return latencies


def _people(server: RunningServer, count: int) -> None:
    hashed = passwords.hash_new(PASSWORD)
    with opened(server.settings) as parts, parts.database.write() as connection:
        for number in range(count):
            person_id = people.add(
                connection,
                firm_id=1,
                login=f"crowd{number}",
                role=PersonRole.USER,
                email=None,
                now=0,
            )
            passwords.store(connection, person_id, hashed, time.time())


def _form(url: str) -> tuple[httpx.Client, str]:
    client = httpx.Client(base_url=url, timeout=120)
    page = client.get("/p/default/sign-in")
    found = re.search(r'name="csrf" value="(\w+)"', page.text)
    assert found
    return client, found.group(1)


def _sign_in(form: tuple[httpx.Client, str], number: int, answers: list[str]) -> None:
    client, csrf = form
    data = {"csrf": csrf, "login": f"crowd{number}", "password": PASSWORD}
    try:
        answers.append(str(client.post("/p/default/sign-in", data=data).status_code))
    except httpx.HTTPError as error:
        answers.append(type(error).__name__)


class _Memory:
    """Looks every tenth of a second."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._most = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self._thread.start()

    def _look(self) -> None:
        while not self._stop.wait(0.1):
            self._most = max(self._most, _resident_bytes(self._pid))

    def stop(self) -> int:
        self._stop.set()
        self._thread.join()
        return self._most


def _p99(latencies: list[float]) -> float:
    return sorted(latencies)[int(len(latencies) * 0.99)]


@click.command()
@click.option("--sign-ins", default=SIGN_INS, show_default=True, help="How many at once.")
@json_option
def main(sign_ins: int, as_json: bool) -> None:
    """A crowd signs in while codes are checked."""
    got = crowd(sign_ins)
    if as_json:
        print_json(asdict(got) | {"times": got.times})
        return
    out().print(f"{got.sign_ins} sign-ins at once: {got.statuses} in {got.seconds:.1f} s")
    out().print(f"memory at most {got.memory / 1024**2:.0f} MiB (aim: below 400 MB)")
    out().print(
        f"p99 of a check {got.idle_p99 * 1000:.1f} ms idle, {got.crowd_p99 * 1000:.1f} ms in the "
        f"crowd: {got.times:.1f} times (aim: below 3); {got.checks_meanwhile} checks"
    )


if __name__ == "__main__":
    main()
