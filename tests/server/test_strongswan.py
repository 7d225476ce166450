"""strongSwan, as Debian ships it, has its users log in here: IKEv2 with EAP, by RADIUS. Client and
gateway each have a network of their own, joined by a cable."""

from __future__ import annotations

import ctypes
import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import uuid4

import pytest

from tallystick.common.secret import Secret
from tallystick.server.rules.otp import hotp
from tallystick.server.services.radius import RadiusServer
from tallystick.server.services.radius_clients import Mode, RadiusSettings
from tallystick.server.state import open_state
from tests import needs
from tests.server.portal_driver import PASSWORD
from tests.server.test_radius import seed
from tests.server.test_services import SECRET, WAIT_S, portal, running, until
from tests.service_pages import picture_of_terminal, recipe

__all__ = ["portal", "seed"]
pytestmark = pytest.mark.slow
CLONE_NEWNET = 0x40000000

CERTIFICATES = """
mkdir private
pki --gen --type rsa --size 2048 --outform pem > ca.key
pki --self --ca --in ca.key --dn CN=ca --outform pem > ca.pem
pki --gen --type rsa --size 2048 --outform pem > private/vpn.key
pki --pub --in private/vpn.key > vpn.pub
pki --issue --in vpn.pub --cacert ca.pem --cakey ca.key --dn CN=vpn.example --san vpn.example \
 --outform pem > vpn.pem
"""
PLUGINS = """
random nonce aes sha1 sha2 hmac kdf pem pkcs1 pkcs8 x509 pubkey revocation constraints gmp
curve25519 openssl kernel-libipsec kernel-netlink socket-default vici eap-identity
"""
DAEMON = """
charon-systemd {{
  load = {plugins}
  journal {{
    default = -1
  }}
  filelog {{
    log {{
      path = {folder}/{name}.log
      default = 1
      flush_line = yes
    }}
  }}
  install_routes = no
  plugins {{
    vici {{
      socket = unix://{folder}/{name}.vici
    }}
  }}
}}
"""
GATEWAY = """
connections {
  rw {
    local_addrs = 10.9.9.1
    proposals = aes128-sha256-x25519
    children {
      net {
        local_ts = 10.8.1.1/32
        remote_ts = 10.8.2.1/32
        esp_proposals = aes128-sha256
      }
    }
  }
}
secrets {
  private {
    file = vpn.key
  }
}
"""
CLIENT = """
connections {{
  home {{
    local_addrs = 10.9.9.2
    remote_addrs = 10.9.9.1
    proposals = aes128-sha256-x25519
    local {{
      auth = eap
      id = ann
      eap_id = ann
    }}
    remote {{
      auth = pubkey
      id = vpn.example
      cacerts = {folder}/ca.pem
    }}
    children {{
      net {{
        local_ts = 10.8.2.1/32
        remote_ts = 10.8.1.1/32
        esp_proposals = aes128-sha256
      }}
    }}
  }}
}}
secrets {{
  eap-ann {{
    id = ann
    secret = "{typed}"
  }}
}}
"""


def run(command: str, folder: Path | None = None) -> str:
    done = subprocess.run(
        command, shell=True, cwd=folder, capture_output=True, text=True, timeout=WAIT_S, check=False
    )
    return done.stdout + done.stderr


@contextmanager
def network() -> Iterator[str]:
    name = f"tally-{uuid4().hex[:8]}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        run(f"ip -n {name} link set lo up")
        yield name
    finally:
        run(f"ip netns del {name}")


def socket_in(name: str) -> socket.socket:
    """A UDP socket of another network: a thread goes there, and its socket stays."""
    made: list[socket.socket] = []

    def make() -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        with Path(f"/run/netns/{name}").open("rb") as there:
            assert libc.setns(there.fileno(), CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())
        made.append(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        made[0].bind(("127.0.0.1", 0))

    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
    return made[0]


@dataclass
class Vpn:
    """The client's end."""

    folder: Path

    def connect(self, typed: str) -> str:
        (self.folder / "client.swanctl").write_text(CLIENT.format(folder=self.folder, typed=typed))
        control = f"--uri unix://{self.folder}/client.vici"
        said = run(f"swanctl --load-all --clear --file {self.folder}/client.swanctl {control}")
        said += run(f"swanctl --initiate --child net --timeout 20 {control}")
        run(f"swanctl --terminate --ike home --timeout 5 {control}")
        return said


@pytest.fixture
def vpn(portal, tmp_path) -> Iterator[Vpn]:
    needs.root.or_skip()
    needs.strongswan.or_skip()
    needs.own_networks.or_skip()
    needs.tun.or_skip()
    run(f"set -e{CERTIFICATES}", tmp_path)
    state = open_state(portal.settings)
    with ExitStack() as stack:
        inside, outside = (stack.enter_context(network()) for _ in range(2))
        sock = stack.enter_context(socket_in(inside))
        run(f"ip -n {inside} link add vpn type veth peer name vpn netns {outside}")
        for number, name in enumerate((inside, outside), 1):
            run(f"ip -n {name} address add 10.9.9.{number}/24 dev vpn")
            run(f"ip -n {name} address add 10.8.{number}.1/32 dev lo")
            run(f"ip -n {name} link set vpn up")
        (client,) = RadiusSettings("default", Secret(SECRET.encode()), ("127.0.0.1/32",)).each()
        client = replace(client, mode=Mode.APPEND, eap_gtc=True)
        server = RadiusServer(state, [client], sock)
        thread = threading.Thread(target=server.serve, daemon=True)
        thread.start()
        for name, where, plugin in (
            ("gateway", inside, "eap-radius"),
            ("client", outside, "eap-gtc"),
        ):
            config = tmp_path / f"{name}.conf"
            plugins = " ".join([*PLUGINS.split(), plugin])
            servers = {"1812": sock.getsockname()[1], "…": SECRET}
            config.write_text(
                DAEMON.format(folder=tmp_path, name=name, plugins=plugins)
                + recipe("strongswan", "daemon", servers)
            )
            command = ["ip", "netns", "exec", where, "env", f"STRONGSWAN_CONF={config}"]
            log = tmp_path / f"{name}.out"
            stack.enter_context(running(*command, "/usr/sbin/charon-systemd", log=log))
            until(name, log, (tmp_path / f"{name}.vici").exists)
        (tmp_path / "gateway.swanctl").write_text(
            GATEWAY + recipe("strongswan", "gateway", {"vpn.pem": tmp_path / "vpn.pem"})
        )
        said = run(
            f"swanctl --load-all --file {tmp_path}/gateway.swanctl "
            f"--uri unix://{tmp_path}/gateway.vici"
        )
        assert "successfully loaded 1 connections" in said, said
        yield Vpn(tmp_path)
        server.close()
        thread.join()
    state.close()


def _without_loading(said: str) -> str:
    """What an administrator looks for."""
    lines = said[said.index("[IKE] initiating") :].splitlines()
    return "\n".join(one for one in lines if not one.startswith(("[ENC]", "[NET]", "[CFG]")))


def test_strongswan_by_eap_radius(vpn, seed):
    said = vpn.connect(PASSWORD)
    assert "EAP_FAILURE" in said or "AUTHENTICATION_FAILED" in said, said
    code = hotp(seed, 2, 6)
    said = vpn.connect(PASSWORD + code)
    assert "initiate completed successfully" in said, said
    picture_of_terminal("strongswan", ("swanctl --initiate --child net", _without_loading(said)))
    assert "initiate completed" not in vpn.connect(PASSWORD + code)
