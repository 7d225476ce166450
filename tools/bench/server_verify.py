"""How many codes a second the server verifies, durably, for four keep-alive HTTP clients.

The server is the real one, in a process of its own, on SQLite in a temporary folder. The clients
are threads with plain sockets, so that measuring costs little beside what is measured.
"""

from __future__ import annotations

import json
import os
import socket
import tempfile
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlsplit

import click
import httpx
from pskc import PSKC
from sqlalchemy import insert, literal, select

from tallystick.common.console import print_json
from tallystick.common.secret import Secret
from tallystick.server.rules.otp import hotp
from tallystick.server.serving.running import RunningServer, running
from tallystick.server.store import keys
from tallystick.server.store.database import Database
from tallystick.server.store.models import Assignment, CardRow, PersonRow
from tallystick.tools import options

CLIENTS = 4
CHECKS_EACH = 750
WARM_UP_EACH = 50
FILL_BATCH = 10_000
PEER = "privacyIDEA 3.x, same machine class: 22/s, p99 507 ms, 36 ms CPU, start 1.6 to 1.9 s"


@dataclass(frozen=True)
class Figures:
    """rate: checks per second. p50, p99: of one check, seconds. cpu: of one check, seconds of all
    server processes together. started: seconds to the first answer. memory: resident bytes."""

    rate: float
    p50: float
    p99: float
    cpu: float
    started: float
    memory: int


def measure() -> list[dict[str, object]]:
    """Rows of name, value, unit, aim, peer: checks per second, p99, CPU per check, start."""
    got = load()
    return [
        _row("server: codes verified, durable commits, 4 clients", got.rate, "1/s", "≥ 1000"),
        _row("server: p99 of a check", got.p99 * 1000, "ms", "≤ 10"),
        _row("server: CPU of a check", got.cpu * 1000, "ms", "≤ 1"),
        _row("server: start to first answer, new database", got.started, "s", "≤ 1"),
        _row("server: resident memory", got.memory / 1024**2, "MiB", "–"),
    ]


def load(
    *, db: str | None = None, workers: int = 1, clients: int = CLIENTS, cards: int = 0
) -> Figures:
    """Measure on a database that is empty before (SQLite in a new folder by default), with `cards`
    other cards in it."""
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        with running(Path(folder), db=db, workers=workers) as server:
            httpx.get(f"{server.url}/v1/health", timeout=60).raise_for_status()
            started = time.perf_counter() - began
            seeds = _register(server, clients)
            _fill(server, cards)
            token = server.add_credential("service", "bench").token
            _load(server.url, token, seeds, range(WARM_UP_EACH))
            cpu = _cpu_s(server.process.pid)
            began = time.perf_counter()
            factors = range(WARM_UP_EACH, WARM_UP_EACH + CHECKS_EACH)
            latencies = sorted(_load(server.url, token, seeds, factors))
            seconds = time.perf_counter() - began
            cpu = _cpu_s(server.process.pid) - cpu
            memory = sum(_resident_bytes(pid) for pid in _family(server.process.pid))
    count = len(latencies)
    return Figures(
        count / seconds,
        latencies[count // 2],
        latencies[int(count * 0.99)],
        cpu / count,
        started,
        memory,
    )


def _fill(server: RunningServer, cards: int) -> None:
    """Put `cards` assigned cards in, straight into the tables. Their seeds are never used: all have
    the same box."""
    ring = keys.load(server.settings.key_file)
    box = ring.encrypt(Secret.random(20).reveal(), "bench")
    database = Database(server.settings.db_url)
    station = server.add_credential("station", "filler")
    for start in range(0, cards, FILL_BATCH):
        numbers = range(start, min(cards, start + FILL_BATCH))
        with database.write() as connection:
            connection.execute(insert(PersonRow), [_person_row(number) for number in numbers])
            connection.execute(
                insert(CardRow), [_card_row(number, station.id, box) for number in numbers]
            )
            connection.execute(
                insert(Assignment).from_select(
                    ["card_id", "person_id", "assigned_at", "assigned_by"],
                    select(CardRow.id, PersonRow.id, literal(0), literal("bench"))
                    .join(PersonRow, PersonRow.login == CardRow.serial)
                    .where(CardRow.serial.in_([f"f{number:09}" for number in numbers])),
                )
            )
    database.close()


def _person_row(number: int) -> dict[str, object]:
    login = f"f{number:09}"
    return {"firm_id": 1, "login": login, "login_key": login, "role": "user", "created_at": 0}


def _card_row(number: int, station: str, box: keys.Box) -> dict[str, object]:
    return {
        "firm_id": 1,
        "serial": f"f{number:09}",
        "status": "registered",
        "digits": 6,
        "moving_factor": 0,
        "seed_key_id": box.key_id,
        "seed_box": box.blob,
        "seed_fingerprint": number.to_bytes(32, "big"),
        "registered_by": station,
        "registered_at": 0,
        "failures": 0,
        "lockout_s": 0,
        "blocked_until": 0,
    }


def _row(name: str, value: float, unit: str, aim: str) -> dict[str, object]:
    return {"name": name, "value": round(value, 3), "unit": unit, "aim": aim, "peer": PEER}


def _register(server: RunningServer, clients: int) -> list[bytes]:
    station = server.add_credential("station", "bench-station")
    assert station.psk
    seeds = [Secret.random(20).reveal() for _ in range(clients)]
    container = PSKC()
    for number, seed in enumerate(seeds):
        container.add_key(
            id=f"{number:010}",
            serial=f"{number:010}",
            secret=seed,
            counter=0,
            algorithm="urn:ietf:params:xml:ns:keyprov:pskc:hotp",
            response_encoding="DECIMAL",
            response_length=6,
        )
    container.encryption.setup_preshared_key(key=station.psk.reveal(), algorithm="aes128-cbc")
    target = Path(server.settings.key_file).with_name("bench.pskcxml")
    container.write(str(target))
    headers = {"authorization": f"Bearer {station.token.reveal().decode()}"}
    with httpx.Client(base_url=server.url, headers=headers) as client:
        pskc_type = {"content-type": "application/pskc+xml"}
        client.post("/v1/cards", content=target.read_bytes(), headers=pskc_type).raise_for_status()
        for number in range(clients):
            body = {"user": f"user{number}", "new_user": True}
            client.put(f"/v1/cards/{number:010}/assignment", json=body).raise_for_status()
    return seeds


def _load(url: str, token: Secret, seeds: list[bytes], factors: range) -> list[float]:
    """Every client verifies every factor of its own card, one after the other. → seconds each."""
    latencies: list[list[float]] = [[] for _ in seeds]
    threads = [
        threading.Thread(
            target=_client,
            args=(url, token, number),
            kwargs={"seed": seed, "factors": factors, "latencies": latencies[number]},
        )
        for number, seed in enumerate(seeds)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if any(len(one) != len(factors) for one in latencies):
        raise RuntimeError("a check failed while measuring")
    return [latency for one in latencies for latency in one]


def _client(
    url: str, token: Secret, number: int, *, seed: bytes, factors: range, latencies: list[float]
) -> None:
    where = urlsplit(url)
    requests = [_request(token, number, hotp(seed, factor, 6)) for factor in factors]
    with socket.create_connection((where.hostname or "", where.port or 80)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for request in requests:
            began = time.perf_counter()
            connection.sendall(request)
            answer = b""
            while not answer.endswith(b"}"):  # head and body come in two pieces
                answer += connection.recv(65536)
            latencies.append(time.perf_counter() - began)
            if b'"accepted":true' not in answer:
                latencies.clear()
                return


def _request(token: Secret, number: int, code: str) -> bytes:
    body = json.dumps({"user": f"user{number}", "code": code}).encode()
    head = (
        "POST /v1/verify HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\n"
        f"authorization: Bearer {token.reveal().decode()}\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def _family(pid: int) -> list[int]:
    """A process and its children (proc(5))."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="utf-8").split()
    return [pid, *map(int, children)]


def _cpu_s(pid: int) -> float:
    """User and system time of a process and its children so far, in seconds (proc(5), stat fields
    14 and 15)."""
    ticks = 0
    for one in _family(pid):
        fields = Path(f"/proc/{one}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def _resident_bytes(pid: int) -> int:
    """A process's part of the memory (proportional set size, proc(5)): shared pages count once."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="utf-8").splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return 0


@click.command()
@click.option("--db", help="An empty database (default: SQLite in a new folder).")
@options.workers(1)
@click.option("--clients", default=CLIENTS, show_default=True)
@click.option("--cards", default=0, show_default=True, help="Other cards in the database.")
def main(*, db: str | None, workers: int, clients: int, cards: int) -> None:
    """Measure with other numbers: python -m tallystick.tools.bench.server_verify."""
    print_json(asdict(load(db=db, workers=workers, clients=clients, cards=cards)))


if __name__ == "__main__":
    main()
