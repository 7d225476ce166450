"""PostgreSQL on three nodes: Patroni with etcd, HAProxy in front, all of them Debian's.

Each node is a folder, and either a set of free ports of this machine or a network namespace of its
own with an address in it (root): then its cable can be pulled. Commits wait for a second node.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.error import HTTPError, URLError

from tallystick.common.closing import Closing
from tallystick.common.errors import TallyError

NODES = 3
SCOPE = "tally"
# An outage is at most one ttl and the time to promote. Patroni: loop_wait + 2 retry_timeout <= ttl.
TTL_S, LOOP_S, RETRY_S = 10, 2, 4
START_S = 90.0
NEEDED = ("etcd", "patroni", "haproxy", "setpriv")
AS_POSTGRES = ("setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups")
POSTGRESQL = Path("/usr/lib/postgresql")
NETWORK = "10.213.77"  # of the namespaces: nothing outside this machine has a way there
BRIDGE = "tally-ha"


def program(name: str) -> str:
    """Where it lies. Raises TallyError."""
    places = [os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"]
    found = shutil.which(name, path=os.pathsep.join(places))
    if found is None:
        raise _not_installed(name)
    return found


def postgresql() -> Path:
    """The folder of its programs, which Debian keeps off the path. Raises TallyError."""
    folders = [one for one in POSTGRESQL.glob("*/bin") if (one / "pg_controldata").exists()]
    if not folders:
        raise _not_installed("PostgreSQL's server")
    return max(folders, key=lambda one: float(one.parent.name))


def _not_installed(what: str) -> TallyError:
    return TallyError(
        f"{what} is not installed.",
        kept="Nothing was started.",
        todo="apt-get install postgresql patroni python3-etcd etcd-server haproxy iproute2.",
    )


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def until(what: str, ready: Callable[[], object], seconds: float = START_S) -> None:
    """Raises TallyError when it does not become so."""
    end = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > end:
            raise TallyError(f"{what}: not within {seconds:.0f} s.")
        time.sleep(0.1)


@dataclass
class ClusterNode:
    """One machine of the cluster. prefix: what its commands begin with. processes: name → its
    first process, which is the head of a session of its own."""

    name: str
    folder: Path
    address: str
    peer: int
    client: int
    rest: int
    sql: int
    prefix: tuple[str, ...] = ()
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self, what: str, command: list[str], *, as_postgres: bool = False) -> None:
        words = [*AS_POSTGRES, *command] if as_postgres else command
        with (self.folder / f"{what}.log").open("ab") as log:
            self.processes[what] = subprocess.Popen(
                [*self.prefix, *words], stdout=log, stderr=log, start_new_session=True,
                cwd=self.folder,
            )  # fmt: skip

    def pids(self, *names: str) -> list[int]:
        """Of what was started under these names, with everything that it has started."""
        wanted = [self.processes[name].pid for name in names if name in self.processes]
        if "patroni" in names:  # which starts PostgreSQL as a process of nobody's
            with suppress(OSError, ValueError, IndexError):
                postmaster = self.folder / "data/postmaster.pid"
                wanted.append(int(postmaster.read_text(encoding="utf-8").split()[0]))
        for pid in wanted:
            for task in Path(f"/proc/{pid}/task").glob("*/children"):
                with suppress(OSError):
                    wanted.extend(int(child) for child in task.read_text(encoding="utf-8").split())
        return wanted

    def signal(self, number: int, *names: str) -> None:
        for pid in self.pids(*names):
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def stop(self, name: str) -> None:
        """As systemd does it, for one that is shut down."""
        self.processes[name].terminate()

    def kill(self, *names: str) -> None:
        """As a power cut: every process of these at once."""
        self.signal(signal.SIGSTOP, *names)
        self.signal(signal.SIGKILL, *names)
        for name in names:
            process = self.processes.pop(name, None)
            if process is not None:
                process.wait(timeout=30)

    def state(self) -> dict[str, object]:
        """What its Patroni says of itself; nothing where it does not answer."""
        try:
            with urllib.request.urlopen(
                f"http://{self.address}:{self.rest}/patroni", timeout=1
            ) as answer:
                return dict(json.load(answer))
        except HTTPError as error:
            with suppress(ValueError):
                return dict(json.load(error))
        except (URLError, OSError, ValueError):
            pass
        return {}

    @property
    def leads(self) -> bool:
        state = self.state()
        return state.get("role") in ("master", "primary") and state.get("state") == "running"

    @property
    def follows(self) -> bool:
        state = self.state()
        return state.get("role") == "replica" and state.get("state") in ("running", "streaming")


class Cluster(Closing):
    """Three nodes and HAProxy, below `folder`. namespaces: each node in a network of its own."""

    def __init__(self, folder: Path, *, namespaces: bool = False) -> None:
        for name in (*NEEDED, *(("ip",) if namespaces else ())):
            program(name)
        postgresql()
        self.folder = folder
        self.namespaces = namespaces
        self.password = secrets.token_hex(12)
        self.port = free_port()
        self._undo = ExitStack()
        self._proxy: subprocess.Popen[bytes] | None = None
        self.nodes = [self._node(number) for number in range(1, NODES + 1)]

    def _node(self, number: int) -> ClusterNode:
        folder = self.folder / f"n{number}"
        folder.mkdir(parents=True)
        if os.geteuid() == 0:
            shutil.chown(folder, "postgres")
        if self.namespaces:
            ports = (2380, 2379, 8008, 5432)
            prefix = ("ip", "netns", "exec", f"{BRIDGE}-{number}")
            return ClusterNode(
                f"n{number}", folder, f"{NETWORK}.{10 + number}", *ports, prefix=prefix
            )
        ports = (free_port(), free_port(), free_port(), free_port())
        return ClusterNode(f"n{number}", folder, "127.0.0.1", *ports)

    # ---- life

    def __enter__(self) -> Cluster:
        try:
            if self.namespaces:
                self._wire()
            for node in self.nodes:
                self.start_etcd(node)
            for node in self.nodes:
                self._configure(node)
                self.start_patroni(node)
            until("a leader", self.leader)
            until("followers", lambda: sum(node.follows for node in self.nodes) == NODES - 1)
            until("a synchronous follower", self.settled)
            self._start_proxy()
            self.sql("postgres", "CREATE DATABASE tally")
        except BaseException:
            self.close()
            raise
        return self

    def close(self) -> None:
        for node in self.nodes:
            node.signal(signal.SIGCONT, *node.processes)
            node.kill(*list(node.processes))
        if self._proxy is not None:
            self._proxy.kill()
            self._proxy.wait()
            self._proxy = None
        self._undo.close()

    def _ip(self, *words: str) -> None:
        subprocess.run([program("ip"), *words], check=True, capture_output=True)

    def _wire(self) -> None:
        self._ip("link", "add", BRIDGE, "type", "bridge")
        self._undo.callback(self._ip, "link", "delete", BRIDGE)
        self._ip("addr", "add", f"{NETWORK}.1/24", "dev", BRIDGE)
        self._ip("link", "set", BRIDGE, "up")
        for number, node in enumerate(self.nodes, start=1):
            name, cable = f"{BRIDGE}-{number}", f"{BRIDGE}{number}"
            self._ip("netns", "add", name)
            self._undo.callback(self._ip, "netns", "delete", name)
            self._ip("link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", name)
            self._ip("link", "set", cable, "master", BRIDGE, "up")
            self._ip("-n", name, "addr", "add", f"{node.address}/24", "dev", "eth0")
            self._ip("-n", name, "link", "set", "eth0", "up")
            self._ip("-n", name, "link", "set", "lo", "up")

    def pull(self, node: ClusterNode, *, out: bool) -> None:
        """The node's cable."""
        self._ip("link", "set", f"{BRIDGE}{self.nodes.index(node) + 1}", "down" if out else "up")

    # ---- programs

    def start_etcd(self, node: ClusterNode) -> None:
        members = ",".join(f"{one.name}=http://{one.address}:{one.peer}" for one in self.nodes)
        client, peer = (f"http://{node.address}:{port}" for port in (node.client, node.peer))
        node.start(
            "etcd",
            [
                *(program("etcd"), "--name", node.name, "--data-dir", str(node.folder / "etcd")),
                *("--listen-client-urls", client, "--advertise-client-urls", client),
                *("--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer),
                *("--initial-cluster", members, "--initial-cluster-token", SCOPE),
                *("--heartbeat-interval", "100", "--election-timeout", "1000"),
                *("--enable-v2", "--logger", "zap", "--log-level", "warn"),
            ],
        )

    def start_patroni(self, node: ClusterNode) -> None:
        command = [program("patroni"), str(node.folder / "patroni.yml")]
        node.start("patroni", command, as_postgres=os.geteuid() == 0)

    def _configure(self, node: ClusterNode) -> None:
        """JSON is YAML."""
        who = {"username": "postgres", "password": self.password}
        value = {
            "scope": SCOPE,
            "name": node.name,
            "restapi": {
                "listen": f"{node.address}:{node.rest}",
                "connect_address": f"{node.address}:{node.rest}",
            },
            "etcd": {"hosts": [f"{one.address}:{one.client}" for one in self.nodes]},
            "bootstrap": {
                "dcs": {
                    "ttl": TTL_S,
                    "loop_wait": LOOP_S,
                    "retry_timeout": RETRY_S,
                    "maximum_lag_on_failover": 1048576,
                    "primary_start_timeout": 0,  # a dead primary is not waited for
                    "synchronous_mode": True,
                    "synchronous_mode_strict": True,  # nothing is acknowledged on one node alone
                    "postgresql": {
                        "use_pg_rewind": True,
                        # A new leader has no slots yet, and makes them a loop or two later: its
                        # followers would wait for them, and every commit for a follower.
                        "use_slots": False,
                        "parameters": {
                            "max_connections": 100,
                            "shared_buffers": "32MB",
                            "wal_log_hints": "on",
                            "synchronous_commit": "on",
                            "tcp_user_timeout": 5000,
                            "wal_receiver_timeout": "5s",
                            "wal_sender_timeout": "5s",
                            "wal_keep_size": "512MB",
                            # A promotion may wait for the end of such a pause.
                            "wal_retrieve_retry_interval": "200ms",
                        },
                    },
                },
                "initdb": [{"encoding": "UTF8"}, "data-checksums"],
            },
            "postgresql": {
                "listen": f"{node.address}:{node.sql}",
                "connect_address": f"{node.address}:{node.sql}",
                "data_dir": str(node.folder / "data"),
                "bin_dir": str(postgresql()),
                "pgpass": str(node.folder / "pgpass"),
                "pg_hba": [
                    "local all all peer",
                    "host replication replicator all scram-sha-256",
                    "host all all all scram-sha-256",
                ],
                "authentication": {
                    "superuser": who,
                    "rewind": who,
                    "replication": {"username": "replicator", "password": self.password},
                },
                "parameters": {"unix_socket_directories": str(node.folder)},
            },
        }
        path = node.folder / "patroni.yml"
        path.write_text(json.dumps(value, indent=1), encoding="utf-8")
        path.chmod(0o600)
        if os.geteuid() == 0:
            shutil.chown(path, "postgres")

    def _start_proxy(self) -> None:
        lines = [
            "global",
            "    maxconn 500",
            "defaults",
            "    mode tcp",
            "    timeout connect 2s",
            "    timeout client 30m",
            "    timeout server 30m",
            "    timeout check 1s",
            "    retries 0",  # it would wait a second before it tried the same node again
            "listen primary",
            f"    bind 127.0.0.1:{self.port}",
            "    option httpchk GET /primary",
            "    http-check expect status 200",
            "    default-server inter 500ms fastinter 100ms downinter 200ms fall 2 rise 1"
            " on-marked-down shutdown-sessions",
            *(
                f"    server {node.name} {node.address}:{node.sql} check port {node.rest}"
                for node in self.nodes
            ),
        ]
        path = self.folder / "haproxy.cfg"
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        with (self.folder / "haproxy.log").open("ab") as log:
            self._proxy = subprocess.Popen(
                [program("haproxy"), "-db", "-f", str(path)], stdout=log, stderr=log
            )
        # It takes all servers for good ones until it has asked them.
        until("HAProxy", lambda: all(self._writes() for _ in range(2 * NODES)))

    def _writes(self) -> bool:
        try:
            return self.sql("postgres", "SELECT pg_is_in_recovery()") == ["False"]
        except OSError:
            return False

    # ---- what it is asked

    def leader(self) -> ClusterNode | None:
        """Who takes writes, as Patroni says it."""
        return next((node for node in self.nodes if node.leads), None)

    def settled(self) -> bool:
        """A leader, all others behind it, and one of them synchronous, as all agree."""
        return (
            self.leader() is not None
            and sum(node.follows for node in self.nodes) == NODES - 1
            and any(node.state().get("sync_standby") for node in self.nodes)
        )

    def url(self, *, through_proxy: bool) -> str:
        """For the server: HAProxy, or every host by name."""
        begin = f"postgresql+psycopg://postgres:{self.password}@"
        if through_proxy:
            return f"{begin}127.0.0.1:{self.port}/tally"
        hosts = "&".join(f"host={node.address}:{node.sql}" for node in self.nodes)
        return f"{begin}/tally?{hosts}&target_session_attrs=read-write"

    def sql(self, database: str, statement: str) -> list[str]:
        """On the leader. → the first column. Raises OSError while nobody answers."""
        import psycopg  # noqa: PLC0415 - an extra

        try:
            with psycopg.connect(
                host="127.0.0.1", port=self.port, user="postgres", password=self.password,
                dbname=database, autocommit=True, connect_timeout=2,
            ) as connection:  # fmt: skip
                cursor = connection.execute(statement.encode())
                return [str(row[0]) for row in cursor.fetchall()] if cursor.description else []
        except psycopg.OperationalError as error:
            raise ConnectionError(type(error).__name__) from None

    def ready_to_hand_over(self, leader: ClusterNode) -> None:
        """Both others are synchronous from now on. A single one would take over, and the third
        would then wait for two seconds (Patroni's own pause), or for its next loop, before it
        followed the new leader. Every commit would wait for it. Raises TallyError."""
        self._want_synchronous(leader, NODES - 1)

    def handed_over(self) -> None:
        """As it was before. Raises TallyError."""
        self._want_synchronous(self.nodes[0], 1)

    def switch_over(self, leader: ClusterNode) -> None:
        """To one of the others, none named. Raises TallyError."""
        self._ask(leader, "POST", "switchover", {"leader": leader.name})

    def _want_synchronous(self, node: ClusterNode, number: int) -> None:
        self._ask(node, "PATCH", "config", {"synchronous_node_count": number})
        # It is taken up at the end of the leader's loop, and acted on in the next.
        time.sleep(2 * LOOP_S)
        until(f"{number} follow synchronously", lambda: self._synchronous() == number)

    def _synchronous(self) -> int:
        return sum(bool(node.state().get("sync_standby")) for node in self.nodes)

    def _ask(self, node: ClusterNode, method: str, what: str, value: dict[str, object]) -> None:
        """Raises TallyError."""
        url = f"http://{node.address}:{node.rest}/{what}"
        body = json.dumps(value).encode()
        request = urllib.request.Request(url, data=body, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60):  # noqa: S310
                return
        except HTTPError as error:
            answer = error.read().decode(errors="replace")
            raise TallyError(f"Patroni does not do it ({what}): {answer}.") from None
