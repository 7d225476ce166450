"""Programs of other people that log in here, as Debian ships them: see docs/guides/services."""

from __future__ import annotations

import base64
import re
import secrets
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
from sqlalchemy import text

from tallystick.common.secret import Secret
from tallystick.server.rules.otp import hotp
from tallystick.server.services import oidc_clients
from tallystick.server.services.radius import RadiusServer
from tallystick.server.services.radius_clients import Mode, RadiusSettings
from tallystick.server.serving.running import running_in_thread
from tallystick.server.state import open_state
from tallystick.server.store.opened import opened
from tests import needs
from tests.server.portal_driver import PASSWORD, Browser, Portal
from tests.server.test_radius import seed
from tests.server.test_token_files import FIELD, SEED, read
from tests.service_pages import answered, picture_of_page, picture_of_terminal, recipe

pytestmark = pytest.mark.slow
__all__ = ["seed"]  # a fixture of theirs
SECRET = secrets.token_hex(16)
WAIT_S = 60


@pytest.fixture
def portal(settings, clock, tmp_path) -> Iterator[Portal]:
    with running_in_thread(settings) as url:
        yield Portal(url.replace("127.0.0.1", "localhost"), settings, clock, tmp_path)
        Browser.close_all()


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    with socket.socket(socket.AF_INET, kind) as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@contextmanager
def running(*command: str, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as out, subprocess.Popen(command, stdout=out, stderr=out) as process:
        try:
            yield process
        finally:
            process.terminate()
            process.wait(WAIT_S)


def until(what: str, log: Path, ready) -> None:
    """ready: true when the program answers. It is tried until it is, and not for ever."""
    end = time.monotonic() + WAIT_S
    while time.monotonic() < end:
        if ready():
            return
        time.sleep(0.05)
    raise AssertionError(f"{what}: {log.read_text(errors='replace')[-2000:]}")


# ---- OpenID Connect: Apache with mod_auth_openidc

APACHE = """
ServerRoot {folder}
ServerName localhost
Listen 127.0.0.1:{port}
PidFile {folder}/pid
DefaultRuntimeDir {folder}
Mutex file:{folder}
User www-data
Group www-data
LoadModule mpm_event_module {modules}/mod_mpm_event.so
LoadModule authn_core_module {modules}/mod_authn_core.so
LoadModule authz_core_module {modules}/mod_authz_core.so
LoadModule authz_user_module {modules}/mod_authz_user.so
LoadModule headers_module {modules}/mod_headers.so
LoadModule auth_openidc_module {modules}/mod_auth_openidc.so
ErrorLog {folder}/error.log
DocumentRoot {folder}/pages

OIDCCacheType file
OIDCCacheDir {folder}
{site}
<Location /private>
  ForceType text/html
  Header set X-Remote-User "expr=%{{REMOTE_USER}}"
</Location>
"""
WIKI = """<!doctype html><title>Wiki</title>
<body style="font: 18px sans-serif; margin: 2rem"><h1>The wiki</h1><p>only for staff</p>"""


def test_apache_with_mod_auth_openidc(portal):
    needs.apache_openidc.or_skip()
    needs.root.or_skip()  # it takes the rights of www-data
    portal.clock.now = time.time()  # Apache looks at its own clock
    with tempfile.TemporaryDirectory(prefix="tally-apache-", dir="/var/tmp") as name:
        folder = Path(name)
        folder.chmod(0o777)
        (folder / "pages/private").mkdir(parents=True)
        (folder / "pages/private/index.html").write_text(WIKI)
        port = free_port()
        with opened(portal.settings) as parts, parts.database.write() as connection:
            client, secret = oidc_clients.add_client(
                connection,
                parts.ring,
                firm_id=1,
                name="Apache",
                redirect_uris=[f"http://localhost:{port}/private/callback"],
                now=portal.clock(),
                actor="test",
                backchannel_logout_uri=f"http://localhost:{port}/private/callback?logout=backchannel",
            )
        config = folder / "apache.conf"
        config.write_text(
            APACHE.format(
                folder=folder,
                port=port,
                modules="/usr/lib/apache2/modules",
                site=recipe(
                    "apache",
                    "site",
                    {
                        "https://id.example/p/default": f"{portal.url}/p/default",
                        "oc-…": client,
                        "ClientSecret …": f"ClientSecret {secret}",
                        "Passphrase …": f"Passphrase {secrets.token_hex(16)}",
                        "https://wiki.example": f"http://localhost:{port}",
                    },
                ),
            )
        )
        log = folder / "out.log"
        apache = str(needs.program("apache2"))
        with running(apache, "-f", str(config), "-DFOREGROUND", log=log):
            page = f"http://localhost:{port}/private/index.html"
            until("Apache", log, lambda: _answers(page))
            ann = portal.staff("ann", "user")
            with opened(portal.settings) as parts, parts.database.write() as connection:
                connection.execute(text("UPDATE person SET groups = 'staff'"))
            answer = ann.http.get(page)
            assert "only for staff" in answer.text, (
                answer.url,
                answer.text,
                (folder / "error.log").read_text()[-3000:],
            )
            assert answer.headers["x-remote-user"] == "ann"
            picture_of_page("apache", page, dict(ann.http.cookies))
            bob = portal.staff("bob", "user")
            assert bob.http.get(page).status_code in (401, 403)
            assert "only for staff" in ann.http.get(page, follow_redirects=False).text
            ann.post("/sign-out")  # of the portal: Apache hears of it
            until("Apache", log, lambda: ann.http.get(page, follow_redirects=False).is_redirect)
            stranger = httpx.get(page, follow_redirects=True, timeout=WAIT_S)
            assert "Sign in" in stranger.text and str(stranger.url).startswith(portal.url)


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5).status_code < 500
    except httpx.TransportError:
        return False


# ---- RADIUS


@dataclass
class Radius:
    port: int


@pytest.fixture
def mode() -> Mode:
    return Mode.CHALLENGE


@pytest.fixture
def allow_unsigned() -> bool:
    return False


@pytest.fixture
def radius_server(portal, mode, allow_unsigned) -> Iterator[Radius]:
    state = open_state(portal.settings)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        (client,) = RadiusSettings("default", Secret(SECRET.encode()), ("127.0.0.1/32",)).each()
        client = replace(client, mode=mode, allow_unsigned=allow_unsigned)
        server = RadiusServer(state, [client], sock)
        thread = threading.Thread(target=server.serve, daemon=True)
        thread.start()
        yield Radius(sock.getsockname()[1])
        server.close()
        thread.join()
    state.close()


def radclient(port: int, secret: str, **attributes: str) -> str:
    values = {k: v if v.startswith("0x") else f'"{v}"' for k, v in attributes.items()}
    lines = "\n".join(f"{name.replace('_', '-')} = {value}" for name, value in values.items())
    done = subprocess.run(
        ["radclient", "-x", "-r", "3", "-t", "5", f"127.0.0.1:{port}", "auth", secret],
        input=f"{lines}\nMessage-Authenticator = 0x00\n",
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )
    return done.stdout + done.stderr


def challenged(port: int, secret: str, seed: bytes, picture: str) -> None:
    """A password, then a code in answer to the challenge. picture: its name."""
    asked = radclient(port, secret, User_Name="ann", User_Password=PASSWORD)
    assert "Access-Challenge" in asked, asked
    state = re.search(r"State = (0x\w+)", asked).group(1)
    wrong = radclient(port, secret, User_Name="ann", User_Password="000000", State=state)
    assert "Access-Reject" in wrong, wrong
    right = radclient(port, secret, User_Name="ann", User_Password=hotp(seed, 2, 6), State=state)
    assert "Received Access-Accept" in right, right
    picture_of_terminal(
        picture,
        ("radclient -x localhost auth SECRET  # User-Name, User-Password", asked),
        (
            "radclient -x localhost auth SECRET  # User-Name, the code as User-Password, State",
            right,
        ),
        instead={secret: "…", f":{port}": ":1812"},
    )


RADIUSD = """
prefix = /usr
name = freeradius
raddbdir = {folder}
run_dir = {folder}
logdir = {folder}
libdir = /usr/lib/freeradius
pidfile = {folder}/pid
log {{ destination = stdout }}
security {{ allow_core_dumps = no }}
proxy_requests = yes
thread pool {{ start_servers = 1
  max_servers = 2
  min_spare_servers = 1
  max_spare_servers = 1
  max_requests_per_server = 0 }}
{proxy}
client vpn {{
  ipaddr = 127.0.0.1
  secret = {vpn_secret}
  require_message_authenticator = yes
}}
modules {{ }}
server default {{
  listen {{
    type = auth
    ipaddr = 127.0.0.1
    port = {port}
  }}
  authorize {{
    {authorize}
  }}
}}
"""


def test_freeradius_in_front(radius_server, seed, tmp_path):
    needs.freeradius.or_skip()
    needs.radclient.or_skip()
    port, vpn_secret = free_port(socket.SOCK_DGRAM), secrets.token_hex(16)
    config = tmp_path / "radiusd.conf"
    config.write_text(
        RADIUSD.format(
            folder=tmp_path,
            proxy=recipe(
                "freeradius",
                "proxy",
                {"10.0.0.5": "127.0.0.1", "1812": radius_server.port, "…": SECRET},
            ),
            authorize=recipe("freeradius", "authorize"),
            vpn_secret=vpn_secret,
            port=port,
        )
    )
    config.chmod(0o600)
    log = tmp_path / "log"
    program = str(needs.program("freeradius"))
    with running(program, "-f", "-l", "stdout", "-d", str(tmp_path), "-n", "radiusd", log=log):
        until("FreeRADIUS", log, lambda: "Ready to process requests" in log.read_text())
        challenged(port, vpn_secret, seed, "freeradius")


RADSEC = """
ListenUDP 127.0.0.1:{udp}
ListenTLS 127.0.0.1:{tls}
LogLevel 3
{certificates}
{rest}
"""
# Everything is on this machine, and has one certificate.
HERE = "127.0.0.1\n  CertificateNameCheck off"


def test_radius_over_tls_through_radsecproxy(radius_server, seed, tmp_path):
    needs.radsecproxy.or_skip()
    needs.radclient.or_skip()
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj",
         "/CN=radius.example", "-keyout", tmp_path / "key.pem", "-out", tmp_path / "cert.pem"],
        check=True, capture_output=True,
    )  # fmt: skip
    (tmp_path / "ca.pem").write_bytes((tmp_path / "cert.pem").read_bytes())
    vpn_secret, tls = secrets.token_hex(16), [free_port(), free_port()]
    udp = [free_port(socket.SOCK_DGRAM), free_port(socket.SOCK_DGRAM)]
    ends = (
        recipe(
            "radsecproxy",
            "outside",
            {"…": vpn_secret, "radius.example": f"{HERE}\n  port {tls[1]}"},
        ),
        recipe(
            "radsecproxy",
            "inside",
            {"…": SECRET, "vpn.example": HERE, "port 1812": f"port {radius_server.port}"},
        ),
    )
    certificates = recipe("radsecproxy", "certificates", {"/etc/radsec": tmp_path})
    program = str(needs.program("radsecproxy"))
    logs = [tmp_path / "outside.log", tmp_path / "inside.log"]
    for place, rest in enumerate(ends):
        logs[place].with_suffix(".conf").write_text(
            RADSEC.format(udp=udp[place], tls=tls[place], certificates=certificates, rest=rest)
        )
    outside, inside = logs
    with running(program, "-f", "-c", str(tmp_path / "inside.conf"), log=inside):
        # It does not try again for a minute.
        until("radsecproxy", inside, lambda: "listening for tls" in inside.read_text())
        with running(program, "-f", "-c", str(tmp_path / "outside.conf"), log=outside):
            until("radsecproxy", outside, lambda: "up" in outside.read_text())
            challenged(udp[0], vpn_secret, seed, "radsecproxy")


@pytest.fixture
def pam(tmp_path, radius_server) -> Iterator[str]:
    """A PAM service of our own that asks by RADIUS."""
    needs.root.or_skip()
    needs.pam_radius.or_skip()
    config = tmp_path / "pam_radius.conf"
    config.write_text(recipe("pam-radius", "server", {"1812": radius_server.port, "…": SECRET}))
    config.chmod(0o600)
    name = f"tally-{uuid4().hex}"
    path = Path("/etc/pam.d") / name
    module = "pam_radius_auth.so"
    asks = recipe("pam-radius", "pam", {module: f"{module} conf={config}"})
    path.write_text(f"{asks}account required pam_permit.so\n")
    yield name
    path.unlink()


def pamtester(service: str, typed: str) -> str:
    done = subprocess.run(
        ["pamtester", service, "ann", "authenticate"],
        input=typed, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, timeout=WAIT_S, check=False,
    )  # fmt: skip
    return done.stdout


@pytest.mark.parametrize("allow_unsigned", [True])
@pytest.mark.parametrize("mode", [Mode.APPEND])
def test_pam_radius_auth_with_the_code_appended(pam, seed):
    """Log-in by ssh, sudo, a desktop: Debian 12's module sends no Message-Authenticator."""
    assert "successfully" not in pamtester(pam, PASSWORD + "\n")
    assert "successfully" not in pamtester(pam, f"{PASSWORD}000000\n")
    assert "successfully authenticated" in pamtester(pam, f"{PASSWORD}{hotp(seed, 2, 6)}\n")
    assert "successfully" not in pamtester(pam, f"{PASSWORD}{hotp(seed, 2, 6)}\n")


@pytest.mark.parametrize("allow_unsigned", [True])
def test_pam_radius_auth_with_a_challenge(pam, seed):
    answer = pamtester(pam, f"{PASSWORD}\n{hotp(seed, 2, 6)}\n")
    assert "successfully authenticated" in answer, answer
    picture_of_terminal("pam-radius", ("pamtester sshd ann authenticate", answered(answer)))


def signs_its_requests() -> bool:
    """pam_radius_auth from 3.0 on, which is Debian 13's, sends a Message-Authenticator."""
    asked = ["dpkg-query", "-W", "-f", "${Version}", "libpam-radius-auth"]
    version = subprocess.run(asked, check=True, capture_output=True, text=True).stdout
    return int(version.partition(".")[0]) >= 3


def test_pam_radius_auth_that_does_not_sign_is_refused_unless_it_is_allowed(pam, seed, caplog):
    """Until its client says allow_unsigned; the log says what to do."""
    if signs_its_requests():
        answer = pamtester(pam, f"{PASSWORD}\n{hotp(seed, 2, 6)}\n")
        assert "successfully authenticated" in answer, answer
        assert "Message-Authenticator" not in caplog.text
        return
    done = threading.Thread(target=pamtester, args=(pam, PASSWORD + "\n"), daemon=True)
    done.start()
    for _ in range(600):
        if "without Message-Authenticator" in caplog.text:
            break
        time.sleep(0.05)
    assert "allow_unsigned" in caplog.text


# ---- programs of the OATH toolkit


def test_oathtool_makes_the_codes_of_imported_cards():
    needs.oathtool.or_skip()
    raw = bytes(range(100, 120))
    for counter in (0, 1, 999):
        theirs = subprocess.run(
            ["oathtool", "--hotp", f"--counter={counter}", "--digits=8", raw.hex()],
            check=True, capture_output=True, text=True,
        ).stdout.strip()  # fmt: skip
        assert theirs == hotp(raw, counter, 8)


def test_pskctool_reads_what_the_importer_reads():
    """A container in clear, by a reader that is not ours: the same serial, counter and seed."""
    needs.pskctool.or_skip()
    content = (FIELD / "bom-crlf.xml").read_bytes()
    done = subprocess.run(
        ["pskctool", "--info", FIELD / "bom-crlf.xml"], capture_output=True, text=True, check=False
    )
    (entry,) = read(content).entries
    assert entry.serial in done.stdout, done.stderr
    assert base64.b64encode(entry.seed.reveal()).decode() in done.stdout
    assert entry.seed.reveal() != SEED
