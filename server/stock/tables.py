"""Seed files in columns: which of the known kinds they are, and their entries."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice

from tallystick.server.stock.encodings import PlainText
from tallystick.server.stock.plain_seeds import (
    BASE32,
    HEX,
    HEX_DIGITS,
    HOTP_NAMES,
    TOTP_NAMES,
    PlainEntry,
    writing_of,
)

Rows = Iterator[tuple[int, list[str]]]  # number of the line, cells
Entries = Callable[[], Iterator[PlainEntry]]
Fits = Callable[[list[str]], bool]
Reader = Callable[[Rows], Iterator[PlainEntry]]
DELIMITERS = ",;\t|"
HEAD = 4096
USERS_VERSION = 2  # of privacyIDEA: with columns for the user
SEED_DIGITS = 20  # a shorter cell is no seed, whatever it is written in
SEED_LIKE = re.compile(r"[A-Za-z0-9+/=_\s-]+")
VERSION = re.compile(r"#\s*version:\s*(\d+)", re.IGNORECASE)
SPREADSHEET = re.compile(r'="?([^"]*)"?')  # ="00123": a spreadsheet's way to keep the zeros
# What a column may be called, in lower case, without blanks, hyphens and underscores.
HEADINGS = {
    "user": {"upn", "user", "username", "userprincipalname", "userid", "login", "email", "owner"},
    "serial": {"serial", "serialnumber", "serialno", "tokenserial", "tokenserialnumber", "sn"},
    "seed": {"secretkey", "secret", "seed", "key", "otpkey", "tokenseed", "seedhex", "secrethex"},
    "step": {"timeinterval", "timestep", "interval", "period", "step", "timeintervalinseconds"},
    "kind": {"type", "tokentype", "algorithm", "otptype", "mode"},
    "digits": {"digits", "otplength", "otplen", "responselength", "length", "codelength"},
    "counter": {"counter", "movingfactor", "eventcounter"},
    "hash": {"hash", "hashfunction", "hashlib", "suite", "hmac", "hashalgorithm"},
}
YUBICO_MODES = ("oath-hotp", "yubico otp", "static password", "challenge-response", "logging start")
OTHER_NAMES = {"ocra", "ocra2", "tan", "motp", "pw", "spass", "yubikey", "daypassword", "hmac-ocra"}
ALGORITHMS = HOTP_NAMES | TOTP_NAMES | OTHER_NAMES


def table_entries(text: PlainText) -> tuple[str, Entries] | None:
    """→ what it is called, and what gives its entries from the first one on; None: of no kind that
    is known. Raises ApiError (422)."""
    version = next(
        (m for line in text.head(HEAD).splitlines()[:5] if (m := VERSION.match(line.strip()))), None
    )
    table = _SeedTable(text)
    first = next(table.rows(), None)
    if first is None:
        return None
    named = _named(first[1])
    if named:
        return _headed(table, named)
    readers: tuple[tuple[str, Fits, Reader], ...]
    readers = (("Yubico CSV", _is_yubico, _yubico), ("multiOTP CSV", _is_multiotp, _multiotp))
    if version is not None and int(version.group(1)) == USERS_VERSION:
        readers = (("privacyIDEA CSV", lambda cells: _is_oath(cells[3:]), _with_users),)
    else:
        readers = (*readers, ("OATH CSV", _is_oath, _oath))
    lines = 0
    fitting = [0] * len(readers)
    for _, cells in table.rows():
        lines += 1
        for at, (_, fits, _) in enumerate(readers):
            fitting[at] += fits(cells)
    for (name, _, read), count in zip(readers, fitting, strict=True):
        # A file is of a kind if most of its lines are: a line that is not has its own message.
        if count * 2 > lines:
            return name, _in_one_writing(lambda read=read: read(table.rows()))  # type: ignore[misc]
    return None


class _SeedTable:
    """The lines of a text that count, as cells."""

    def __init__(self, text: PlainText) -> None:
        self._text = text
        sample = list(islice((line for _, line in self._lines()), 20))
        self._delimiter = max(DELIMITERS, key=lambda one: sum(line.count(one) for line in sample))

    def _lines(self) -> Iterator[tuple[int, str]]:
        return ((n, line) for n, line in enumerate(self._text.lines(), start=1) if _counts(line))

    def rows(self) -> Rows:
        delimiter = self._delimiter
        for number, line in self._lines():
            try:
                cells = next(csv.reader([line], delimiter=delimiter, skipinitialspace=True))
            except (csv.Error, StopIteration):
                cells = line.split(delimiter)
            yield number, [_cell(cell) for cell in cells]


def _counts(line: str) -> bool:
    bare = line.strip().lower()
    return bool(bare.strip(",;\t|# ")) and not bare.startswith(("#", "sep="))


def _cell(text: str) -> str:
    text = text.strip()
    found = SPREADSHEET.fullmatch(text)
    return found.group(1).strip() if found else text


def _named(cells: list[str]) -> dict[str, int]:
    """Columns by what their headings say; empty unless there are a serial number and a seed."""
    named: dict[str, int] = {}
    for place, cell in enumerate(cells):
        bare = re.sub(r"[\s_-]", "", cell).lower()
        for field, names in HEADINGS.items():
            if bare in names:
                named.setdefault(field, place)
    return named if {"serial", "seed"} <= set(named) else {}


def _headed(table: _SeedTable, named: dict[str, int]) -> tuple[str, Entries]:
    entra = {"user", "step"} <= set(named) and "kind" not in named and "counter" not in named

    def entries() -> Iterator[PlainEntry]:
        for number, cells in islice(table.rows(), 1, None):
            at = {field: cells[place] for field, place in named.items() if place < len(cells)}
            hotp = bool(at.get("counter")) or "step" not in named
            yield PlainEntry(
                number,
                at.get("serial", ""),
                at.get("seed", ""),
                kind=at.get("kind", "hotp" if hotp and not entra else "totp"),
                digits=at.get("digits", ""),
                counter=at.get("counter", ""),
                step=at.get("step", ""),
                hash=at.get("hash", ""),
                user=at.get("user", ""),
            )

    if entra:
        return "Entra ID CSV", lambda: (replace(one, written_in=BASE32) for one in entries())
    return "CSV with headings", _in_one_writing(entries)


def _in_one_writing(entries: Entries) -> Entries:
    written_in = writing_of(one.seed for one in entries() if not one.why_not)
    return lambda: (replace(one, written_in=written_in) for one in entries())


def _is_seed(cell: str) -> bool:
    return len(cell) >= SEED_DIGITS and bool(SEED_LIKE.fullmatch(cell))


def _at(cells: list[str], place: int) -> str:
    return cells[place] if place < len(cells) else ""


def _is_oath(cells: list[str]) -> bool:
    kind = _at(cells, 2).lower()
    seed = _at(cells, 1)
    named = kind in ALGORITHMS - {""} and bool(SEED_LIKE.fullmatch(seed))
    return bool(cells) and bool(cells[0]) and (named or (not kind and _is_seed(seed)))


def _oath(rows: Rows) -> Iterator[PlainEntry]:
    """serial, seed, type (hotp), digits (6), counter (0) or seconds (30), hash (SHA-1)."""
    for number, cells in rows:
        time_based = _at(cells, 2).lower() in TOTP_NAMES
        yield PlainEntry(
            number,
            _at(cells, 0),
            _at(cells, 1),
            kind=_at(cells, 2) or "hotp",
            digits=_at(cells, 3),
            counter="" if time_based else _at(cells, 4),
            step=_at(cells, 4) if time_based else "",
            hash=_at(cells, 5),
        )


def _with_users(rows: Rows) -> Iterator[PlainEntry]:
    """user, resolver, realm, and then as OATH CSV has it."""
    for number, cells in rows:
        for entry in _oath(iter([(number, cells[3:])])):
            yield replace(entry, user=_at(cells, 0))


def _is_multiotp(cells: list[str]) -> bool:
    return len(cells) >= 5 and cells[2].lower() in ALGORITHMS - {""} and _is_seed(cells[3])


def _multiotp(rows: Rows) -> Iterator[PlainEntry]:
    """serial; maker; type; seed; digits; counter or seconds."""
    for number, cells in rows:
        time_based = _at(cells, 2).lower() in TOTP_NAMES
        yield PlainEntry(
            number,
            _at(cells, 0),
            _at(cells, 3),
            kind=_at(cells, 2) or "of no name",
            digits=_at(cells, 4),
            counter="" if time_based else _at(cells, 5),
            step=_at(cells, 5) if time_based else "",
            hash=_at(cells, 6),
        )


def _is_yubico(cells: list[str]) -> bool:
    return cells[0].lower().startswith(YUBICO_MODES) or _is_yubico_log(cells)


def _is_yubico_log(cells: list[str]) -> bool:
    return (
        len(cells) >= 6
        and cells[0].isdigit()
        and bool(HEX_DIGITS.fullmatch(cells[3]))
        and bool(re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:]+", cells[5]))
    )


def _yubico(rows: Rows) -> Iterator[PlainEntry]:
    """Its traditional format: mode, time, slot, public id, private id, seed, two access codes,
    three flags, digits, moving factor. Its own: serial, public id, 0 for HOTP, seed, access code,
    time."""
    for number, cells in rows:
        mode = cells[0].lower()
        if mode.startswith("logging start"):
            continue
        if mode == "oath-hotp":
            yield PlainEntry(
                number,
                _at(cells, 3),
                _at(cells, 5),
                digits=_at(cells, 11),
                counter=_at(cells, 12),
            )
        elif _is_yubico_log(cells) and _at(cells, 2) == "0":
            yield PlainEntry(number, cells[0], cells[3])
        else:
            said = mode if mode.startswith(YUBICO_MODES) else "yubico otp, or a static password"
            yield PlainEntry(number, "", "", HEX, why_not=f"is of the kind “{said[:40]}”, not HOTP")
