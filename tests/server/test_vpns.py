"""VPNs that log people in here, as Debian ships them: see docs/guides/services."""

from __future__ import annotations

import base64
import re
import secrets
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tallystick.server.rules.otp import hotp
from tallystick.server.services.radius_clients import Mode
from tests import needs
from tests.server.portal_driver import PASSWORD
from tests.server.test_radius import seed
from tests.server.test_services import (
    allow_unsigned,
    free_port,
    mode,
    pam,
    portal,
    radius_server,
    running,
    until,
)
from tests.service_pages import picture_of_terminal, recipe

__all__ = ["allow_unsigned", "mode", "pam", "portal", "radius_server", "seed"]
pytestmark = pytest.mark.slow

CERTIFICATES = """
openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=ca -keyout ca.key -out ca.pem
openssl req -newkey rsa:2048 -nodes -subj /CN=vpn -keyout vpn.key -out vpn.csr
openssl x509 -req -in vpn.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -out vpn.pem
"""
SERVER = """
mode server
tls-server
dev {device}
dev-type tun
topology subnet
ifconfig-noexec
route-noexec
local 127.0.0.1
port {port}
proto tcp-server
ca {folder}/ca.pem
cert {folder}/vpn.pem
key {folder}/vpn.key
dh none
{recipe}
verb 4
"""
CLIENT = """
client
dev null
ifconfig-noexec
remote 127.0.0.1 {port} tcp-client
ca {folder}/ca.pem
verify-x509-name vpn name
auth-user-pass {folder}/login

auth-retry none
connect-retry-max 1
verb 4
"""


SHOWN = r"VERIFY|Control Channel: TLS|Peer Connection|PUSH: Received|Sequence Completed"


@pytest.fixture
def vpn(pam, tmp_path) -> Iterator[int]:
    """OpenVPN, which asks PAM, which asks by RADIUS."""
    needs.openvpn.or_skip()
    needs.tun.or_skip()
    for line in CERTIFICATES.strip().splitlines():
        subprocess.run(line.split(), cwd=tmp_path, check=True, capture_output=True)
    plugin = next(Path("/usr/lib").glob("**/openvpn-plugin-auth-pam.so"))
    port, log, config = free_port(), tmp_path / "server.log", tmp_path / "server.conf"
    config.write_text(
        SERVER.format(
            port=port,
            folder=tmp_path,
            recipe=recipe(
                "openvpn",
                "server",
                {"/usr/lib/openvpn/openvpn-plugin-auth-pam.so": plugin, "SERVICE": pam},
            ),
            device=f"tally{secrets.token_hex(4)}",
        )
    )
    with running(str(needs.program("openvpn")), "--config", str(config), log=log):
        until("OpenVPN", log, lambda: "Initialization Sequence Completed" in log.read_text())
        yield port


def connect(port: int, folder: Path, *login: str) -> str:
    """A client's log, until it is let in or not. login: lines of its file."""
    log, config, file = folder / "client.log", folder / "client.conf", folder / "login"
    file.write_text("\n".join(login) + "\n")
    file.chmod(0o600)
    config.write_text(CLIENT.format(port=port, folder=folder))
    log.unlink(missing_ok=True)
    ends = ("Initialization Sequence Completed", "AUTH_FAILED")
    with running(str(needs.program("openvpn")), "--config", str(config), log=log):
        until("OpenVPN's client", log, lambda: any(end in log.read_text() for end in ends))
        return log.read_text()


@pytest.mark.parametrize("allow_unsigned", [True])
@pytest.mark.parametrize("mode", [Mode.APPEND])
def test_openvpn_with_the_code_after_the_password(vpn, seed, tmp_path):
    for wrong in (PASSWORD, f"{PASSWORD}000000"):
        assert "AUTH_FAILED" in connect(vpn, tmp_path, "ann", wrong)
    code = hotp(seed, 2, 6)
    said = connect(vpn, tmp_path, "ann", PASSWORD + code)
    assert "Sequence Completed" in said
    told = [
        re.sub(r"^\S+ \S+ (us=\d+ )?", "", line)
        for line in said.splitlines()
        if re.search(SHOWN, line)
    ]
    picture_of_terminal("openvpn", ("openvpn client.conf", "\n".join(told)))
    assert "AUTH_FAILED" in connect(vpn, tmp_path, "ann", PASSWORD + code)


def scrv1(password: str, code: str) -> str:
    """What a client with `static-challenge` sends: the password, and what was typed besides."""
    password, code = (base64.b64encode(one.encode()).decode() for one in (password, code))
    return f"SCRV1:{password}:{code}"


@pytest.mark.parametrize("allow_unsigned", [True])
def test_openvpn_with_a_field_for_the_code(vpn, seed, tmp_path):
    """`static-challenge "Code" 1` in the client; the challenge of RADIUS is answered with it."""
    assert "AUTH_FAILED" in connect(vpn, tmp_path, "ann", scrv1(PASSWORD, "000000"))
    code = hotp(seed, 2, 6)
    assert "Sequence Completed" in connect(vpn, tmp_path, "ann", scrv1(PASSWORD, code))
    assert "AUTH_FAILED" in connect(vpn, tmp_path, "ann", scrv1(PASSWORD, code))
