"""The catalogues of what people read (server/wording/catalogues): what stands in the sources is
gathered, and each catalogue is told of what is new and what is gone.

Gathered are: what templates say by gettext; in Python, the literals of `worded` and `counted`, and
what an `ApiError` says on a page.
"""

from __future__ import annotations

import argparse
import ast
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from babel.messages.catalog import Catalog
from babel.messages.extract import extract
from babel.messages.pofile import write_po

from tallystick.server.wording.catalogue import FOLDER, source
from tallystick.server.wording.languages import SPOKEN, Language
from tallystick.tools.upkeep.project import judged, root

TEMPLATES = "server/portal/templates"
# Whose errors pages show. The others speak to programs, in English.
ERRORS = (
    "server/accounts/", "server/errors.py", "server/joining/", "server/loans/", "server/methods/",
    "server/portal/", "server/rules/", "server/serving/", "server/services/oidc.py",
    "server/services/oidc_requests.py",
    "server/signing_in/", "server/stock/cards.py", "server/store/", "server/uploads.py",
)  # fmt: skip
FOR_PROGRAMS = ("server/accounts/credentials.py", "server/joining/scim.py")
TRANSLATED = tuple(one for one in SPOKEN if one is not Language.ENGLISH)
# What is said in a language that pages do not speak: messages about cards.
PARTLY = {Language.NORWEGIAN: ("server/messages/letters.py",)}
CATALOGUES = (*TRANSLATED, *PARTLY)
_SAID_BY_ERROR = ("kept", "todo")


@dataclass(frozen=True)
class GatheredWord:
    """One text. plural: "" where it has none. place: FILE:LINE."""

    message: str
    plural: str
    place: str


def gathered(folder: Path) -> list[GatheredWord]:
    """Every text that pages and messages say."""
    return [*_of_templates(folder / TEMPLATES, folder), *of_python(folder)[0]]


def said_in(language: Language, words: list[GatheredWord]) -> list[GatheredWord]:
    """Those of them that a language's catalogue has."""
    files = PARTLY.get(language)
    return [one for one in words if files is None or one.place.rpartition(":")[0] in files]


def _of_templates(templates: Path, folder: Path) -> Iterator[GatheredWord]:
    for file in sorted(templates.rglob("*.html")):
        with file.open("rb") as lines:
            found = extract(
                "jinja2.ext:babel_extract",
                lines,
                options={"trimmed": "true", "newstyle_gettext": "true", "silent": "false"},
            )
            for number, message, _, _ in found:
                one, many = _pair(message)
                yield GatheredWord(one, many, f"{file.relative_to(folder)}:{number}")


def of_python(folder: Path) -> tuple[list[GatheredWord], list[str]]:
    """→ texts, and places of an error that says what no catalogue can have: put together there,
    in place of by `worded`."""
    words: list[GatheredWord] = []
    astray: list[str] = []
    for file in sorted((folder / "server").rglob("*.py")):
        name = str(file.relative_to(folder))
        errors = name.startswith(ERRORS) and name not in FOR_PROGRAMS
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            called = getattr(node.func, "id", getattr(node.func, "attr", ""))
            place = f"{name}:{node.lineno}"
            if called == "worded":
                words += [GatheredWord(one, "", place) for one in _literals(node.args[0])]
            elif called == "counted":
                pairs = zip(_literals(node.args[0]), _literals(node.args[1]), strict=True)
                words += [GatheredWord(one, many, place) for one, many in pairs]
            elif called == "ApiError" and errors:
                for part in _said(node):
                    words += [GatheredWord(one, "", place) for one in _literals(part) if one]
                    if any(isinstance(one, ast.JoinedStr) for one in ast.walk(part)):
                        astray.append(place)
    return words, astray


def _said(call: ast.Call) -> Iterator[ast.expr]:
    """The arguments of an ApiError that people read."""
    yield from call.args[2:3]
    for one in call.keywords:
        if one.arg in ("what", *_SAID_BY_ERROR):
            yield one.value


def _literals(node: ast.expr) -> list[str]:
    """The texts that an expression may be: one, or either of two."""
    if isinstance(node, ast.Constant):
        return [node.value] if isinstance(node.value, str) else []
    if isinstance(node, ast.IfExp):
        return _literals(node.body) + _literals(node.orelse)
    return []


def template(language: Language, folder: Path) -> Catalog:
    """A catalogue of what there is to say in a language, without a translation."""
    made = Catalog(charset="utf-8")
    for word in said_in(language, gathered(folder)):
        name, _, number = word.place.rpartition(":")
        made.add(
            (word.message, word.plural) if word.plural else word.message,
            locations=[(name, int(number))],
        )
    return made


def empty(language: Language) -> Catalog:
    return Catalog(locale=language.value, charset="utf-8", header_comment=HEADER, fuzzy=False)


def updated(language: Language, folder: Path) -> Catalog:
    """A catalogue with what is new (not translated yet), and without what is gone."""
    path = FOLDER / f"{language.value}.po"
    old = source(language) if path.is_file() else Catalog(locale=language.value)
    made = empty(language)
    for message in template(language, folder):
        if message.id:
            known = old.get(message.id)
            made.add(message.id, known.string if known else None, flags=message.flags)
    return made


HEADER = "# What people read. Made anew by `python -m tallystick.tools.upkeep.words`."
_CLUTTER = (
    "POT-Creation",
    "PO-Revision",
    "Last-Tran",
    "Language-Team",
    "Report-Msgid",
    "Project-Id",
)


def write(language: Language, catalogue: Catalog) -> None:
    """In the order of the texts, without places, dates and names: a diff shows what was said
    anew."""
    made = io.BytesIO()
    write_po(made, catalogue, no_location=True, sort_output=True, width=100)
    lines = made.getvalue().decode().splitlines(keepends=True)
    kept = [line for line in lines if not line.startswith(tuple(f'"{one}' for one in _CLUTTER))]
    (FOLDER / f"{language.value}.po").write_text("".join(kept), encoding="utf-8")


def check(folder: Path) -> list[str]:
    """What a catalogue lacks or has too much, a line each."""
    _, astray = of_python(folder)
    faults = [f"{place}: put together; use worded(…)" for place in astray]
    words = gathered(folder)
    for language in CATALOGUES:
        wanted = {(word.message, word.plural) for word in said_in(language, words)}
        entries = {_pair(one.id): one for one in source(language) if one.id}
        for pair in sorted(wanted - set(entries)):
            faults.append(f"{language.value}.po lacks {pair[0]!r}")
        for pair in sorted(set(entries) - wanted):
            faults.append(f"{language.value}.po has {pair[0]!r}, which nothing says")
        for pair, entry in sorted(entries.items()):
            said = entry.string if isinstance(entry.string, tuple | list) else [entry.string]
            if entry.fuzzy or not said or not all(said):
                faults.append(f"{language.value}.po: {pair[0]!r} is not translated")
    return faults


def _pair(message: object) -> tuple[str, str]:
    one, many, *_ = [*message, ""] if isinstance(message, tuple | list) else [message, ""]
    return str(one), str(many or "")


def main() -> int:
    parser = argparse.ArgumentParser(description="Bring the catalogues up to date, or check them.")
    parser.add_argument("--check", action="store_true", help="only say what is missing")
    todo = "Run python -m tallystick.tools.upkeep.words, and translate what is empty."
    if not parser.parse_args().check:
        for language in CATALOGUES:
            write(language, updated(language, root()))
    return judged(lambda: check(root()), todo=todo)


if __name__ == "__main__":
    raise SystemExit(main())
