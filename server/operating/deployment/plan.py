"""What somebody decides about a server's surroundings, and whether it can be so."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import urlsplit

from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from tallystick.common.errors import BadInputError

STATE = "/var/lib/tallystick"
KEYS = "/var/lib/tallystick-keys"
REQUEST_LOG = "/var/log/tallystick/requests.log"
ENVIRONMENT_FILE = "/etc/tallystick/tallystick.env"
HIDDEN = ("/home/", "/root/", "/run/user/", "/tmp/", "/var/tmp/")  # noqa: S108 - from a unit
USER = re.compile(r"[a-z_][a-z0-9_-]{0,30}")
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
    database stay in the folder `backups`. memory_mb: the most that the server may take, MiB."""

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
    https_port: int = 443
    workers: int = 1
    user: str = "tallystick"
    tally: str = "/opt/tallystick/bin/tally"
    backups: str = "/var/backups/tallystick"
    keep: int = 14
    memory_mb: int = 1024

    def __post_init__(self) -> None:
        """Raises BadInputError: nothing is written of what would not work."""
        parts = urlsplit(self.public_url)
        if parts.scheme != "https" or not parts.hostname or parts.path not in ("", "/"):
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
        for name in ("db", "smtp", "sms", "mail_from", "public_url"):
            _plain(name.replace("_", " "), getattr(self, name))
        if not USER.fullmatch(self.user):
            raise _refused(f"{self.user!r} is no name of a user.", "Use small letters and digits.")
        for name in ("tally", "backups", "certificate", "certificate_key"):
            value = getattr(self, name)
            if value and not PATH.fullmatch(value):
                raise _refused(
                    f"The path {value!r} does not begin with /, or has other characters than "
                    "letters, digits and . _ / @ + -.",
                    "Use a plain path: it stands in files of several programs.",
                )
        if self.kind is DeploymentKind.SYSTEMD and self.tally.startswith(HIDDEN):
            raise _refused(
                f"The unit does not see {self.tally}: homes and /tmp are hidden from it.",
                "Install Tallystick into /opt/tallystick, and name its command with --tally.",
            )
        if bool(self.certificate) != bool(self.certificate_key):
            raise _refused("A certificate and its key belong together.", "Name both, or neither.")
        if self.proxy is DeploymentProxy.NGINX and not self.certificate:
            raise _refused(
                "nginx needs a certificate and its key.",
                "Name them with --certificate and --certificate-key, or take --proxy caddy.",
            )

    @property
    def server_name(self) -> str:
        return urlsplit(self.public_url).hostname or ""


def _database(url_text: str) -> None:
    try:
        url = make_url(url_text)
    except ArgumentError:
        url = None
    if url is None or url.get_backend_name() not in ("sqlite", "postgresql"):
        raise _refused(
            "The database URL is not understood.",
            "Give sqlite:////path/to/file.db or postgresql+psycopg://user@host/name.",
        )
    if url.get_backend_name() == "sqlite" and not (url.database or "").startswith("/"):
        raise _refused(
            "The database's path is relative: a service has no folder of its own to count it from.",
            "Give it with four slashes: sqlite:////var/lib/tallystick/server.db.",
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
