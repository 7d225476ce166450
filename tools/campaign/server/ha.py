"""`tally campaign ha`: the leader of three databases is lost in every way, under load.

The real server runs on a real cluster (`ha_cluster`). Clients ask for codes, two for each card, and
an administrator's script makes credentials; what all were told is judged in the end (`ha_history`).
"""

from __future__ import annotations

import http.client
import json
import signal
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import click
from pskc import PSKC
from sqlalchemy import select

from tallystick.common.console import json_option, out, print_json
from tallystick.common.errors import ExitCode
from tallystick.common.secret import Secret
from tallystick.server.rules.otp import hotp
from tallystick.server.serving.running import RunningServer, running
from tallystick.server.store.models import CardRow
from tallystick.server.store.opened import opened
from tallystick.tools.campaign.server.ha_cluster import Cluster, ClusterNode, until
from tallystick.tools.campaign.server.ha_history import HaAsked, HaTold, HaWait, judge

CARDS = 3
CLIENTS_EACH = 2
SKEW_S = 30.0  # the clients' clocks are up to twice that apart
MOST_CODES, APART = 40_000, 25  # of a card in a drill; the look-ahead is smaller
AGAIN_EACH = 10  # questions: one of them is for a code that was accepted
QUIET_S = 3.0  # of load before a fault, and after its end
FAULTS = ("killed", "frozen", "switched over", "stopped", "etcd member lost", "cut off")
BOUND_S = {"killed": 20.0, "frozen": 20.0, "switched over": 3.0, "stopped": 3.0,
           "etcd member lost": 20.0, "cut off": 20.0}  # fmt: skip


@dataclass(frozen=True)
class Outage:
    """fault, on a database that is reached `through` HAProxy or a URL of several hosts. seconds:
    the longest time in which no code was accepted."""

    fault: str
    through: str
    seconds: float


@dataclass
class HaResult:
    """outages: of each fault. asked, accepted, unknown: questions for codes. wrong: what the judge
    found."""

    outages: list[Outage] = field(default_factory=list)
    asked: int = 0
    accepted: int = 0
    unknown: int = 0
    made: int = 0
    slowest: float = 0.0
    wrong: list[str] = field(default_factory=list)

    @property
    def late(self) -> list[Outage]:
        return [one for one in self.outages if one.seconds > BOUND_S[one.fault]]

    @property
    def clean(self) -> bool:
        return not self.wrong and not self.late and self.accepted > 0


@dataclass
class HaCard:
    """A card that several clients have a code of. factor: of the next one, as far as any of them
    was told."""

    serial: str
    seed: bytes
    factor: int = 0
    accepted_at: list[float] = field(default_factory=list)  # by this machine's clock

    def told(self, factor: int, told: HaTold, now: float) -> None:
        if told is HaTold.ACCEPTED:
            self.accepted_at.append(now)
        if told in (HaTold.ACCEPTED, HaTold.REPLAYED):
            self.factor = max(self.factor, factor + 1)


class HaClient(threading.Thread):
    """Asks for the next code of a card, again and again, and writes down what it is told. skew:
    seconds that its clock is wrong."""

    def __init__(
        self, name: str, url: str, headers: dict[str, str], *, card: HaCard, skew: float
    ) -> None:
        super().__init__(name=name, daemon=True)
        self.card, self._skew = card, skew
        self._url, self._headers = urlsplit(url), headers
        self.history: list[HaAsked] = []
        self.stop = threading.Event()

    def run(self) -> None:
        connection = self._connect()
        told = HaTold.ACCEPTED
        while not self.stop.is_set():
            began, factor = time.monotonic(), self._next(told)
            try:
                told, retry_after = self._ask(connection, factor)
            except (OSError, http.client.HTTPException):
                told, retry_after = HaTold.UNKNOWN, True
                connection.close()
                connection = self._connect()
            ended = time.monotonic()
            self.history.append(
                HaAsked(
                    self.name, self.card.serial, factor, began + self._skew, ended + self._skew,
                    told, retry_after,
                )
            )  # fmt: skip
            self.card.told(factor, told, ended)
            if told is HaTold.UNKNOWN:
                self.stop.wait(0.05)
        connection.close()

    def _next(self, told: HaTold) -> int:
        """Mostly the next code; now and then, and where an answer is missing, the last that was
        accepted: a database that has forgotten it would accept it again."""
        factor = self.card.factor
        old = factor and (told is HaTold.UNKNOWN or len(self.history) % AGAIN_EACH == 0)
        return factor - 1 if old else factor

    def _connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(
            self._url.hostname or "", self._url.port or 80, timeout=30
        )

    def _ask(self, connection: http.client.HTTPConnection, factor: int) -> tuple[HaTold, bool]:
        body = json.dumps({"serial": self.card.serial, "code": hotp(self.card.seed, factor, 6)})
        connection.request("POST", "/v1/verify", body, self._headers)
        answer = connection.getresponse()
        text = answer.read()
        if answer.status == 503:
            return HaTold.UNKNOWN, answer.headers["retry-after"] is not None
        reason = json.loads(text).get("reason") if answer.status == 200 else None
        return {"ok": HaTold.ACCEPTED, "replayed": HaTold.REPLAYED}.get(
            str(reason), HaTold.WRONG
        ), True


class HaRegistrar(threading.Thread):
    """Makes credentials, and remembers which were acknowledged."""

    def __init__(self, url: str, headers: dict[str, str]) -> None:
        super().__init__(name="registrar", daemon=True)
        self._url, self._headers = urlsplit(url), headers
        self.made: list[str] = []
        self.waits: list[HaWait] = []
        self.stop = threading.Event()

    def run(self) -> None:
        number = 0
        while not self.stop.wait(0.1):
            number += 1
            began, retry_after = time.monotonic(), True
            connection = http.client.HTTPConnection(
                self._url.hostname or "", self._url.port or 80, timeout=30
            )
            try:
                body = json.dumps({"role": "service", "name": f"n{number}"})
                connection.request("POST", "/v1/credentials", body, self._headers)
                answer = connection.getresponse()
                text = answer.read()
                retry_after = answer.status != 503 or answer.headers["retry-after"] is not None
                if answer.status == 201:
                    self.made.append(json.loads(text)["id"])
            except (OSError, http.client.HTTPException):
                continue
            finally:
                connection.close()
                self.waits.append(HaWait(time.monotonic() - began, retry_after))


def drill(
    folder: Path,
    faults: tuple[str, ...] = FAULTS,
    *,
    through: tuple[str, ...] = ("haproxy", "hosts"),
    tell: Callable[[str], None] = lambda _text: None,
) -> HaResult:
    """Every fault, with the server behind HAProxy and then on a URL of all hosts. Raises TallyError
    where the cluster does not come back."""
    result = HaResult()
    with Cluster(folder, namespaces="cut off" in faults) as cluster:
        for way in through:
            _under_load(cluster, folder / way, way, faults, result, tell)
    return result


def _under_load(
    cluster: Cluster,
    folder: Path,
    way: str,
    faults: tuple[str, ...],
    result: HaResult,
    tell: Callable[[str], None],
) -> None:
    folder.mkdir()
    if way != "haproxy":
        cluster.sql("postgres", "DROP DATABASE IF EXISTS tally WITH (FORCE)")
        cluster.sql("postgres", "CREATE DATABASE tally")
    url = cluster.url(through_proxy=way == "haproxy")
    with running(folder, db=url) as server:
        clients, registrar = _load(server, folder)
        everyone: list[HaClient | HaRegistrar] = [*clients, registrar]
        for one in everyone:
            one.start()
        try:
            for fault in faults:
                time.sleep(QUIET_S)
                seconds = _outage(clients, lambda fault=fault: _suffer(cluster, fault))  # type: ignore[misc]
                result.outages.append(Outage(fault, way, round(seconds, 2)))
                tell(f"{fault} ({way}): {seconds:.1f} s without an accepted code")
                until("the cluster is whole again", cluster.settled)
            time.sleep(QUIET_S)
        finally:
            for one in everyone:
                one.stop.set()
            for one in everyone:
                one.join(timeout=60)
        _judge(server, clients, registrar, result)


def _outage(clients: list[HaClient], suffer: Callable[[], Callable[[], None]]) -> float:
    """→ seconds: the longest time without an acceptance from the fault until it goes on."""
    began = time.monotonic()
    mend = suffer()
    felt = time.monotonic()
    try:
        until("codes are accepted again", lambda: _steady(clients, felt))
        cards = {one.card.serial: one.card for one in clients}
        times = sorted(at for card in cards.values() for at in card.accepted_at if at > began)
        return max(b - a for a, b in zip([began, *times], times, strict=False))
    finally:
        mend()


def _steady(clients: list[HaClient], began: float) -> bool:
    """Codes of every card are accepted again, a while after the fault: what was accepted just
    before it is felt counts for nothing."""
    now = time.monotonic()
    return now - began > 5 and all(
        any(at > now - 1.5 for at in one.card.accepted_at[-20:]) for one in clients
    )


def _suffer(cluster: Cluster, fault: str) -> Callable[[], None]:
    """→ what ends it"""
    leader = cluster.leader()
    assert leader is not None
    both = ("patroni", "etcd")
    if fault == "killed":
        leader.kill(*both)
        return lambda: _start(cluster, leader)
    if fault == "frozen":
        leader.signal(signal.SIGSTOP, *both)
        return lambda: leader.signal(signal.SIGCONT, *both)
    if fault == "cut off":
        cluster.pull(leader, out=True)
        return lambda: cluster.pull(leader, out=False)
    if fault == "etcd member lost":
        leader.kill("etcd")
        return lambda: cluster.start_etcd(leader)
    cluster.ready_to_hand_over(leader)
    if fault == "stopped":
        leader.stop("patroni")
    else:
        threading.Thread(target=cluster.switch_over, args=(leader,), daemon=True).start()
    return lambda: _handed_over(cluster, leader, fault)


def _handed_over(cluster: Cluster, leader: ClusterNode, fault: str) -> None:
    if fault == "stopped":
        leader.processes["patroni"].wait(timeout=30)
        cluster.start_patroni(leader)
    until("the old leader follows", lambda: leader.follows)
    cluster.handed_over()


def _start(cluster: Cluster, node: ClusterNode) -> None:
    cluster.start_etcd(node)
    cluster.start_patroni(node)


def distinct_seed(count: int = MOST_CODES, apart: int = APART) -> bytes:
    """A seed none of whose first `count` codes is the same as one of the `apart` codes after it: a
    code that was used already would be right a second time, as the later one. One check in a
    hundred thousand meets such a pair, and the judge could not tell it from a fault."""
    while True:
        seed = Secret.random(20).reveal()
        codes = [hotp(seed, factor, 6) for factor in range(count)]
        if all(codes[at] not in codes[at + 1 : at + 1 + apart] for at in range(count)):
            return seed


def _load(server: RunningServer, folder: Path) -> tuple[list[HaClient], HaRegistrar]:
    station = server.add_credential("station", "ha-station")
    assert station.psk is not None
    seeds = {f"C{number}": distinct_seed() for number in range(CARDS)}
    container = PSKC()
    for serial, seed in seeds.items():
        container.add_key(
            id=serial, serial=serial, secret=seed, counter=0,
            algorithm="urn:ietf:params:xml:ns:keyprov:pskc:hotp",
            response_encoding="DECIMAL", response_length=6,
        )  # fmt: skip
    container.encryption.setup_preshared_key(key=station.psk.reveal(), algorithm="aes128-cbc")
    path = folder / "cards.pskcxml"
    container.write(str(path))
    where = urlsplit(server.url)
    connection = http.client.HTTPConnection(where.hostname or "", where.port or 80, timeout=60)
    headers = _bearer(station.token) | {"content-type": "application/pskc+xml"}
    connection.request("POST", "/v1/cards", path.read_bytes(), headers)
    answer = connection.getresponse()
    text = answer.read()
    assert answer.status == 201, text
    for serial in seeds:
        body = json.dumps({"user": serial.lower(), "new_user": True})
        connection.request("PUT", f"/v1/cards/{serial}/assignment", body, _bearer(station.token))
        answer = connection.getresponse()
        text = answer.read()
        assert answer.status in (200, 201), text
    connection.close()
    service = _bearer(server.add_credential("service", "ha").token)
    clients = [
        HaClient(
            f"{card.serial}-{number}", server.url, service, card=card,
            skew=SKEW_S if number else -SKEW_S,
        )
        for card in (HaCard(serial, seed) for serial, seed in seeds.items())
        for number in range(CLIENTS_EACH)
    ]  # fmt: skip
    admin = _bearer(server.add_credential("admin", "ha-admin").token)
    return clients, HaRegistrar(server.url, admin)


def _bearer(token: Secret) -> dict[str, str]:
    return {
        "authorization": f"Bearer {token.reveal().decode()}",
        "content-type": "application/json",
    }


def _judge(
    server: RunningServer, clients: list[HaClient], registrar: HaRegistrar, result: HaResult
) -> None:
    # Only now: importing it takes a while.
    from tallystick.server.store.models import AuditEntry, CredentialRow  # noqa: PLC0415

    with opened(server.settings) as parts, parts.database.read() as connection:
        rows = connection.execute(select(CardRow.serial, CardRow.moving_factor)).all()
        verified = connection.execute(
            select(AuditEntry.subject, AuditEntry.detail).where(AuditEntry.action == "verified")
        ).all()
        there = [str(one) for one in connection.execute(select(CredentialRow.id)).scalars()]
    history = [one for client in clients for one in client.history]
    final = {str(row.serial): int(row.moving_factor) for row in rows}
    entries = Counter(
        str(one.subject) for one in verified if json.loads(one.detail)["reason"] == "ok"
    )
    result.wrong += judge(
        history, final=final, entries=entries, made=registrar.made, there=there,
        waits=registrar.waits,
    )  # fmt: skip
    result.asked += len(history)
    result.accepted += sum(one.told is HaTold.ACCEPTED for one in history)
    result.unknown += sum(one.told is HaTold.UNKNOWN for one in history)
    result.made += len(registrar.made)
    slowest = [
        *(one.seconds for one in registrar.waits),
        *(one.ended - one.began for one in history),
    ]
    result.slowest = round(max(result.slowest, *slowest), 2)


@contextmanager
def _place() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="tally-ha-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # PostgreSQL runs as another user
        yield folder


@click.command()
@click.option(
    "--fault",
    "faults",
    multiple=True,
    type=click.Choice(FAULTS),
    help="Only this one; again for another. Cutting off needs root (network namespaces).",
)
@json_option
def ha(faults: tuple[str, ...], as_json: bool) -> None:
    """Lose the leader of three databases in every way, under load.

    Needs Debian's postgresql, patroni, python3-etcd, etcd-server and haproxy. Takes a few minutes.
    """
    with _place() as folder:
        tell = (lambda _text: None) if as_json else (lambda text: out().print(text, markup=False))
        result = drill(folder, faults or FAULTS, tell=tell)
    if as_json:
        print_json(asdict(result) | {"clean": result.clean})
    else:
        out().print(
            f"{result.asked} codes asked for, {result.accepted} accepted, {result.unknown} not "
            f"answered or 503; {result.made} other writes; slowest answer {result.slowest} s"
        )
        for one in result.wrong:
            out().print(f"[bold red]wrong[/] {one}")
        for outage in result.late:
            out().print(f"[bold red]late[/] {outage.fault} ({outage.through}): {outage.seconds} s")
    if not result.clean:
        raise SystemExit(ExitCode.FAILED)
