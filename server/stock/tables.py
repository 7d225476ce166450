"""Seed files in columns: which of the known kinds they are, and their entries."""

from __future__ import annotations

import csv
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import islice
from typing import NoReturn

from tallystick.server.rules import tables
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
from tallystick.server.stock.refusing import refuse, shown

Rows = Iterator[tuple[int, list[str]]]  # number of the line, cells
Entries = Callable[[], Iterator[PlainEntry]]
Fits = Callable[[list[str]], bool]
Reader = Callable[[Rows], Iterator[PlainEntry]]
DELIMITERS = ",;\t|"
HEAD = 4096
USERS_VERSION = 2  # of privacyIDEA: with columns for the user
SEED_DIGITS = 20  # a shorter cell is no seed, whatever it is written in
SEED_LIKE = re.compile(r"[A-Za-z0-9+/=_:\s-]+")
VERSION = re.compile(r"#\s*version:\s*(\d+)", re.IGNORECASE)
SPREADSHEET = re.compile(r'="?([^"]*)"?')  # ="00123": a spreadsheet's way to keep the zeros
UNSEEN = re.compile("[\u200b-\u200f\u2060\ufeff]")  # what pages and mails leave behind
QUOTED_LINES = 5  # a cell in quotes may go over as many
# What a column may be called, in lower case letters: “Serial No.”, “Seed (HEX)”.
HEADINGS = {
    "user": {"upn", "user", "username", "userprincipalname", "userid", "login", "email", "owner"},
    "serial": {
        *("serial", "serialnumber", "serialno", "serialnum", "sn", "snr", "tokenserial"),
        *("tokenserialnumber", "tokenserialno", "tokensn", "tokenid"),
    },
    "seed": {
        *("secretkey", "secret", "seed", "key", "otpkey", "otpseed", "otpsecret", "tokenseed"),
        *("seedhex", "secrethex", "seedbase", "secretbase", "hexseed", "seedvalue", "sharedsecret"),
    },
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
    if {"serial", "seed"} <= set(named):
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
    if version is not None and int(version.group(1)) > USERS_VERSION:
        refuse(
            "unknown-kind",
            f"The file says that it is of version {version.group(1)} of privacyIDEA's CSV; 1 and "
            f"{USERS_VERSION} are known.",
        )
    if named:
        _lacks_a_heading(first, named)
    return None


def _lacks_a_heading(row: tuple[int, list[str]], named: dict[str, int]) -> NoReturn:
    number, cells = row
    lacks = "secret key" if "serial" in named else "serial number"
    refuse(
        "unknown-kind",
        f"Line {number} has headings ({', '.join(shown(one) for one in cells if one)}), but none "
        f"for the {lacks}.",
        todo=f"Call that column “{lacks}”, or have the maker send PSKC.",
    )


class _SeedTable:
    """The lines of a text that count, as cells."""

    def __init__(self, text: PlainText) -> None:
        self._text = text
        self._unended = text.unended()
        sample = list(islice((line for _, line in self._lines()), 20))
        self._delimiter = max(DELIMITERS, key=lambda one: sum(line.count(one) for line in sample))

    def _lines(self) -> Iterator[tuple[int, str]]:
        return ((n, line) for n, line in enumerate(self._text.lines(), start=1) if _counts(line))

    def rows(self) -> Rows:
        """Raises ApiError (422) behind the last one, where the file ends in its middle."""
        delimiter = self._delimiter
        number, before, cells = 0, list[str](), list[str]()
        for number, line in _joined(self._lines()):
            before = cells
            try:
                cells = next(csv.reader([line], delimiter=delimiter, skipinitialspace=True))
            except (csv.Error, StopIteration):
                cells = line.split(delimiter)
            yield number, [_cell(cell) for cell in cells]
        if _counts(self._unended) and _lacks(cells, before):
            refuse(
                "cut-off",
                f"Line {number}, the last one, lacks what the one before it has, and has no line "
                "end.",
                todo="The file seems to be cut off: see whether all of it is there, and send it "
                "again. If it is whole, put a line end there.",
            )


def _joined(lines: Iterable[tuple[int, str]]) -> Iterator[tuple[int, str]]:
    """Lines, with those in one that a cell in quotes goes over. A quote that nobody closes soon
    is a slip, and hides no other line."""
    source = iter(lines)
    ahead: deque[tuple[int, str]] = deque()
    while ahead or (ahead := deque(islice(source, 1))):
        number, line = ahead.popleft()
        joined, more = line, 0
        while joined.count('"') % 2 and more < QUOTED_LINES - 1:
            if more == len(ahead):
                ahead.extend(islice(source, 1))
            if more == len(ahead):
                break
            joined += f" {ahead[more][1]}"
            more += 1
        if joined.count('"') % 2:
            joined, more = line, 0
        for _ in range(more):
            ahead.popleft()
        yield number, joined


def _lacks(cells: list[str], before: list[str]) -> bool:
    """Also a part of its seed, where that is its last cell."""
    if tables.lacks(cells, before):
        return True
    shorter = len(cells) == len(before) and bool(before) and len(cells[-1]) < len(before[-1])
    return shorter and _is_seed(before[-1])


def _counts(line: str) -> bool:
    bare = line.strip().lower()
    return bool(bare.strip(",;\t|# ")) and not bare.startswith(("#", "sep="))


def _cell(text: str) -> str:
    text = UNSEEN.sub("", text).strip()
    if len(text) > 1 and text[0] == "'":  # a spreadsheet's mark of a text, or quotes of its own
        text = text[1:].removesuffix("'")
    found = SPREADSHEET.fullmatch(text)
    return found.group(1).strip() if found else text


def _named(cells: list[str]) -> dict[str, int]:
    """Columns by what their headings say; empty where none of them is of a serial number or a
    seed, or one of them has a seed in it."""
    named: dict[str, int] = {}
    for place, cell in enumerate(cells):
        words = (cell, re.sub(r"\(.*?\)|\[.*?\]", "", cell))
        said = {re.sub(r"[^a-z]", "", one.lower()) for one in words}
        for field, names in HEADINGS.items():
            if said & names:
                named.setdefault(field, place)
    return named if {"serial", "seed"} & set(named) else {}


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
    time; with a line for each of a device's two slots."""
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
            yield PlainEntry(number, cells[0], cells[3], key_id=cells[1])
        else:
            said = mode if mode.startswith(YUBICO_MODES) else "yubico otp, or a static password"
            yield PlainEntry(number, "", "", HEX, why_not=f"is of the kind “{said[:40]}”, not HOTP")
