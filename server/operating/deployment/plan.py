"""What somebody decides about a server's surroundings, and whether it can be so."""

from __future__ import annotations

import re
from dataclasses import dataclass
from email.utils import parseaddr
from enum import StrEnum
from urllib.parse import urlsplit

from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from tallystick.common.errors import BadInputError
from tallystick.common.urls import parsed
from tallystick.server.messages.gateways import MAIL, NETWORKED, TEXTS

STATE = "/var/lib/tallystick"
KEYS = "/var/lib/tallystick-keys"
REQUEST_LOG = "/var/log/tallystick/requests.log"
ENVIRONMENT_FILE = "/etc/tallystick/tallystick.env"
RADIUS_CLIENTS = "/etc/tallystick/radius/clients.toml"
HIDDEN = ("/home/", "/root/", "/run/user/", "/tmp/", "/var/tmp/")  # noqa: S108 - from a unit
USER = re.compile(r"[a-z_][a-z0-9_-]{0,30}")
FIRST_FREE_PORT = 1024
HTTPS_PORT = 443
PATH = re.compile(r"/[A-Za-z0-9._/@+-]*")


class DeploymentKind(StrEnum):
    """What starts the server again when it ends."""

    SYSTEMD = "systemd"
    CONTAINER = "container"


class DeploymentProxy(StrEnum):
    """What ends TLS in front of it."""

    NGINX = "nginx"
    CADDY = "caddy"
    NONE = "none"


@dataclass(frozen=True)
class DeploymentPlan:
    """public_url: where browsers find the server. db, smtp, sms: URLs, with passwords perhaps; ""
    for none of the latter two. certificate, certificate_key: of the proxy, files in PEM; "" lets
    Caddy get one by itself. tally: the command, by its whole path. keep: so many copies of the
    database stay in the folder `backups`. memory_mb: the most that the server may take, MiB.
    https_port: where the proxy listens; 0: at the public URL's port."""

    public_url: str
    kind: DeploymentKind = DeploymentKind.SYSTEMD
    proxy: DeploymentProxy = DeploymentProxy.NGINX
    db: str = f"sqlite:///{STATE}/server.db"
    smtp: str = ""
    mail_from: str = "tallystick@localhost"
    sms: str = ""
    certificate: str = ""
    certificate_key: str = ""
    port: int = 8080
    https_port: int = 0
    workers: int = 1
    user: str = "tallystick"
    tally: str = "/opt/tallystick/bin/tally"
    backups: str = "/var/backups/tallystick"
    keep: int = 14
    memory_mb: int = 1024

    def __post_init__(self) -> None:
        """Raises BadInputError: nothing is written of what would not work."""
        parts = parsed(self.public_url, "The public URL")
        if (
            parts.scheme != "https"
            or not parts.hostname
            or parts.path not in ("", "/")
            or (parts.query, parts.fragment, parts.username) != ("", "", None)
        ):
            raise _refused(
                f"The public URL is not https://NAME: {self.public_url!r}.",
                "Give what browsers will show, such as https://otp.example.org.",
            )
        if not re.fullmatch(r"[A-Za-z0-9.-]+", parts.hostname):
            raise _refused(
                "The public URL's name has other characters than letters, digits, dots and "
                "hyphens.",
                "Give a name of the domain name system: security keys are bound to it.",
            )
        _database(self.db)
        _messages(self.smtp, self.mail_from, self.sms)
        self._ports()
        for name in ("db", "smtp", "sms", "mail_from", "public_url"):
            _plain(name.replace("_", " "), getattr(self, name))
        if not USER.fullmatch(self.user):
            raise _refused(f"{self.user!r} is no name of a user.", "Use small letters and digits.")
        if self.user == "root":
            raise _refused("The server is not to run as root.", "Name a user of its own.")
        for name in ("tally", "backups", "certificate", "certificate_key"):
            value = getattr(self, name)
            if value and not PATH.fullmatch(value):
                raise _refused(
                    f"The path {value!r} does not begin with /, or has other characters than "
                    "letters, digits and . _ / @ + -.",
                    "Use a plain path: it stands in files of several programs.",
                )
            if ".." in value.split("/"):
                raise _refused(f"The path {value!r} goes back (..).", "Name it as it is.")
        if self.kind is DeploymentKind.SYSTEMD:
            self._seen()
        if bool(self.certificate) != bool(self.certificate_key):
            raise _refused("A certificate and its key belong together.", "Name both, or neither.")
        if self.proxy is DeploymentProxy.NGINX and not self.certificate:
            raise _refused(
                "nginx needs a certificate and its key.",
                "Name them with --certificate and --certificate-key, or take --proxy caddy.",
            )

    def _seen(self) -> None:
        """By the units."""
        for path, todo in (
            (
                self.tally,
                "Install it into /opt/tallystick, and name its command with --tally.",
            ),
            (self.backups, "Name a folder such as /var/backups/tallystick."),
        ):
            if f"{path}/".startswith(HIDDEN):
                raise _refused(
                    f"The unit does not see {path}: homes and /tmp are hidden from it, and what it "
                    "writes there is gone when it ends.",
                    todo,
                )
        if f"{self.backups}/".startswith(f"{KEYS}/"):
            raise _refused(
                "The copies would be where the keys are: whoever carries the folder has both.",
                "Name another folder, such as /var/backups/tallystick.",
            )

    def _ports(self) -> None:
        if self.port < FIRST_FREE_PORT:
            raise _refused(
                f"The server cannot listen on port {self.port}: those below {FIRST_FREE_PORT} are "
                "for root.",
                "Leave that to the proxy (--https-port), and give the server a higher --port.",
            )
        if self.proxy is not DeploymentProxy.NONE and self.port == self.proxy_port:
            raise _refused(
                f"Server and proxy cannot both have port {self.port}.", "Give one another port."
            )

    @property
    def proxy_port(self) -> int:
        return self.https_port or urlsplit(self.public_url).port or HTTPS_PORT

    @property
    def server_name(self) -> str:
        return urlsplit(self.public_url).hostname or ""


def _database(url_text: str) -> None:
    try:
        url = make_url(url_text)
    except (ArgumentError, ValueError):  # of a port that is no number
        url = None
    if url is None or url.get_backend_name() not in ("sqlite", "postgresql"):
        raise _refused(
            "The database URL is not understood.",
            "Give sqlite:////path/to/file.db or postgresql+psycopg://user@host/name.",
        )
    if url.get_backend_name() != "sqlite":
        return
    place = url.database or ""
    if place.startswith("/") and (not place.startswith(f"{STATE}/") or ".." in place.split("/")):
        raise _refused(
            f"The server may write nowhere but in {STATE}: no database can be in {place}.",
            f"Give sqlite:///{STATE}/server.db, or mount another disk there.",
        )
    if not place.startswith("/"):
        raise _refused(
            "The database's path is relative: a service has no folder of its own to count it from.",
            "Give it with four slashes: sqlite:////var/lib/tallystick/server.db.",
        )


def _messages(smtp: str, mail_from: str, sms: str) -> None:
    """Whether the server would take them at its start, as far as that can be told here."""
    for name, url, kinds in (("smtp", smtp, MAIL), ("sms", sms, TEXTS)):
        if url and parsed(url, name, hosts_for=NETWORKED).scheme not in kinds:
            raise _refused(
                f"The value of {name} is none of {', '.join(f'{one}:' for one in kinds)}.",
                "Give a URL, such as smtp://mail.example.org:25 or https://:TOKEN@gateway/path.",
            )
    if smtp and "@" not in parseaddr(mail_from)[1]:
        raise _refused(
            f"{mail_from!r} is no address that e-mail can come from.",
            "Give one with --mail-from, such as otp@example.org.",
        )


def _plain(name: str, value: str) -> None:
    """Three programs read the environment file, and agree on values without these."""
    if not value.isprintable() or value != value.strip() or re.search(r"[\\\"'`]", value):
        raise _refused(
            f"The value of {name} has a quote, a backslash, a line end, or a blank at its ends.",
            "In a URL write such a character as %27, %22, %5C or %60.",
        )


def _refused(what: str, todo: str) -> BadInputError:
    return BadInputError(what, kept="No file was written.", todo=todo)
