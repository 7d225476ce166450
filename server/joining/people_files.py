"""Lists of people as CSV: read, line by line, with all that is wrong; and written."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from sqlalchemy import Connection, select

from tallystick.server.accounts import people
from tallystick.server.accounts.people import KnownPerson, canonical
from tallystick.server.accounts.policy import PersonRole
from tallystick.server.errors import ApiError, EntryProblem
from tallystick.server.joining.keeping import (
    PersonWish,
    address,
    login_name,
    one_line,
    role_named,
)
from tallystick.server.rules import tables
from tallystick.server.stock.encodings import PlainText
from tallystick.server.store.batches import BATCH, batched
from tallystick.server.store.database import Database
from tallystick.server.store.models import Assignment
from tallystick.server.store.models_login import Factor
from tallystick.server.store.private import PrivateDatabase
from tallystick.server.store.sealed_file import SealedFile
from tallystick.server.wording.worded import counted, worded

MOST_TOLD = 1000  # problems in one answer
MOST_PROBLEMS = 10_000  # then the file is another than it should be
Told = Callable[[str, int, int], None]  # what is done, how many of them, of how many (0: unknown)
_TABLE = """
CREATE TABLE line (number INTEGER PRIMARY KEY, key TEXT UNIQUE, wish TEXT, becomes TEXT,
link INTEGER, mac BLOB)
"""
DELIMITERS = ",;\t|"
MOST_UNREAD = 50
CLEARED = "-"
COLUMNS = ("login", "name", "email", "role", "groups", "active")
EXPORTED = (*COLUMNS, "kept by", "methods", "second factor", "made")
# What a column may be called, in lower case, without blanks, hyphens and underscores.
HEADINGS: Mapping[str, str] = {
    "login": "login loginname user username userid upn userprincipalname samaccountname uid account"
    " benutzer benutzername anmeldename",
    "name": "name fullname displayname cn realname vollername anzeigename",
    "given": "firstname givenname forename vorname prenom",
    "family": "lastname surname familyname sn nachname nom",
    "email": "email mail emailaddress mailaddress primaryemail emailadresse",
    "role": "role rolle",
    "groups": "groups group memberof gruppen gruppe departments department",
    "active": "active enabled aktiv accountenabled",
    "left": "left leaver disabled ausgeschieden gesperrt",
}
YES = frozenset(["yes", "y", "true", "1", "ja", "oui", "si", "on", "active", "aktiv"])
NO = frozenset(["no", "n", "false", "0", "nein", "non", "off", "inactive", "inaktiv", "left"])


@dataclass(frozen=True)
class PersonLine:
    """One line of a file. number: from 1, as editors count."""

    number: int
    wanted: PersonWish
    left: bool = False

    @property
    def login(self) -> str:
        assert self.wanted.login is not None
        return self.wanted.login


class PeopleFile:
    """All lines that can be read, on a disk without a name, and what is wrong with the others.
    unread: headings of columns that say nothing here."""

    def __init__(self, unread: Sequence[str] = ()) -> None:
        self._database = PrivateDatabase(_TABLE)
        self.unread = tuple(unread)
        self._waiting: list[tuple[object, ...]] = []
        self.problems: list[EntryProblem] = []

    @property
    def lines(self) -> Iterator[PersonLine]:
        """In their order."""
        for (text,) in self._rows("SELECT number, wish FROM line"):
            yield _line_of(text)

    def put(self, line: PersonLine) -> None:
        """Raises ApiError (422) for somebody whom an earlier line is about."""
        key = canonical(line.login)
        earlier = self._database.do("SELECT number FROM line WHERE key = ?", key).fetchone()
        if earlier is not None:
            raise _no_list(
                worded("Line {line} is about {login} already.", line=earlier[0], login=line.login)
            )
        self._database.do(
            "INSERT INTO line (number, key, wish) VALUES (?, ?, ?)",
            line.number,
            key,
            _text_of(line),
        )

    def complain(self, number: int, login: str, error: ApiError) -> None:
        """Raises ApiError (422) where so much is wrong that nobody reads it all."""
        self.problems.append(problem(number, login, error))
        if len(self.problems) > MOST_PROBLEMS:
            raise refused(self.problems)

    def names(self, login: str) -> bool:
        """Whether a line is about this person."""
        known = self._database.do("SELECT 1 FROM line WHERE key = ?", canonical(login))
        return known.fetchone() is not None

    def become(self, what: Iterable[tuple[str, int]]) -> None:
        """Note what becomes of whom a line is about: of lines with these numbers."""
        self._database.do_many("UPDATE line SET becomes = ? WHERE number = ?", what)

    def count(self, becomes: str) -> int:
        query = "SELECT count(*) FROM line WHERE becomes = ?"
        return int(self._database.do(query, becomes).fetchone()[0])

    def that(self, becomes: str) -> Iterator[PersonLine]:
        """Lines of which that was noted."""
        for kind, text in self._rows("SELECT number, becomes, wish FROM line"):
            if kind == becomes:
                yield _line_of(text)

    def link(self, becomes: str, link: Callable[[PersonLine], tuple[int, bytes]]) -> None:
        """Keep what `link` makes of each of them, and nothing of before."""
        self._database.do("UPDATE line SET link = NULL")
        for lines in batched(self.that(becomes)):
            rows = [(*link(line), line.number) for line in lines]
            self._database.do_many("UPDATE line SET link = ?, mac = ? WHERE number = ?", rows)

    def linked(self) -> Iterator[tuple[int, bytes, PersonLine]]:
        for link, mac, text in self._rows("SELECT number, link, mac, wish FROM line"):
            if link is not None:
                yield link, mac, _line_of(text)

    def _rows(self, query: str) -> Iterator[tuple[Any, ...]]:
        """Without their numbers."""
        after = -1
        while rows := self._database.do(
            f"{query} WHERE number > ? ORDER BY number LIMIT {BATCH}", after
        ).fetchall():
            after = rows[-1][0]
            yield from (row[1:] for row in rows)


def _text_of(line: PersonLine) -> str:
    wish = line.wanted
    return json.dumps(
        [line.number, line.left, wish.login, wish.name, wish.email, wish.role, wish.groups,
         wish.disabled]
    )  # fmt: skip


def _line_of(text: str) -> PersonLine:
    number, left, login, name, email, role, groups, disabled = json.loads(text)
    wish = PersonWish(
        login, name, email, None if role is None else PersonRole(role),
        None if groups is None else tuple(groups), disabled,
    )  # fmt: skip
    return PersonLine(number, wish, left)


def read(content: bytes | SealedFile, tell: Told = lambda *_: None) -> PeopleFile:
    """Raises ApiError (422) for what is no list of people at all."""
    file = SealedFile.of(content) if isinstance(content, bytes) else content
    if file.head(8).startswith(WORKBOOKS):
        raise _not_text(worded("The file is a workbook, and no CSV."))
    try:
        return _read(file, tell)
    except ApiError as error:
        if error.code != NOT_TEXT:
            raise
        raise _not_text(error.what) from None


def _not_text(what: str) -> ApiError:
    return ApiError(
        422, NOT_TEXT, what, kept=NOBODY, todo="Save the list as CSV, in UTF-8, and send that."
    )


def _read(file: SealedFile, tell: Told) -> PeopleFile:
    rows = _rows(PlainText(file))
    _, headings = next(rows, (0, []))
    if not headings:
        raise _no_list(worded("The file has no lines."))
    named, unread = _columns(headings)
    if "login" not in named:
        raise _no_list(worded("No column is called login (or user, username, upn)."))
    found = PeopleFile(unread)
    for count, (number, cells) in enumerate(rows):
        if count % BATCH == 0:
            tell("read", count, 0)
        values = {name: cells[at] for name, at in named.items() if at < len(cells)}
        try:
            if len(cells) > len(headings):
                raise _no_list(
                    worded(
                        "The line has {cells} cells, the first one {headings}.",
                        cells=len(cells),
                        headings=len(headings),
                    )
                )
            found.put(_line(number, values))
        except ApiError as error:
            if error.entries or error.status != UNREADABLE:
                raise
            found.complain(number, values.get("login", ""), error)
    return found


NOBODY = worded("Nobody was added, changed or barred.")
UNREADABLE, NOT_TEXT = 422, "unreadable-file"
WORKBOOKS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")  # .xlsx and .ods, and .xls


def problem(number: int, login: str, error: ApiError) -> EntryProblem:
    """serial: the login, as far as it can be shown."""
    shown = "".join(letter for letter in login[:80] if letter.isprintable())
    return EntryProblem(
        number=number, serial=shown or None, code=error.code, what=error.what, todo=error.todo
    )


def refused(problems: list[EntryProblem]) -> ApiError:
    """One error that names every line."""
    problems = sorted(problems, key=lambda one: one.number)
    first = problems[0]
    left = len(problems) - 1
    more = counted(" {count} more line is wrong.", " {count} more lines are wrong.", left)
    return ApiError(
        422,
        "bad-people",
        worded(
            "Line {number}: {what}{more}",
            number=first.number,
            what=first.what,
            more=more if left else "",
        ),
        kept=NOBODY,
        todo="Correct the lines named, and send the file again.",
        entries=problems[:MOST_TOLD],
    )


def _rows(text: PlainText) -> Iterator[tuple[int, list[str]]]:
    """Numbers of lines, and cells; without empty lines and comments. Raises ApiError (422) at the
    end of a file that ends in the middle of a line, as far as that shows."""
    sample = [line for line in islice(text.lines(), 20) if line.strip()]
    delimiter = max(DELIMITERS, key=lambda one: sum(line.count(one) for line in sample))
    lines = _Given(text)
    reader = csv.reader(iter(lines), delimiter=delimiter)
    began = last = 1
    row, before = list[str](), list[str]()
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            break
        except csv.Error:
            cells = ["\0"]  # which no login has: the line is told
        if lines.all_given:
            raise _cut_off(worded("Line {line} has a quote that nobody closes.", line=began))
        bare = [tables.bare(cell.strip()) for cell in cells]
        if any(bare) and not bare[0].lower().startswith(("#", "sep=")):
            row, before, last = cells, row, began
            while bare and not bare[-1]:
                bare.pop()
            yield began, bare
        began = reader.line_num + 1
    unended = text.unended().strip()
    if unended and not unended.startswith("#") and tables.lacks(row, before):
        raise _cut_off(
            worded("Line {line}, the last one, lacks cells, and has no line end.", line=last)
        )


class _Given:
    """A text's lines. all_given: one more was asked for than there are."""

    def __init__(self, text: PlainText) -> None:
        self._text = text
        self.all_given = False

    def __iter__(self) -> Iterator[str]:
        for line in self._text.lines():
            yield f"{line}\n"
        self.all_given = True


def _cut_off(what: str) -> ApiError:
    return ApiError(
        422,
        "cut-off",
        what,
        kept=NOBODY,
        todo="The file seems to be cut off: see whether all of it is there, and send it again. If "
        "it is whole, correct that line.",
    )


def _columns(headings: list[str]) -> tuple[dict[str, int], list[str]]:
    """→ where each meaning stands, and headings that are not read: not known, or the second of one
    meaning. What `export` writes beyond what can be changed needs no mention."""
    named: dict[str, int] = {}
    unread: list[str] = []
    for place, heading in enumerate(headings):
        word = re.sub(r"[\s_-]", "", heading).lower()
        meaning = next((name for name, words in HEADINGS.items() if word in words.split()), None)
        if meaning is not None and meaning not in named:
            named[meaning] = place
        elif heading and (meaning is not None or heading not in EXPORTED):
            shown = "".join(letter for letter in heading[:80] if letter.isprintable())
            unread.append(shown)
    return named, unread[:MOST_UNREAD]


def _line(number: int, values: Mapping[str, str]) -> PersonLine:
    """An empty cell leaves what is known; `-` takes it away. Raises ApiError (422)."""
    name = _cleared(values.get("name", ""))
    if name is None and (values.get("given") or values.get("family")):
        name = " ".join(filter(None, (values.get("given"), values.get("family"))))
    groups = values.get("groups", "")
    email = _cleared(values.get("email", ""))
    wanted = PersonWish(
        login=login_name(values.get("login", "")),
        name=None if name is None else one_line(name, "name"),
        email=None if email is None else address(email),
        role=role_named(values["role"]) if values.get("role") else None,
        groups=None if not groups else tuple(_groups(groups)),
    )
    active = _yes_or_no(values.get("active", ""), "active")
    left = _yes_or_no(values.get("left", ""), "left")
    gone = active is False or left is True
    if active is True and left is True:
        raise _no_list(worded("The line says both that the person is active and that not."))
    if not gone and (active is True or left is False):
        wanted = PersonWish(**(vars(wanted) | {"disabled": False}))
    return PersonLine(number, wanted.checked(), gone)


def _cleared(cell: str) -> str | None:
    return None if not cell else "" if cell == CLEARED else cell


def _groups(cell: str) -> Iterator[str]:
    if cell == CLEARED:
        return
    for one in re.split(r"[;|\n]" if re.search(r"[;|\n]", cell) else ",", cell):
        if one.strip():
            yield one_line(one, "group")


def _yes_or_no(cell: str, what: str) -> bool | None:
    word = cell.strip().lower()
    if not word:
        return None
    if word not in YES | NO:
        raise _no_list(
            worded("{cell!r} under {column!r} is neither yes nor no.", cell=cell[:40], column=what)
        )
    return word in YES


def _no_list(what: str) -> ApiError:
    return ApiError(422, "bad-line", what, kept=NOBODY, todo="Correct the file.")


def written(database: Database, firm_id: int) -> Iterator[str]:
    """Everybody of a firm as CSV, with what `read` takes and more; no secret, and nothing that is
    one's own: no telephone numbers or addresses of methods. In pieces, each read by itself: of a
    firm of any size, and nobody waits for whoever takes them slowly."""
    yield tables.line(EXPORTED)
    after = ""
    while True:
        with database.read() as connection:
            some = list(islice(people.pages(connection, firm_id, after=after), BATCH))
            methods = _methods(connection, [person.id for person in some])
        if not some:
            return
        yield "".join(tables.line(_cells(one, methods.get(one.id, []))) for one in some)
        after = some[-1].login


def _methods(connection: Connection, ids: Sequence[int]) -> dict[int, list[str]]:
    found: dict[int, list[str]] = {}
    for person_id, kind in connection.execute(
        select(Factor.person_id, Factor.kind)
        .where(Factor.person_id.in_(ids), Factor.confirmed_at.is_not(None))
        .order_by(Factor.kind)
    ):
        found.setdefault(person_id, []).append(kind)
    for person_id in connection.scalars(
        select(Assignment.person_id).where(Assignment.person_id.in_(ids))
    ):
        found.setdefault(person_id, []).append("card")
    return found


def _cells(person: KnownPerson, methods: list[str]) -> list[str]:
    return [
        person.login,
        person.full_name or CLEARED,
        person.email or CLEARED,
        person.role.value,
        "; ".join(person.groups) or CLEARED,
        "no" if person.disabled else "yes",
        person.source.value or "here",
        "; ".join(dict.fromkeys(methods)),
        "yes" if person.enrolled else "no",
        str(person.created_at),
    ]
