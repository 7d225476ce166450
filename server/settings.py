"""What one server process needs to know, in one immutable value."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from tallystick.common.errors import BadInputError

ENV_DB = "TALLY_SERVER_DB"
ENV_KEY_FILE = "TALLY_SERVER_KEY_FILE"


@dataclass(frozen=True)
class Settings:
    """db_url: an SQLAlchemy URL. key_file: where the server's keys are (never in the database).
    clock: the server's time, seconds since 1970; tests inject their own. public_url: where browsers
    find the server ("" : where it listens). sms, smtp: gateway URLs (`messages.gateways`); "" : no
    such messages. mail_from: sender of e-mail, and of SMS where the gateway takes one. breach_list:
    a file of breached passwords (`accounts.passwords.HashListFile`)."""

    db_url: str = field(repr=False)  # these three may have passwords in them
    key_file: Path
    clock: Callable[[], float] = time.time
    public_url: str = ""
    sms: str = field(default="", repr=False)
    smtp: str = field(default="", repr=False)
    mail_from: str = "tallystick@localhost"
    breach_list: Path | None = None
    container_limit: int = 4 * 1024 * 1024


def state_folder() -> Path:
    """Where the server keeps its files unless told otherwise (XDG base directories)."""
    base = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(base) / "tallystick"


def settings_from(db: str | None, key_file: str | Path | None = None) -> Settings:
    """Settings from `--db` and `--key-file`, the environment, or the defaults.

    Raises BadInputError for an unusable database URL.
    """
    url_text = db or os.environ.get(ENV_DB) or f"sqlite:///{state_folder() / 'server.db'}"
    try:
        url = make_url(url_text)
    except ArgumentError:
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
    chosen = key_file or os.environ.get(ENV_KEY_FILE) or _key_file_beside(url.database, url_text)
    return Settings(
        url_text,
        Path(chosen),
        public_url=os.environ.get("TALLY_SERVER_PUBLIC_URL", "").rstrip("/"),
        sms=os.environ.get("TALLY_SERVER_SMS", ""),
        smtp=os.environ.get("TALLY_SERVER_SMTP", ""),
        mail_from=os.environ.get("TALLY_SERVER_MAIL_FROM", "tallystick@localhost"),
        breach_list=Path(breach_list) if breach_list else None,
    )


def _key_file_beside(database: str | None, url: str) -> Path:
    if url.startswith("sqlite") and database:
        return Path(database).with_suffix(".keys")
    return state_folder() / "server.keys"
