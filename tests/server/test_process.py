"""The real server in processes of its own: command line, parallel load, kill and restart."""

from __future__ import annotations

import json
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner

from tallystick.common.errors import BadInputError
from tallystick.server.operating.cli import server as command
from tallystick.server.rules.otp import hotp
from tallystick.server.serving.running import add_credential, running, start
from tallystick.server.settings import settings_from
from tests.server.ground import small_disk
from tests.server.test_deployment import TALLY
from tests.server.test_services import _answers, free_port, until
from tests.server.test_services import running as program


def headers(credential) -> dict[str, str]:
    return {"authorization": f"Bearer {credential.token.reveal().decode()}"}


def enrol(live, container_class, folder: Path, seeds: dict[str, bytes]) -> dict[str, str]:
    """Register and assign cards over HTTP. → headers of a service"""
    station = live.add_credential("station", "station")
    service = live.add_credential("service", "service")
    container = container_class(station.psk.reveal())
    for serial, seed in seeds.items():
        container.add(serial, seed)
    with httpx.Client(base_url=live.url, headers=headers(station), timeout=60) as client:
        client.post("/v1/cards", content=container.bytes(folder)).raise_for_status()
        for serial in seeds:
            answer = client.put(
                f"/v1/cards/{serial}/assignment", json={"user": serial, "new_user": True}
            )
            answer.raise_for_status()
    return headers(service)


def at_once(count: int, work) -> list:
    """Run `work` in `count` threads that start together."""
    barrier = threading.Barrier(count)

    def one(number: int):
        barrier.wait()
        return work(number)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, range(count)))


def test_a_server_stays_small(tmp_path: Path, container_class, monkeypatch, capfd, record_property):
    """The document says 100 MB when started. No import of its own comes later, either: a check, a
    page and figures need no ORM."""
    monkeypatch.setenv("PYTHONPROFILEIMPORTTIME", "1")
    seed = secrets.token_bytes(20)
    with running(tmp_path) as live:
        httpx.get(f"{live.url}/v1/health", timeout=60).raise_for_status()
        status = Path(f"/proc/{live.process.pid}/status").read_text()
        service = enrol(live, container_class, tmp_path, {"S1": seed})
        body = {"user": "S1", "code": hotp(seed, 0, 6)}
        checked = httpx.post(f"{live.url}/v1/verify", json=body, headers=service, timeout=60)
        assert checked.json()["reason"] == "ok"
        httpx.get(f"{live.url}/p/default/sign-in", timeout=60).raise_for_status()
        monitor = headers(live.add_credential("monitor", "prometheus"))
        httpx.get(f"{live.url}/v1/metrics", headers=monitor, timeout=60).raise_for_status()
    imported = {line.rpartition("|")[2].strip() for line in capfd.readouterr().err.splitlines()}
    assert "sqlalchemy.engine" in imported
    unused = ("sqlalchemy.orm", "multiprocessing", "watchfiles")
    assert {name for name in imported if name.startswith(unused)} == set()
    resident = int(status.partition("VmRSS:")[2].split()[0]) * 1024
    record_property("resident_mb", round(resident / 1e6, 1))
    assert resident <= 100_000_000


@pytest.mark.parametrize("workers", [1, 3])
def test_eight_at_once(tmp_path: Path, container_class, workers: int, wrong_code):
    seed = secrets.token_bytes(20)
    with running(tmp_path, workers=workers) as live:
        service = enrol(live, container_class, tmp_path, {"S1": seed, "S2": seed[::-1]})
        clients = [httpx.Client(base_url=live.url, headers=service, timeout=60) for _ in range(8)]
        for factor in range(15):
            body = {"user": "S1", "code": hotp(seed, factor, 6)}
            answers = at_once(8, lambda n, b=body: clients[n].post("/v1/verify", json=b).json())
            assert Counter(a["reason"] for a in answers) == {"ok": 1, "replayed": 7}
        wrong = {"user": "S2", "code": wrong_code(seed[::-1])}
        guesses = [
            answer["reason"]
            for _ in range(3)
            for answer in at_once(8, lambda n: clients[n].post("/v1/verify", json=wrong).json())
        ]
        assert Counter(guesses) == {"wrong": 10, "throttled": 14}
        for client in clients:
            client.close()


def test_metrics_of_all_workers_are_summed(tmp_path: Path, container_class):
    seed = secrets.token_bytes(20)
    with running(tmp_path, workers=2) as live:
        service = enrol(live, container_class, tmp_path, {"S1": seed})
        for factor in range(12):  # each on a new connection, so that both workers get some
            body = {"user": "S1", "code": hotp(seed, factor, 6)}
            assert httpx.post(
                f"{live.url}/v1/verify", json=body, headers=service, timeout=60
            ).is_success
        monitor = headers(live.add_credential("monitor", "prometheus"))
        text = httpx.get(f"{live.url}/v1/metrics", headers=monitor, timeout=60).text
        assert 'tally_checks_total{reason="ok"} 12.0' in text


def test_the_command_sums_the_metrics_of_its_workers(tmp_path):
    """It reads the settings first, and what reads them counts. A full disk of what is passing ends
    no worker that counts."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    db = f"sqlite:///{tmp_path / 's.db'}", str(tmp_path / "s.keys")
    run = ("server", "run", "--port", str(port), "--workers", "2", "--db", db[0])
    monitor, service = (
        headers(add_credential(settings_from(*db), role, role)) for role in ("monitor", "service")
    )
    with (
        small_disk(tmp_path, 64) as disk,
        program(*("env", f"TMPDIR={disk}", TALLY, *run, "--key-file", db[1]), log=tmp_path / "log"),
    ):
        until("server", tmp_path / "log", lambda: _answers(f"{url}/v1/health"))
        with (disk / "all").open("wb", buffering=0) as file, pytest.raises(OSError, match="space"):
            while True:
                file.write(bytes(4096))
        body = {"user": "nobody", "code": "123456"}
        for _ in range(6):
            answer = httpx.post(f"{url}/v1/verify", json=body, headers=service, timeout=60)
            assert answer.status_code == 200
        text = httpx.get(f"{url}/v1/metrics", headers=monitor, timeout=60).text
    assert "tally_workers_ended_total 0.0" in text
    assert 'tally_database_trouble_total{kind="full"} 0.0' in text
    assert sum(map(float, re.findall(r"^tally_checks_total{.*} (.*)$", text, re.MULTILINE))) == 6


def test_the_end_of_one_worker_is_not_told_as_that_of_the_service(tmp_path):
    """The service manager would end the others after its time-out."""
    db = "--db", f"sqlite:///{tmp_path / 's.db'}", "--key-file", str(tmp_path / "s.keys")
    run = TALLY, "server", "run", "--port", "0", "--workers", "2", *db
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(60)
        told = lambda: manager.recv(100)  # noqa: E731
        with program(
            "env", f"NOTIFY_SOCKET={tmp_path / 'notify'}", *run, log=tmp_path / "log"
        ) as it:
            assert [told(), told()] == [b"READY=1"] * 2
            children = Path(f"/proc/{it.pid}/task/{it.pid}/children").read_text().split()
            os.kill(int(children[0]), signal.SIGTERM)
            assert told() == b"READY=1"  # of whoever takes its place
        assert told() == b"STOPPING=1"
        manager.setblocking(False)
        with pytest.raises(BlockingIOError):
            told()


def test_killed_and_started_again_no_code_is_accepted_twice(tmp_path: Path, container_class):
    seed = secrets.token_bytes(20)
    with running(tmp_path) as live:
        service = enrol(live, container_class, tmp_path, {"S1": seed})
        for factor in range(3):
            body = {"user": "S1", "code": hotp(seed, factor, 6)}
            assert httpx.post(
                f"{live.url}/v1/verify", json=body, headers=service, timeout=60
            ).json()["accepted"]
        live.kill()
    again = start(live.settings)
    try:
        reasons = [
            httpx.post(
                f"{again.url}/v1/verify",
                json={"user": "S1", "code": hotp(seed, factor, 6)},
                headers=service,
                timeout=60,
            ).json()["reason"]
            for factor in range(4)
        ]
        assert reasons == ["replayed"] * 3 + ["ok"]
    finally:
        again.stop()


@pytest.mark.parametrize("workers", [1, 2])
def test_a_request_under_way_is_answered_before_the_server_stops(
    tmp_path: Path, container_class, workers: int
):
    seed = secrets.token_bytes(20)
    with running(tmp_path, workers=workers) as live:
        service = enrol(live, container_class, tmp_path, {"S1": seed})
        body = json.dumps({"user": "S1", "code": hotp(seed, 0, 6)}).encode()
        head = (
            "POST /v1/verify HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
            f"authorization: {service['authorization']}\r\n"
            f"content-length: {len(body)}\r\nexpect: 100-continue\r\n\r\n"
        )
        host, port = live.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=60) as connection:
            connection.sendall(head.encode())
            assert connection.recv(100).startswith(b"HTTP/1.1 100")  # it is reading the body
            live.process.send_signal(signal.SIGTERM)
            connection.sendall(body[:5])
            connection.sendall(body[5:])
            answer = b""
            while piece := connection.recv(65536):
                answer += piece
        assert b'"accepted":true' in answer
        assert live.process.wait(timeout=60) in (0, -signal.SIGTERM)


def test_the_command_prints_a_url_that_answers(tmp_path: Path):
    db = ["--db", f"sqlite:///{tmp_path / 'a.db'}", "--key-file", str(tmp_path / "a.keys")]
    arguments = ["server", "run", *db, "--port", "0", "--json"]
    process = subprocess.Popen(
        [sys.executable, "-c", "from tallystick.cli import main; main()", *arguments],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        text = ""
        while not text.rstrip().endswith("}"):
            text += process.stdout.readline()
        url = json.loads(text)["url"]
        assert httpx.get(f"{url}/v1/health", timeout=60).json()["status"] == "ok"
    finally:
        process.terminate()
        assert process.wait(timeout=60) in (0, -15)
        process.stdout.close()


def test_credentials_from_the_command_line(tmp_path: Path):
    db = ["--db", f"sqlite:///{tmp_path / 'a.db'}", "--key-file", str(tmp_path / "a.keys")]
    db.append("--json")
    runner = CliRunner()
    made = runner.invoke(command, ["credential", "add", "line 1", "--role", "station", *db])
    made = json.loads(made.stdout)
    assert set(made) == {"id", "role", "token", "psk"}
    shown = runner.invoke(command, ["credential", "list", *db]).stdout
    assert made["token"] not in shown and made["psk"] not in shown
    assert runner.invoke(command, ["credential", "revoke", made["id"], *db]).exit_code == 0
    (row,) = json.loads(runner.invoke(command, ["credential", "list", *db]).stdout)
    assert row["revoked_at"]


@pytest.mark.parametrize("on", ["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def test_the_same_check_at_several_workers_at_once(request, tmp_path, container_class, on):
    """Asked again while the first try is under way elsewhere: one judgement, one answer."""
    database = request.getfixturevalue("postgresql").new_database() if on == "postgresql" else None
    seed = secrets.token_bytes(20)
    with running(tmp_path, db=database, workers=3) as live:
        service = enrol(live, container_class, tmp_path, {"S1": seed})

        def ask(code: str, key: str):
            return httpx.post(
                f"{live.url}/v1/verify",
                json={"user": "S1", "code": code},
                headers=service | {"idempotency-key": key},
                timeout=60,
            ).json()

        for round_ in range(10):
            key, code = secrets.token_urlsafe(24), hotp(seed, round_, 6)
            answers = at_once(8, lambda _, code=code, key=key: ask(code, key))
            assert [one.get("accepted") for one in answers] == [True] * 8, answers
        answers = at_once(8, lambda n: ask(hotp(seed, 10, 6), f"another-name-each-{n}"))
        assert sum(one["accepted"] for one in answers) == 1


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("TALLY_SERVER_SMS", "template:///nowhere.toml", "/nowhere.toml cannot be read"),
        ("TALLY_SERVER_SMTP", "pigeon://roof", "'pigeon'"),
        ("TALLY_SERVER_DIRECTORIES", "/nowhere.toml", "/nowhere.toml"),
        ("TALLY_SERVER_BREACH_LIST", "/nowhere.txt", "/nowhere.txt"),
        ("TALLY_SERVER_AUDIT_STREAM", "pigeon://roof", "'pigeon'"),
    ],
)
def test_a_setting_that_is_unusable_is_told_before_anything_is_served(
    tmp_path, monkeypatch, name, value, said
):
    """With several workers it started them again for ever."""
    monkeypatch.setenv(name, value)
    db = f"sqlite:///{tmp_path / 'server.db'}"
    arguments = ["run", "--port", "0", "--workers", "2", "--db", db]
    done = CliRunner().invoke(command, [*arguments, "--key-file", str(tmp_path / "keys")])
    assert isinstance(done.exception, BadInputError) and said in str(done.exception)
    assert "http" not in done.output and not (tmp_path / "server.db").exists()
