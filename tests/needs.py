"""What a test may need that not every machine has: the one list of what the suite skips, and why.

A test says so with `needs.chromium.mark`, a fixture with `needs.chromium.or_skip()`; both look for
the thing itself. For what a Debian package brings, the skip is permitted by somebody else: dpkg
must say that the package is not installed. Any other skip fails its test (tests/conftest.py): one
that looked in the wrong place for what is installed would run nowhere, and nobody would see it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from ctypes.util import find_library
from dataclasses import dataclass
from functools import cache, partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
POSTGRESQL_VERSIONS = Path("/usr/lib/postgresql")


def program(name: str) -> str | None:
    """Where it lies. Debian keeps PostgreSQL's server off the path, and sbin off a user's."""
    versions = POSTGRESQL_VERSIONS.glob("*/bin")
    newest = sorted(versions, key=lambda folder: float(folder.parent.name), reverse=True)
    search = [os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin", *map(str, newest)]
    return shutil.which(name, path=os.pathsep.join(search))


def have(*names: str) -> Callable[[], bool]:
    return lambda: all(program(name) for name in names)


def _succeeds(*command: str) -> bool:
    return subprocess.run(command, check=False, capture_output=True).returncode == 0


def variable(name: str) -> str:
    return os.environ.get(name, "")


def _in_node_modules(name: str) -> Path:
    return Path(variable("TALLY_NODE_MODULES") or "node_modules") / name


ETCD_CLIENT = Path("/usr/lib/python3/dist-packages/etcd")  # with which Patroni speaks to etcd


@cache
def missing_packages() -> frozenset[str]:
    """Those of .ci/packages.txt that this machine does not have; on another system, all."""
    command = [str(ROOT / ".ci/packages"), "--missing"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return frozenset(done.stdout.split())


@dataclass(frozen=True)
class Need:
    """Something that a test needs.

    here: whether the test would find it. packages: the Debian packages that bring it; a skip is
    permitted while one of them is missing. Without packages, it is while `here` says no.
    """

    what: str
    here: Callable[[], object]
    packages: tuple[str, ...] = ()

    @property
    def reason(self) -> str:
        install = f" (apt-get install {' '.join(self.packages)})" if self.packages else ""
        return f"needs {self.what}{install}"

    @property
    def mark(self) -> pytest.MarkDecorator:
        return pytest.mark.skipif(not self.here(), reason=self.reason)

    def or_skip(self) -> None:
        if not self.here():
            pytest.skip(self.reason)

    @property
    def permitted(self) -> bool:
        if self.packages:
            return not missing_packages().isdisjoint(self.packages)
        return not self.here()


def refusal(reason: str) -> str | None:
    """Why a test may not skip for that reason; None if it may."""
    need = next((one for one in ALL if one.reason == reason), None)
    if need is None:
        return f"This test skips, for a reason that tests/needs.py does not list: {reason}"
    if need.permitted:
        return None
    installed = f"{', '.join(need.packages)} is installed" if need.packages else "it is here"
    return f"This test skips as it {reason}, but {installed}: it looks in the wrong place."


UHID = Path("/dev/uhid")
VPCD = Path("/usr/lib/pcsc/drivers/serial/libifdvpcd.so")
POSTGRESQL = ("initdb", "pg_ctl", "createdb", "pg_basebackup")
SOFTHSM = ("/usr/lib/softhsm/libsofthsm2.so", "/usr/local/lib/softhsm/libsofthsm2.so")
OTHER_PYTHONS = ROOT / "build/pythons"  # .ci/pythons

# Debian packages.
chromium = Need(
    "Chromium", lambda: bool(program("chromium") or program("chromium-browser")), ("chromium",)
)
firefox = Need("Firefox", have("firefox-esr"), ("firefox-esr",))
postgresql = Need("PostgreSQL", have(*POSTGRESQL), ("postgresql",))
radclient = Need("FreeRADIUS' radclient", have("radclient"), ("freeradius-utils",))
softhsm = Need(
    "SoftHSM",
    lambda: bool(program("softhsm2-util")) and any(map(os.path.exists, SOFTHSM)),
    ("softhsm2",),
)
fail2ban = Need("fail2ban", have("fail2ban-regex"), ("fail2ban",))
ssh_keygen = Need("ssh-keygen", have("ssh-keygen"), ("openssh-client",))
sshd = Need("sshd", Path("/usr/sbin/sshd").exists, ("openssh-server",))
pam_u2f = Need(
    "pam_u2f, pamtester",
    lambda: have("pamtester", "pamu2fcfg")() and any(Path("/lib").glob("*/security/pam_u2f.so")),
    ("pamtester", "libpam-u2f", "pamu2fcfg"),
)
apache_openidc = Need(
    "Apache with mod_auth_openidc",
    lambda: have("apache2")() and Path("/usr/lib/apache2/modules/mod_auth_openidc.so").exists(),
    ("apache2", "libapache2-mod-auth-openidc"),
)
nginx = Need("nginx", have("nginx"), ("nginx-light",))
pam_oath = Need(
    "pam_oath, pamtester",
    lambda: have("pamtester")() and any(Path("/lib").glob("*/security/pam_oath.so")),
    ("pamtester", "libpam-oath"),
)
openvpn = Need("OpenVPN", have("openvpn"), ("openvpn",))
strongswan = Need(
    "strongSwan",
    lambda: have("swanctl", "pki", "ip")() and Path("/usr/sbin/charon-systemd").exists(),
    ("charon-systemd", "strongswan-swanctl", "strongswan-pki", "libcharon-extra-plugins",
     "libstrongswan-standard-plugins", "iproute2"),
)  # fmt: skip
freeradius = Need("FreeRADIUS", have("freeradius"), ("freeradius",))
radsecproxy = Need("radsecproxy, openssl", have("radsecproxy", "openssl"), ("radsecproxy",))
pam_radius = Need(
    "pam_radius_auth, pamtester",
    lambda: have("pamtester")() and any(Path("/lib").glob("*/security/pam_radius_auth.so")),
    ("pamtester", "libpam-radius-auth"),
)
pam_exec = Need(
    "pamtester",
    lambda: have("pamtester")() and any(Path("/lib").glob("*/security/pam_exec.so")),
    ("pamtester",),
)
oathtool = Need("oathtool", have("oathtool"), ("oathtool",))
openocd = Need("OpenOCD", have("openocd"), ("openocd",))
pskctool = Need("pskctool", have("pskctool"), ("pskctool",))
cryptsetup = Need(
    "cryptsetup, systemd-cryptenroll",
    have("cryptsetup", "systemd-cryptenroll"),
    ("cryptsetup-bin", "systemd-cryptsetup"),
)
nginx = Need("nginx", have("nginx"), ("nginx-light",))
caddy = Need("Caddy", have("caddy"), ("caddy",))
promtool = Need("promtool", have("promtool"), ("prometheus",))
logrotate = Need("logrotate", have("logrotate"), ("logrotate",))
systemd_analyze = Need("systemd-analyze", have("systemd-analyze"), ("systemd",))
seccomp = Need(
    "the system's Python with seccomp",
    lambda: _succeeds("/usr/bin/python3", "-c", "import seccomp"),
    ("python3-seccomp",),
)
patroni = Need(
    "Patroni, etcd, HAProxy",
    lambda: have("patroni", "etcd", "haproxy")() and ETCD_CLIENT.is_dir(),
    ("patroni", "python3-etcd", "etcd-server", "haproxy"),
)
curl = Need("curl", have("curl"), ("curl",))
liboath = Need("liboath", lambda: find_library("oath") is not None, ("liboath0",))
fido2_tools = Need("libfido2's tools", have("fido2-token"), ("fido2-tools",))
umockdev = Need(
    "umockdev",
    have("umockdev-run"),
    ("umockdev", "gir1.2-umockdev-1.0", "python3-gi"),
)
pcsc = Need(
    "pcscd, its virtual reader and opensc-tool",
    lambda: have("pcscd", "opensc-tool")() and VPCD.exists(),
    ("pcscd", "vsmartcard-vpcd", "opensc"),
)

slapd = Need("slapd", have("slapd"), ("slapd",))

# This machine, and who runs the tests on it.
root = Need("root", lambda: os.geteuid() == 0)
linux = Need("Linux, which tells whose a connection is", Path("/proc/net/tcp").exists)
TUN = Path("/dev/net/tun")
tun = Need("/dev/net/tun", lambda: os.access(TUN, os.R_OK | os.W_OK))
uhid = Need(
    "/dev/uhid, which is not here or not for this user to write (as root: modprobe uhid)",
    lambda: os.access(UHID, os.R_OK | os.W_OK),
)
no_uhid = Need("a kernel without /dev/uhid", lambda: not os.access(UHID, os.R_OK | os.W_OK))
own_mounts = Need(
    "root that may make mounts of its own", lambda: _succeeds("unshare", "--mount", "true")
)


def memory_groups() -> Path:
    """Where control groups that bound memory are made (version 2, or 1)."""
    first = Path("/sys/fs/cgroup/memory")
    return first if first.exists() else Path("/sys/fs/cgroup")


def _bounds_memory() -> bool:
    """A group is made, and taken away again, to see."""
    group = memory_groups() / f"tally-needs-{os.getpid()}"
    try:
        group.mkdir()
    except OSError:
        return False
    bounds = any((group / name).exists() for name in ("memory.max", "memory.limit_in_bytes"))
    group.rmdir()
    return bounds


own_memory = Need("root that may make a control group with a bound of memory", _bounds_memory)
own_networks = Need(
    "root that may make networks of its own", lambda: _succeeds("unshare", "--net", "true")
)
other_pythons = Need(
    "another Python on this machine (.ci/pythons)",
    lambda: any(OTHER_PYTHONS.glob("3.*/bin/python")),
)

# What somebody has to ask for.
COMPILER = ("gcc", "libc6-dev", "python3-dev")
python_ldap = Need(
    "`make compiled`, which compiles python-ldap",
    lambda: find_spec("ldap") is not None,
    (*COMPILER, "libldap-dev", "libsasl2-dev"),
)
debug_client = Need(
    "node, and @vscode/debugadapter-testsupport of npm in the folder $TALLY_NODE_MODULES",
    lambda: have("node")() and _in_node_modules("@vscode/debugadapter-testsupport").is_dir(),
)
foreign = Need(
    "`make foreign`, which fetches the tests of others",
    lambda: any((ROOT / "build/foreign").glob("fido2-*.tar.gz")),
)
FIRMWARE_SUFFIXES = (".uf2", ".hex", ".elf", ".bin")


def firmware_file(board: str, suffixes: tuple[str, ...] = FIRMWARE_SUFFIXES) -> Path | None:
    """A MicroPython for the board, of those in the folder TALLY_SECOND_FIRMWARE."""
    folder = variable("TALLY_SECOND_FIRMWARE")
    files = (Path(folder) / f"{board}{suffix}" for suffix in suffixes)
    return next((path for path in files if folder and path.is_file()), None)


second_opinion = {
    board: Need(
        f"a MicroPython for {board} in the folder TALLY_SECOND_FIRMWARE (docs/guides/testing.md)",
        partial(firmware_file, board),
    )
    for board in ("nucleo_l476rg", "pico", "pico2")
}
STUBS = ROOT / ".venv/stubs"
stubs = Need("the boards' stubs, which `make lint` installs", (STUBS / ".installed").exists)
micropython_sources = Need(
    "TALLY_MICROPYTHON_SRC: a checkout of MicroPython (docs/reference/boards.md)",
    lambda: bool(variable("TALLY_MICROPYTHON_SRC")),
)
YKMAN = ROOT / "build/ykman/bin/ykman"
ykman = Need(
    "`make compiled`, which installs ykman and compiles pyscard",
    YKMAN.exists,
    (*COMPILER, "swig", "libpcsclite-dev"),
)
privacyidea = Need(
    "`make privacyidea`, which installs it", lambda: bool(variable("TALLY_TEST_PRIVACYIDEA"))
)

ALL = [one for one in list(globals().values()) if isinstance(one, Need)]
ALL += second_opinion.values()


def launch(driver: Any, **options: Any) -> Any:
    """Debian's Chromium, under playwright. Its sandbox refuses to run as root."""
    path = program("chromium") or program("chromium-browser")
    return driver.chromium.launch(executable_path=path, args=["--no-sandbox"], **options)
