"""How many codes a second the server verifies, durably, for four keep-alive HTTP clients.

The server is the real one, in a process of its own, on SQLite in a temporary folder. The clients
are threads with plain sockets, so that measuring costs little beside what is measured.
"""

from __future__ import annotations

import json
import socket
import tempfile
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

import httpx
from pskc import PSKC

from tallystick.common.secret import Secret
from tallystick.server.otp import hotp
from tallystick.server.running import RunningServer, running

CLIENTS = 4
CHECKS_EACH = 750
WARM_UP_EACH = 50
PEER = "privacyIDEA 3.x, same machine class: 22/s, p99 507 ms, 36 ms CPU, start 1.6 to 1.9 s"


def measure() -> list[dict[str, object]]:
    """Rows of name, value, unit, aim, peer: checks per second, p99, CPU per check, start."""
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        with running(Path(folder)) as server:
            httpx.get(f"{server.url}/v1/health").raise_for_status()
            started = time.perf_counter() - began
            seeds = _register(server)
            token = server.add_credential("service", "bench").token
            _load(server.url, token, seeds, range(WARM_UP_EACH))
            cpu = _cpu_s(server.process.pid)
            began = time.perf_counter()
            factors = range(WARM_UP_EACH, WARM_UP_EACH + CHECKS_EACH)
            latencies = sorted(_load(server.url, token, seeds, factors))
            seconds = time.perf_counter() - began
            cpu = _cpu_s(server.process.pid) - cpu
    count = len(latencies)
    p99_ms = latencies[int(count * 0.99)] * 1000
    return [
        _row(
            "server: codes verified, durable commits, 4 clients", count / seconds, "1/s", "≥ 1000"
        ),
        _row("server: p99 of a check", p99_ms, "ms", "≤ 10"),
        _row("server: CPU of a check", cpu / count * 1000, "ms", "≤ 1"),
        _row("server: start to first answer, new database", started, "s", "≤ 1"),
    ]


def _row(name: str, value: float, unit: str, aim: str) -> dict[str, object]:
    return {"name": name, "value": round(value, 3), "unit": unit, "aim": aim, "peer": PEER}


def _register(server: RunningServer) -> list[bytes]:
    station = server.add_credential("station", "bench-station")
    assert station.psk
    seeds = [Secret.random(20).reveal() for _ in range(CLIENTS)]
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
        for number in range(CLIENTS):
            body = {"user": f"user{number}"}
            client.put(f"/v1/cards/{number:010}/assignment", json=body).raise_for_status()
    return seeds


def _load(url: str, token: Secret, seeds: list[bytes], factors: range) -> list[float]:
    """Every client verifies every factor of its own card, one after the other. → seconds each."""
    latencies: list[list[float]] = [[] for _ in seeds]
    threads = [
        threading.Thread(
            target=_client, args=(url, token, number, seed, factors, latencies[number])
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


def _cpu_s(pid: int) -> float:
    """User and system time of a process so far, in seconds (proc(5), fields 14 and 15)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    ticks = int(fields[11]) + int(fields[12])
    return ticks / 100
