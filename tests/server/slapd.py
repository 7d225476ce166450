"""A real slapd on a free port: a firm's directory, with TLS by a certificate of its own."""

from __future__ import annotations

import socket
import subprocess
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests import needs

BASE = "dc=example,dc=org"
ROOT_DN, ROOT_PASSWORD = f"cn=admin,{BASE}", "the directory's own"
READER_DN, READER_PASSWORD = f"cn=reader,{BASE}", "only to read with"
MOST = 20  # entries in an answer that is not in pages

CONFIG = """
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
include /etc/ldap/schema/nis.schema
pidfile {folder}/slapd.pid
modulepath /usr/lib/ldap
moduleload back_mdb
moduleload memberof
TLSCACertificateFile {folder}/ca.pem
TLSCertificateFile {folder}/server.pem
TLSCertificateKeyFile {folder}/server.key
sizelimit size={most} size.prtotal=unlimited
disallow bind_anon
database mdb
suffix "{base}"
directory {folder}/data
rootdn "{root}"
rootpw "{password}"
access to attrs=userPassword by anonymous auth by * none
access to * by users read by * none
{more}
"""


def certificates(folder: Path) -> None:
    now = datetime.now(UTC)
    keys = {name: ec.generate_private_key(ec.SECP256R1()) for name in ("ca", "server")}

    def signed(name: str, *extensions) -> bytes:
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ca")])
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(keys[name].public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=30))
        )
        for one in extensions:
            builder = builder.add_extension(one, critical=False)
        made = builder.sign(keys["ca"], hashes.SHA256())
        return made.public_bytes(serialization.Encoding.PEM)

    ca = x509.BasicConstraints(ca=True, path_length=None)
    (folder / "ca.pem").write_bytes(signed("ca", ca))
    # libldap takes this machine's own name for localhost, when it compares.
    here = dict.fromkeys(("localhost", socket.gethostname(), socket.getfqdn()))
    names = x509.SubjectAlternativeName([x509.DNSName(one) for one in here])
    (folder / "server.pem").write_bytes(signed("server", names))
    (folder / "server.key").write_bytes(
        keys["server"].private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.NoEncryption(),
        )
    )


class Slapd:
    """Starts and stops; entries are written as its administrator."""

    def __init__(self, folder: Path, *, member_of: bool = False) -> None:
        self.folder, self.port = folder, 0
        self.process: subprocess.Popen[bytes] | None = None
        (folder / "data").mkdir()
        certificates(folder)
        more = "overlay memberof" if member_of else ""
        text = CONFIG.format(
            folder=folder, base=BASE, root=ROOT_DN, password=ROOT_PASSWORD, most=MOST, more=more
        )
        (folder / "slapd.conf").write_text(text)
        (folder / "password").write_text(READER_PASSWORD + "\n")
        (folder / "password").chmod(0o600)

    @property
    def url(self) -> str:
        return f"ldap://localhost:{self.port}"

    def start(self) -> Slapd:
        """On the port that it had, so that it comes back where it was."""
        if not self.port:
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                self.port = free.getsockname()[1]
        command = [needs.program("slapd"), "-f", self.folder / "slapd.conf", "-d", "0"]
        self.process = subprocess.Popen(
            [*command, "-h", f"ldap://127.0.0.1:{self.port}"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        until = time.monotonic() + 30
        while True:
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return self
            assert self.process.poll() is None and time.monotonic() < until, "slapd did not start"
            time.sleep(0.02)

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait(timeout=30)
            self.process = None

    def add(self, dn: str, **attributes: str | list[str]) -> None:
        import ldap.modlist

        values = {
            name: [one.encode() for one in ([value] if isinstance(value, str) else value)]
            for name, value in attributes.items()
        }
        self._as_root().add_s(f"{dn},{BASE}" if dn else BASE, ldap.modlist.addModlist(values))

    def set(self, dn: str, name: str, *values: str) -> None:
        import ldap

        changes = [(ldap.MOD_REPLACE, name, [one.encode() for one in values] or None)]
        self._as_root().modify_s(f"{dn},{BASE}", changes)

    def remove(self, dn: str) -> None:
        self._as_root().delete_s(f"{dn},{BASE}")

    def rename(self, dn: str, to: str) -> None:
        self._as_root().rename_s(f"{dn},{BASE}", to)

    def person(self, login: str, **more: str) -> None:
        values = {
            "objectClass": "inetOrgPerson",
            "cn": login.title(),
            "sn": login.title(),
            "mail": f"{login}@example.org",
            "userPassword": f"{login}'s password",
        }
        self.add(f"uid={login},ou=people", uid=login, **(values | more))

    def group(self, name: str, *members: str) -> None:
        dns = [f"{one},{BASE}" for one in members]
        self.add(f"cn={name},ou=groups", objectClass="groupOfNames", cn=name, member=dns)

    def fill(self) -> Slapd:
        """The firm before anybody is in it."""
        self.add("", objectClass=["dcObject", "organization"], dc="example", o="Example")
        for unit in ("people", "groups"):
            self.add(f"ou={unit}", objectClass="organizationalUnit", ou=unit)
        self.add(
            "cn=reader",
            objectClass=["organizationalRole", "simpleSecurityObject"],
            cn="reader",
            userPassword=READER_PASSWORD,
        )
        return self

    def _as_root(self):
        import ldap

        connection = ldap.initialize(self.url)
        connection.simple_bind_s(ROOT_DN, ROOT_PASSWORD)
        return connection
