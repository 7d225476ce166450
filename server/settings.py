"""What one server process needs to know, in one immutable value."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import ip_network
from pathlib import Path

from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from tallystick.common import moments
from tallystick.common.errors import BadInputError
from tallystick.common.urls import parsed

ENV_DB = "TALLY_SERVER_DB"
ENV_KEY_FILE = "TALLY_SERVER_KEY_FILE"


@dataclass(frozen=True)
class Settings:
    """db_url: an SQLAlchemy URL. key_file: where the server's keys are (never in the database).
    clock: the server's time, seconds since 1970; tests inject their own. public_url: where browsers
    find the server ("" : where it listens). sms, smtp: gateway URLs (`messages.gateways`); "" : no
    such messages. mail_from: sender of e-mail, and of SMS where the gateway takes one. breach_list:
    a file of breached passwords (`accounts.passwords.HashListFile`), or a URL
    (`accounts.breached_ranges`). key_metadata: the FIDO
    Alliance's metadata of security keys, and the certificate that it is signed under
    (`accounts.key_metadata`). trusted_proxies: networks
    that are believed about whom they speak for (`rules.addresses`). audit_stream: a URL
    (`store.stream`); "": nowhere. audit_days: how long entries of the audit log are kept; 0: for
    ever. background: whether what is done by and by has threads of its own. Without,
    a simulation does it, at instants of its own choice.
    directories: a file that names firms' LDAP directories (`directory.settings`).
    request_log: a file with a line for each request (`serving.request_log`). traces: the URL of an
    OpenTelemetry collector (`serving.tracing`); "": none are made."""

    db_url: str = field(repr=False)  # these three may have passwords in them
    key_file: Path
    clock: Callable[[], float] = moments.now
    public_url: str = ""
    sms: str = field(default="", repr=False)
    smtp: str = field(default="", repr=False)
    mail_from: str = "tallystick@localhost"
    breach_list: Path | str | None = None
    key_metadata: tuple[Path, Path] | None = None
    container_limit: int = 4 * 1024 * 1024
    trusted_proxies: tuple[str, ...] = ()
    audit_stream: str = ""
    audit_days: int = 0
    background: bool = True
    directories: Path | None = None
    request_log: Path | None = None
    traces: str = ""


def state_folder() -> Path:
    """Where the server keeps its files unless told otherwise (XDG base directories)."""
    base = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(base) / "tallystick"


def key_folder() -> Path:
    """Where key files are unless told otherwise (XDG base directories)."""
    base = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(base) / "tallystick"


def settings_from(db: str | None, key_file: str | Path | None = None) -> Settings:
    """Settings from `--db` and `--key-file`, the environment, or the defaults.

    Raises BadInputError for an unusable database URL.
    """
    url_text = db or os.environ.get(ENV_DB) or f"sqlite:///{state_folder() / 'server.db'}"
    try:
        url = make_url(url_text)
    except (ArgumentError, ValueError):  # of a port that is no number
        raise BadInputError(
            "The database URL is not understood.",
            todo="Give sqlite:///path/to/file.db or postgresql+psycopg://user@host/name.",
        ) from None
    if url.get_backend_name() not in ("sqlite", "postgresql"):
        raise BadInputError(
            f"Databases of kind {url.get_backend_name()!r} are not supported.",
            todo="Use sqlite:/// or postgresql+psycopg://.",
        )
    if url.get_backend_name() == "sqlite" and url.database in (None, "", ":memory:"):
        raise BadInputError(
            "An SQLite database in memory would forget every counter.",
            todo="Name a file: sqlite:///path/to/file.db.",
        )
    breach_list = os.environ.get("TALLY_SERVER_BREACH_LIST")
    request_log = os.environ.get("TALLY_SERVER_REQUEST_LOG")
    chosen = key_file or os.environ.get(ENV_KEY_FILE) or _key_file_for(url.database, url_text)
    return Settings(
        url_text,
        Path(chosen),
        public_url=_public_url(os.environ.get("TALLY_SERVER_PUBLIC_URL", "")),
        sms=os.environ.get("TALLY_SERVER_SMS", ""),
        smtp=os.environ.get("TALLY_SERVER_SMTP", ""),
        mail_from=os.environ.get("TALLY_SERVER_MAIL_FROM", "tallystick@localhost"),
        breach_list=_file_or_url(breach_list) if breach_list else None,
        key_metadata=_key_metadata(),
        audit_stream=os.environ.get("TALLY_SERVER_AUDIT_STREAM", ""),
        request_log=Path(request_log) if request_log else None,
        traces=_collector(os.environ.get("TALLY_SERVER_TRACES", "")),
        audit_days=_days(os.environ.get("TALLY_SERVER_AUDIT_DAYS", "0")),
        directories=_file(os.environ.get("TALLY_SERVER_DIRECTORIES", "")),
        trusted_proxies=_proxies(os.environ.get("TALLY_SERVER_TRUSTED_PROXIES", "")),
    )


def _public_url(text: str) -> str:
    if not text:
        return ""
    parts = parsed(text, "TALLY_SERVER_PUBLIC_URL", hosts_for=("http", "https"))
    if parts.scheme not in ("http", "https") or parts.query or parts.fragment or parts.username:
        raise BadInputError(
            f"TALLY_SERVER_PUBLIC_URL is not https://NAME: {parts.scheme!r} is its scheme.",
            kept="The server did not start.",
            todo="Give what browsers show, such as https://otp.example.org.",
        )
    return text.rstrip("/")


def _key_metadata() -> tuple[Path, Path] | None:
    names = ("TALLY_SERVER_KEY_METADATA", "TALLY_SERVER_KEY_METADATA_ROOT")
    file, root = (os.environ.get(name, "") for name in names)
    if bool(file) != bool(root):
        raise BadInputError(
            f"{names[0]} and {names[1]} belong together, and one of them is empty.",
            kept="The server did not start.",
            todo="Name the metadata file, and the certificate that its signature leads to.",
        )
    return (Path(file), Path(root)) if file else None


def _file_or_url(text: str) -> Path | str:
    return text if re.match(r"[a-z]+://", text) else Path(text)


def _file(name: str) -> Path | None:
    return Path(name) if name else None


def _days(text: str) -> int:
    if re.fullmatch(r"[0-9]{1,5}", text.strip()):
        return int(text)
    raise BadInputError(
        f"TALLY_SERVER_AUDIT_DAYS is not a number of days: {text!r}.",
        kept="The server did not start.",
        todo="Give a whole number; 0 keeps the audit log for ever.",
    )


def _collector(text: str) -> str:
    if not text or re.fullmatch(r"https?://[^\s/?#@]+(/[^\s?#]*)?", text):
        return text
    raise BadInputError(
        "TALLY_SERVER_TRACES is not the URL of a collector.",
        kept="The server did not start.",
        todo="Give where it takes OTLP over HTTP, as in http://localhost:4318. What else it needs "
        "(headers, certificates) is said by OpenTelemetry's own variables.",
    )


def _proxies(text: str) -> tuple[str, ...]:
    try:
        return tuple(str(ip_network(one.strip())) for one in text.split(",") if one.strip())
    except ValueError as error:
        raise BadInputError(
            f"TALLY_SERVER_TRUSTED_PROXIES is not understood: {error}.",
            kept="The server did not start.",
            todo="Name addresses or networks, with commas between: 127.0.0.1,10.0.0.0/24.",
        ) from None


def _key_file_for(database: str | None, url: str) -> Path:
    """Not beside the database: whoever copies that folder must not have both. Where the two have
    been together since an older version, they stay so; the doctor says it."""
    if not (url.startswith("sqlite") and database):
        return key_folder() / "server.keys"
    beside = Path(database).with_suffix(".keys")
    if beside.exists():
        return beside
    place = Path(database).absolute()
    if place == (state_folder() / "server.db").absolute():
        return key_folder() / "server.keys"
    mark = hashlib.sha256(str(place).encode()).hexdigest()[:12]
    return key_folder() / f"{place.stem}-{mark}.keys"
