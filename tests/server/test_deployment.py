"""`tally server init`: what it writes is run here by the programs that it is for."""

from __future__ import annotations

import importlib
import json
import re
import secrets
import shlex
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest
from click.testing import CliRunner
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st
from pyrad import packet
from pyrad.dictionary import Dictionary

from tallystick.common.errors import BadInputError
from tallystick.server.operating import operations
from tallystick.server.operating.cli import server as command
from tallystick.server.operating.commands.init import init as init_command
from tallystick.server.operating.commands.options import environment
from tallystick.server.operating.deployment import files
from tallystick.server.operating.deployment.plan import (
    KEYS,
    RADIUS_CLIENTS,
    REQUEST_LOG,
    STATE,
    DeploymentKind,
    DeploymentPlan,
    DeploymentProxy,
)
from tallystick.server.rules.otp import hotp
from tallystick.server.services.radius import DICTIONARY
from tallystick.server.serving.running import (
    MOST_CONNECTIONS,
    add_credential,
    config_of,
    running_in_thread,
)
from tallystick.server.store.opened import opened
from tests import needs
from tests.server.ground import small_disk
from tests.server.test_radius import Vpn
from tests.server.test_services import free_port, running, until

TALLY = str(Path(sys.executable).with_name("tally"))
# The unit does not see homes, where this checkout may well lie; all that systemd-analyze asks is
# whether the command is there and can be executed.
INSTALLED = "/usr/bin/true"
GIVEN = ("--public-url", "https://otp.example.org", "--tally", INSTALLED)
PROXY = ("--certificate", "/etc/ssl/otp.pem", "--certificate-key", "/etc/ssl/otp.key")
MOST_EXPOSED = 1.4  # of systemd-analyze's ten; docs/guides/operations.md tells it


def written(folder: Path, *options: str) -> Path:
    """A deployment in a new folder."""
    out = folder / "deployment"
    arguments = ["init", "--yes", "--out", str(out), *GIVEN, *PROXY, *options]
    done = CliRunner().invoke(command, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return out


def written_next(folder: Path, *options: str) -> list[str]:
    """The commands that are printed for a deployment."""
    arguments = ["init", "--json", "--out", str(folder / "told"), *GIVEN, *options]
    done = CliRunner().invoke(command, arguments, catch_exceptions=False)
    return list(json.loads(done.stdout)["next"])


def exposure(unit: Path) -> float:
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", str(unit)],
        capture_output=True,
        text=True,
        check=True,
        env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"},
    )
    return float(re.search(r"exposure level for \S+: ([\d.]+)", done.stdout)[1])


def test_the_units_are_sound_and_shut_in(tmp_path):
    needs.systemd_analyze.or_skip()
    folder = written(tmp_path)
    units = [str(folder / name) for name in files.UNITS]
    done = subprocess.run(
        ["systemd-analyze", "verify", *units], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0
    # It reads the machine's own units as well, and complains of what it finds there.
    assert "tallystick" not in done.stdout + done.stderr
    assert exposure(folder / "tallystick.service") <= MOST_EXPOSED
    assert exposure(folder / "tallystick-backup.service") <= MOST_EXPOSED
    assert exposure(folder / "tallystick-radius.service") <= MOST_EXPOSED
    guide = (needs.ROOT / "docs/guides/operations.md").read_text(encoding="utf-8")
    assert f"{exposure(folder / 'tallystick.service')} of 10" in guide


def settings_of(unit: Path) -> dict[str, list[str]]:
    """NAME=VALUE lines of a unit: some names come more than once."""
    found: dict[str, list[str]] = {}
    for line in unit.read_text().splitlines():
        name, is_one, value = line.partition("=")
        if is_one and not line.startswith("#"):
            found.setdefault(name, []).append(value)
    return found


def test_the_units_may_write_where_they_do_and_start_again(tmp_path):
    """All else is read-only to them."""
    folder = written(tmp_path, "--backups", "/srv/copies", "--memory", "512")
    server = settings_of(folder / "tallystick.service")
    backup = settings_of(folder / "tallystick-backup.service")
    for unit in (server, backup):
        assert unit["ProtectSystem"] == ["strict"] and unit["ProtectHome"] == ["yes"]
        states = {f"/var/lib/{name}" for name in unit["StateDirectory"][0].split()}
        assert states == {STATE, KEYS}
    assert server["LogsDirectory"] == ["tallystick"]
    assert REQUEST_LOG.startswith("/var/log/tallystick/")
    assert backup["ReadWritePaths"] == ["/srv/copies"]
    assert backup["ExecStart"][0].endswith(" /srv/copies")
    assert "d /srv/copies " in (folder / "tallystick.tmpfiles").read_text()
    # One that ended is there again after a second, however often.
    assert (server["Restart"], server["RestartSec"]) == (["always"], ["1"])
    assert server["StartLimitIntervalSec"] == ["0"] and server["Type"] == ["notify"]
    assert server["MemoryMax"] == ["512M"] and int(server["LimitNOFILE"][0]) > MOST_CONNECTIONS
    timer = settings_of(folder / "tallystick-backup.timer")
    assert timer["OnCalendar"] == ["daily"] and timer["Persistent"] == ["true"]
    assert (server["WantedBy"], timer["WantedBy"]) == (["multi-user.target"], ["timers.target"])
    assert server["StateDirectoryMode"] == backup["StateDirectoryMode"] == ["0700"]
    # A large database takes its time; workers end their requests when their parent is told to; one
    # that the kernel ends for want of memory ends no other.
    assert server["TimeoutStartSec"] == ["infinity"] and server["KillMode"] == ["mixed"]
    assert server["OOMPolicy"] == ["continue"] and server["MemoryHigh"] == ["384M"]
    assert server["NotifyAccess"] == ["main"]
    several = settings_of(written(tmp_path / "several", "--workers", "2") / "tallystick.service")
    assert several["NotifyAccess"] == ["all"]
    # Imports are on a disk meanwhile: /tmp may be memory, which would be the unit's.
    assert server["Environment"] == ["TMPDIR=/var/tmp"] and server["PrivateTmp"] == ["yes"]


@pytest.mark.parametrize("proxy", ["nginx", "caddy"])
def test_a_proxy_closes_what_is_idle_before_the_server_does(proxy, settings, tmp_path):
    """What it sends on a connection that the server closes at that moment is not answered."""
    folder = written(tmp_path, "--proxy", proxy)
    text = (folder / {"nginx": "nginx.conf", "caddy": "Caddyfile"}[proxy]).read_text()
    (seconds,) = re.findall(r"^\s+keepalive(?:_timeout)? (\d+)s;?$", text, re.MULTILINE)
    assert int(seconds) < config_of(settings).timeout_keep_alive


def test_a_modem_is_all_that_is_opened(tmp_path):
    usual = (written(tmp_path) / "tallystick.service").read_text()
    assert "PrivateDevices=yes" in usual and "Device" not in usual.replace("PrivateDevices", "")
    other = written(tmp_path / "other", "--sms", "modem:///dev/ttyUSB0?baud=9600")
    opened = (other / "tallystick.service").read_text()
    assert "DevicePolicy=closed\nDeviceAllow=/dev/ttyUSB0 rw\n" in opened
    assert "PrivateDevices" not in opened and "SupplementaryGroups=dialout" in opened
    if needs.systemd_analyze.here():
        assert exposure(other / "tallystick.service") <= MOST_EXPOSED + 0.5


def test_the_server_runs_under_the_units_filter(tmp_path):
    """Its system calls, without memory that is written and executed: a code is hashed, the
    database is copied, and the service manager is told."""
    needs.systemd_analyze.or_skip()
    needs.seccomp.or_skip()
    unit = written(tmp_path) / "tallystick.service"
    where = ["--db", f"sqlite:///{tmp_path / 's.db'}", "--key-file", str(tmp_path / "s.keys")]
    shut_in = ["/usr/bin/python3", str(Path(__file__).with_name("sandboxed.py")), str(unit)]
    port = free_port()
    run = [*shut_in, TALLY, "server", "run", "--port", str(port), *where]
    log = tmp_path / "log"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(60)
        with running("env", f"NOTIFY_SOCKET={tmp_path / 'notify'}", *run, log=log):
            assert manager.recv(100) == b"READY=1"
            with httpx.Client(base_url=f"http://localhost:{port}", timeout=60) as client:
                assert client.get("/v1/health").json()["status"] == "ok"
                page = client.get("/p/default/sign-in")
                form = re.search(r'name="csrf" value="([^"]+)"', page.text)
                body = {"login": "ann", "password": "x" * 12, "csrf": form[1] if form else ""}
                origin = {"origin": f"http://localhost:{port}"}
                hashed = client.post("/p/default/sign-in", data=body, headers=origin)
                assert hashed.status_code == 401
            copy = [*shut_in, TALLY, "server", "backup", str(tmp_path / "copy.db"), *where]
            subprocess.run(copy, check=True, capture_output=True)
        assert manager.recv(100) == b"STOPPING=1"
    assert "Error" not in log.read_text(), log.read_text()
    assert subprocess.run([*shut_in, "/usr/sbin/chroot", "/", "true"], check=False).returncode


def test_the_radius_unit_waits_for_its_clients_and_answers_them(tmp_path):
    """Under its filter of system calls, by the command of the unit."""
    needs.systemd_analyze.or_skip()
    needs.seccomp.or_skip()
    path = written(tmp_path) / "tallystick-radius.service"
    unit = settings_of(path)
    assert unit["ConditionPathExists"] == [RADIUS_CLIENTS]
    assert (unit["Restart"], unit["Environment"]) == (["always"], ["RADIUS_HOST=127.0.0.1"])
    secret = secrets.token_hex(16)
    clients = tmp_path / "clients.toml"
    clients.write_text(f'[[client]]\naddress = "127.0.0.1"\nsecret = "{secret}"\n')
    clients.chmod(0o600)
    _, *words = shlex.split(unit["ExecStart"][0])
    where = {RADIUS_CLIENTS: str(clients), "${RADIUS_HOST}": "127.0.0.1"}
    port = free_port(socket.SOCK_DGRAM)
    run = [
        *("/usr/bin/python3", str(Path(__file__).with_name("sandboxed.py")), str(path), TALLY),
        *(where.get(word, word) for word in words),
        *("--port", str(port), "--db", f"sqlite:///{tmp_path / 's.db'}"),
        *("--key-file", str(tmp_path / "s.keys")),
    ]
    log = tmp_path / "log"
    with running(*run, log=log):
        until("the RADIUS server", log, lambda: "radius://" in log.read_text())
        asked = packet.AuthPacket(
            code=packet.StatusServer, secret=secret.encode(), dict=Dictionary(str(DICTIONARY))
        )
        asked.add_message_authenticator()
        data = Vpn(port).raw(asked.RequestPacket(), wait_s=30)
        assert data is not None and data[0] == packet.AccessAccept


@pytest.fixture(scope="module")
def certificate(tmp_path_factory) -> tuple[Path, Path]:
    """For localhost, by itself; and its key."""
    return certificate_for(tmp_path_factory.mktemp("certificate"))


def certificate_for(folder: Path, days: int = 2) -> tuple[Path, Path]:
    """days: until it is over."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=3))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    pair = folder / "localhost.pem", folder / "localhost.key"
    pair[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    pair[1].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return pair


NGINX = """
daemon off;
user root;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{}}
http {{
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    gzip on;  # as Debian has it
    include {site};
}}
"""


@contextmanager
def nginx(folder: Path, deployment: Path) -> Iterator[None]:
    needs.nginx.or_skip()
    needs.root.or_skip()
    main = folder / "main.conf"
    main.write_text(NGINX.format(folder=folder, site=deployment / "nginx.conf"))
    program = [str(needs.program("nginx")), "-e", str(folder / "error.log"), "-c", str(main)]
    subprocess.run([*program, "-t"], check=True, capture_output=True)
    with running(*program, log=folder / "nginx.log"):
        yield


@contextmanager
def caddy(folder: Path, deployment: Path) -> Iterator[None]:
    needs.caddy.or_skip()
    program = str(needs.program("caddy"))
    sample = ["--config", str(deployment / "Caddyfile"), "--adapter", "caddyfile"]
    home = f"HOME={folder}", f"XDG_DATA_HOME={folder}", f"XDG_CONFIG_HOME={folder}"
    with running("env", *home, program, "run", *sample, log=folder / "caddy.log"):
        yield


def hears_of_a_file_before_it_is_there(port: int, trusted: ssl.SSLContext) -> None:
    """The server does: nobody keeps the file in between."""
    head = (
        f"POST /v1/cards/imports HTTP/1.1\r\nhost: localhost:{port}\r\n"
        "authorization: Bearer x\r\ncontent-type: multipart/form-data; boundary=b\r\n"
        "content-length: 1000000\r\n\r\n--b\r\n"
    )
    address, mine = ("localhost", port), ("127.0.0.2", 0)
    with (
        socket.create_connection(address, timeout=60, source_address=mine) as plain,
        trusted.wrap_socket(plain, server_hostname="localhost") as sender,
    ):
        sender.sendall(head.encode())
        assert sender.recv(1000).startswith(b"HTTP/1.1 401 ")


@pytest.mark.slow
@pytest.mark.parametrize("proxy", [nginx, caddy])
def test_behind_a_proxy(proxy, settings, tmp_path, certificate):
    """It ends TLS, says whose request it is and nothing else that the client claims, and passes
    bodies as large as the server takes."""
    port = free_port()
    public = f"https://localhost:{port}"
    log = tmp_path / "requests.log"
    settings = replace(
        settings, public_url=public, trusted_proxies=("127.0.0.1/32",), request_log=log
    )
    with running_in_thread(settings) as url:
        pair = ("--certificate", str(certificate[0]), "--certificate-key", str(certificate[1]))
        options = ("--proxy", proxy.__name__, "--https-port", str(port))
        folder = written(
            tmp_path, *options, *pair, "--port", url.rsplit(":", 1)[1], "--public-url", public
        )
        trusted = ssl.create_default_context(cafile=str(certificate[0]))
        transport = httpx.HTTPTransport(verify=trusted, local_address="127.0.0.2")

        with (
            proxy(tmp_path, folder),
            httpx.Client(base_url=public, transport=transport, timeout=60) as client,
        ):

            def answers() -> bool:
                try:
                    return client.get("/v1/health").status_code == 200
                except httpx.HTTPError:
                    return False

            until(proxy.__name__, tmp_path / f"{proxy.__name__}.log", answers)
            answer = client.get("/v1/health")
            assert "strict-transport-security" in answer.headers
            claims = {"x-forwarded-for": "192.0.2.66", "forwarded": "for=192.0.2.66"}
            answer = client.get("/v1/whoami", headers=claims | {"authorization": "Bearer x"})
            assert answer.status_code == 401
            page = client.get("/p/default/sign-in")
            assert page.status_code == 200 and "content-encoding" not in page.headers
            assert "secure" in page.headers.get("set-cookie", "secure").lower()
            body = b"x" * (6 * 1024**2 - 4096)
            json_type = {"content-type": "application/json", "authorization": "Bearer x"}
            assert client.post("/v1/cards/import", content=body, headers=json_type).status_code in (
                401,
                422,
            )
            body = b"x" * (9 * 1024**2)
            assert client.post("/v1/cards/import", content=body, headers=json_type).status_code in (
                413,
                502,  # Caddy closes the connection to the server in the middle of a body
            )
            if proxy is nginx:  # Go's server, as Caddy has it, reads on before it answers
                hears_of_a_file_before_it_is_there(port, trusted)
            # A file of any size goes through, and so does what is told of it.
            admin = add_credential(settings, "admin", "importer").token.reveal().decode()
            seeds = "".join(
                f"P{n:06},{secrets.token_hex(20)},hotp,6,0,{' ' * 4000}\n" for n in range(2500)
            )
            answer = client.post(
                "/v1/cards/imports",
                files={"options": (None, '{"takes": ["plain"]}'), "file": ("f", seeds.encode())},
                headers={"authorization": f"Bearer {admin}"},
            )
            assert json.loads(answer.text.splitlines()[-1])["result"]["cards"] == 2500
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert {line["from"] for line in lines} == {"127.0.0.2"}
    assert {line["status"] for line in lines} >= {200, 401}


def test_the_request_log_has_routes_and_no_secrets(server, tmp_path):
    log = tmp_path / "requests.log"
    seed = server.card()
    code = hotp(seed, 0, 6)
    token = server.service.token.reveal().decode()
    with (
        running_in_thread(replace(server.settings, request_log=log)) as url,
        httpx.Client(base_url=url, timeout=60) as client,
    ):
        bearer = {"authorization": f"Bearer {token}"}
        answer = client.post("/v1/verify", json={"user": "ann", "code": code}, headers=bearer)
        assert answer.json()["accepted"]
        client.get(f"/{token}?code={code}")
        client.get(f"/p/default/people/{code}?q={token}")
        client.get("/v1/health", headers={"user-agent": token, "x-forwarded-for": token})
        client.request("BREW", "/v1/health")
        client.get("/static/look.css")
    text = log.read_text()
    assert code not in text and token not in text and "BREW" not in text
    lines = [json.loads(line) for line in text.splitlines()]
    assert [(one["method"], one["route"], one["status"]) for one in lines][:3] == [
        ("POST", "/v1/verify", 200),
        ("GET", "-", 404),
        ("GET", "/p/{firm}/people/{person_id}", lines[2]["status"]),
    ]
    assert set(lines[0]) == {"at", "from", "method", "route", "status", "ms"}
    assert log.stat().st_mode & 0o027 == 0


def test_logrotate_takes_the_log_away_and_the_server_goes_on(server, tmp_path):
    needs.logrotate.or_skip()
    needs.root.or_skip()
    log = tmp_path / "requests.log"
    made = (written(tmp_path) / "tallystick.logrotate").read_text()
    rules = tmp_path / "rules"
    rules.write_text(
        made.replace(files.REQUEST_LOG, str(log)).replace("tallystick tallystick", "root root")
    )
    rules.chmod(0o644)
    rotate = [str(needs.program("logrotate")), "-f", "-s", str(tmp_path / "state"), str(rules)]
    with (
        running_in_thread(replace(server.settings, request_log=log)) as url,
        httpx.Client(base_url=url, timeout=60) as client,
    ):
        client.get("/v1/health")
        subprocess.run(rotate, check=True, capture_output=True)
        assert not log.exists()
        client.get("/v1/whoami")
    (old,) = tmp_path.glob("requests.log-*")
    assert "/v1/health" in old.read_text() and "/v1/whoami" in log.read_text()


def test_a_request_log_that_cannot_be_written(server, tmp_path):
    with (
        pytest.raises(BadInputError, match="cannot be written"),
        running_in_thread(replace(server.settings, request_log=tmp_path)),
    ):
        pass


def test_every_day_a_copy_and_so_many_stay(server, tmp_path):
    folder = tmp_path / "copies"
    with opened(server.settings) as parts:
        with pytest.raises(BadInputError, match="not a folder"):
            operations.backup_by_time(parts.database, folder, 2, 0)
        folder.mkdir()
        (folder / "mine.db").touch()
        days = [
            operations.backup_by_time(parts.database, folder, 2, day * 86400.0) for day in range(4)
        ]
    assert sorted(one.name for one in folder.iterdir()) == ["mine.db", *(d.name for d in days[2:])]
    assert days[0].name == "tallystick-19700101T000000Z.db"


def test_nothing_is_written_over(tmp_path):
    folder = written(tmp_path)
    (folder / "tallystick.service").write_text("mine")
    again = CliRunner().invoke(
        command, ["init", "--yes", "--out", str(folder), *GIVEN, *PROXY, "--proxy", "caddy"]
    )
    assert isinstance(again.exception, BadInputError)
    assert (folder / "tallystick.service").read_text() == "mine"
    assert not (folder / "Caddyfile").exists()


@pytest.mark.parametrize("kind", ["systemd", "container"])
def test_the_commands_hold_in_a_folder_of_any_name(tmp_path, kind):
    """They are pasted as root."""
    folder = tmp_path / "a b; c$(id)'"
    steps = written_next(folder, "--kind", kind, "--proxy", "none")
    named = [word for step in steps for word in shlex.split(step) if str(tmp_path) in word]
    there = {str(path) for path in (folder / "told").iterdir()}
    assert named and set(named) <= there


def test_all_files_are_written_or_none(tmp_path):
    """The disk fills up in the middle; a name is taken by a link that leads nowhere."""
    made = files.made_of(DeploymentPlan("https://a.example", proxy=DeploymentProxy.NONE))
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken/tallystick.env").symlink_to(tmp_path / "nowhere")
    with pytest.raises(BadInputError, match="exists already"):
        files.write(made, tmp_path / "taken")
    assert [path.name for path in (tmp_path / "taken").iterdir()] == ["tallystick.env"]
    needs.own_mounts.or_skip()
    needs.root.or_skip()
    with small_disk(tmp_path, 16) as disk:
        with pytest.raises(BadInputError, match="No space left on device") as told:
            files.write(made, disk / "new")
        assert told.value.kept == "No file was written." and not list((disk / "new").iterdir())


def test_the_proxy_listens_where_browsers_look(tmp_path):
    for proxy, line in (("nginx", "listen 8443 ssl"), ("caddy", "https://otp.example.org:8443 {")):
        options = ("--proxy", proxy, "--public-url", "https://otp.example.org:8443")
        folder = written(tmp_path / proxy, *options)
        assert any(line in path.read_text() for path in folder.iterdir())
    behind = written(
        tmp_path / "behind", *options, "--https-port", "443"
    )  # of another that hands on
    assert "https://otp.example.org:443 {" in (behind / "Caddyfile").read_text()


def test_a_wrong_answer_is_asked_for_again(tmp_path, monkeypatch):
    """And costs none of the others."""
    terminal = SimpleNamespace(stdin=SimpleNamespace(isatty=lambda: True), argv=["tally"])
    monkeypatch.setattr(importlib.import_module(init_command.callback.__module__), "sys", terminal)
    for name in ("DB", "SMTP", "SMS", "MAIL_FROM"):
        monkeypatch.delenv(f"TALLY_SERVER_{name}", raising=False)
    answers = (
        "http://otp.example.org", "otp", "https://otp.example.org",  # the last one is good
        "docker", "systemd", "apache", "nginx",
        "", "cert.pem", "/etc/ssl/otp.pem", "", "/etc/ssl/otp.key",
        "sqlite:///x.db", "mysql://x", "", "mail.example.org", "smtp://mail.example.org:25",
        "nobody", "otp@example.org", "carrier-pigeon://x", "", "copies", "/var/backups/tallystick",
    )  # fmt: skip
    # An empty answer takes what stands there: a certificate has nothing there.
    done = CliRunner().invoke(
        init_command,
        ["--out", str(tmp_path / "made"), "--tally", "/opt/tallystick/bin/tally"],
        input="\n".join(answers) + "\n",
    )
    assert done.exit_code == 0, done.output
    assert done.output.count("Error:") == 13
    env = (tmp_path / "made/tallystick.env").read_text()
    assert "PUBLIC_URL=https://otp.example.org\n" in env and "SMTP=smtp://mail.example.org" in env
    assert "ssl_certificate_key /etc/ssl/otp.key;" in (tmp_path / "made/nginx.conf").read_text()


def test_nobody_to_ask(tmp_path):
    done = CliRunner().invoke(command, ["init", "--out", str(tmp_path / "x"), "--tally", INSTALLED])
    assert isinstance(done.exception, BadInputError) and "--public-url" in done.exception.todo
    assert not (tmp_path / "x").exists()


def test_what_init_wrote_is_what_the_command_reads(tmp_path, monkeypatch):
    """The environment file, by way of `tally server --environment`; passwords stay out of what is
    printed and of other files."""
    smtp = "smtps://me:hush-hush@mail.example.org"
    monkeypatch.setenv("TALLY_SERVER_SMTP", smtp)
    out = tmp_path / "deployment"
    done = CliRunner().invoke(
        command,
        ["init", "--json", "--out", str(out), *GIVEN, *PROXY, "--mail-from", "Firm <a@b.example>"],
    )
    assert done.exit_code == 0 and "hush-hush" not in done.output
    told = json.loads(done.stdout)
    assert {Path(one["file"]).name for one in told["files"]} == {p.name for p in out.iterdir()}
    keeps = [path.name for path in out.iterdir() if "hush-hush" in path.read_text()]
    assert keeps == ["tallystick.env"]
    assert (out / "tallystick.env").stat().st_mode & 0o777 == 0o600
    text = (out / "tallystick.env").read_text()
    (tmp_path / "s.env").write_text(
        text.replace("/var/lib/tallystick-keys", str(tmp_path))
        .replace("/var/lib/tallystick", str(tmp_path))
        .replace("/var/log/tallystick", str(tmp_path))
    )
    arguments = ["--environment", str(tmp_path / "s.env"), "doctor", "--json"]
    for line in text.splitlines():  # what the command sets is unset behind this test
        if line.startswith("TALLY"):
            monkeypatch.setenv(line.partition("=")[0], "other")
    done = CliRunner().invoke(command, arguments)
    findings = {one["name"]: one for one in json.loads(done.stdout)}
    assert findings["public URL"]["detail"] == "https://otp.example.org"
    assert "mail.example.org" in str(findings["mail server"]) or (
        findings["mail server"]["state"] == "bad"
    )


@pytest.mark.parametrize("line", ["export A=1", "TALLY_SERVER_DB", "a b=c"])
def test_an_environment_file_that_is_none(tmp_path, line):
    file = tmp_path / "x.env"
    file.write_text(f"# a word\n\n{line}\n")
    with pytest.raises(BadInputError, match=r"Line 3 .* not NAME=VALUE"):
        environment(file)


def test_the_container_file_starts_what_it_says(tmp_path):
    """What it runs is tried without a container: the entry point, the health check and the
    settings. An image has not been built by a test."""
    folder = written(tmp_path, "--kind", "container", "--proxy", "none")
    assert sorted(p.name for p in folder.iterdir()) == [
        *("Containerfile", "alerts.yml", "dashboard.json", "prometheus.yml", "tallystick.env")
    ]
    lines = (folder / "Containerfile").read_text().replace("\\\n", "").splitlines()
    made = dict(
        line.split(maxsplit=1) for line in lines if line and not line.startswith(("#", " "))
    )
    port = free_port()
    here = {"0.0.0.0": "127.0.0.1", "8080": str(port)}
    words = [here.get(one, one) for one in json.loads(made["CMD"])]
    assert json.loads(made["ENTRYPOINT"]) == ["tally"] and made["USER"] == "10001"
    where = ["--db", f"sqlite:///{tmp_path / 's.db'}", "--key-file", str(tmp_path / "s.keys")]
    check = json.loads(made["HEALTHCHECK"].split("CMD", 1)[1])
    check = [sys.executable, *(one.replace("8080", str(port)) for one in check[1:])]
    with running(TALLY, *words, *where, log=tmp_path / "log"):
        until(
            "the container's command",
            tmp_path / "log",
            lambda: subprocess.run(check, check=False, capture_output=True).returncode == 0,
        )
    assert (needs.ROOT / "requirements/tallystick.txt").exists()
    assert f"TMPDIR={STATE}" in made["ENV"]  # a disk, where /tmp is memory
    # In the format that podman takes by itself there is no health check.
    for build in (lines[1], *written_next(tmp_path, "--kind", "container", "--proxy", "none")):
        assert "podman build" not in build or "--format docker" in build


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"public_url": "http://otp.example.org"}, "not https"),
        ({"public_url": "https://otp.example.org/p"}, "not https"),
        ({"public_url": "https://otp_1;.example.org"}, "letters"),
        ({"certificate": ""}, "belong together"),
        ({"certificate": "", "certificate_key": ""}, "nginx needs"),
        ({"db": "sqlite:///server.db"}, "relative"),
        ({"db": "mysql://x"}, "not understood"),
        ({"db": "nonsense"}, "not understood"),
        ({"smtp": "smtp://a\nExecStart=/bin/sh"}, "line end"),
        ({"smtp": "smtp://a:'b'@c"}, "quote"),
        ({"user": "root;"}, "name of a user"),
        ({"backups": "relative"}, "does not begin"),
        ({"backups": "/a\nExecStart=x"}, "does not begin"),
        ({"tally": "/home/me/bin/tally"}, "does not see"),
        ({"tally": "/opt/../home/me/tally"}, "goes back"),
        ({"backups": "/home/me/copies"}, "does not see"),
        ({"backups": "/tmp"}, "does not see"),
        ({"backups": "/var/lib/tallystick-keys/copies"}, "has both"),
        ({"backups": "/var/backups/../lib/tallystick-keys"}, "goes back"),
        ({"db": "sqlite:////var/lib/tallystick/../server.db"}, "nowhere but in"),
        ({"public_url": "https://[::1"}, "not understood"),
        ({"public_url": "https://otp.example.org:99999"}, "not understood"),
        ({"public_url": "https://otp.example.org?x=1"}, "not https"),
        ({"public_url": "https://me@otp.example.org"}, "not https"),
        ({"db": "postgresql+psycopg://u:p@h:port/x"}, "not understood"),
        ({"db": "sqlite:////srv/server.db"}, "nowhere but in"),
        ({"smtp": "mail.example.org"}, "none of smtp:, smtps:"),
        ({"smtp": "https://mail.example.org"}, "none of smtp:, smtps:"),
        ({"smtp": "smtp://"}, "smtp is not understood"),
        ({"smtp": "smtp://mail:abc"}, "smtp is not understood"),
        ({"smtp": "smtp://mail", "mail_from": "nonsense"}, "no address"),
        ({"sms": "smtp://mail"}, "none of file:"),
        ({"sms": "https://:token@[x"}, "sms is not understood"),
        ({"user": "root"}, "as root"),
        ({"port": 80}, "for root"),
        ({"port": 8443, "https_port": 8443}, "cannot both"),
    ],
)
def test_what_would_not_work_is_refused(wrong, words):
    good = {
        "public_url": "https://otp.example.org", "certificate": "/a.pem", "certificate_key": "/k"
    }  # fmt: skip
    with pytest.raises(BadInputError, match=words):
        DeploymentPlan(**(good | wrong))


@given(st.text(max_size=40), st.sampled_from(["smtp", "sms", "mail_from", "backups", "user"]))
def test_nothing_that_is_said_becomes_another_line(value, name):
    try:
        plan = DeploymentPlan("https://a.example", proxy=DeploymentProxy.CADDY, **{name: value})
    except BadInputError:
        return
    plain = DeploymentPlan("https://a.example", proxy=DeploymentProxy.CADDY)
    for kind in DeploymentKind:
        made, usual = (files.made_of(replace(one, kind=kind)) for one in (plan, plain))
        for one, other in zip(made, usual, strict=True):
            assert len(one.text.splitlines()) == len(other.text.splitlines())
