"""What contains a text, whatever its case: as people look for somebody."""

from __future__ import annotations

import sqlite3
import unicodedata
from typing import Any

from sqlalchemy import ColumnElement, String, or_
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import GenericFunction

_NAME = "tally_folded"


class _Folded(GenericFunction[str]):
    """A column in one case and one Unicode form. SQLite's own `lower` knows A to Z alone."""

    type = String()
    inherit_cache = True
    name = _NAME


@compiles(_Folded)
def _elsewhere(element: _Folded, compiler: SQLCompiler, **more: Any) -> str:
    return f"lower({compiler.process(element.clauses, **more)})"


@compiles(_Folded, "sqlite")
def _on_sqlite(element: _Folded, compiler: SQLCompiler, **more: Any) -> str:
    return f"{_NAME}({compiler.process(element.clauses, **more)})"


def folded(text: str | None) -> str | None:
    return None if text is None else unicodedata.normalize("NFKC", text).casefold()


def teach(connection: sqlite3.Connection) -> None:
    """Give a connection what `containing` asks for."""
    connection.create_function(_NAME, 1, folded, deterministic=True)


def escaped(text: str) -> str:
    """The text as it stands, in a pattern of LIKE whose escape is a backslash."""
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


def containing(text: str, *columns: Any) -> ColumnElement[bool]:
    """One of the columns contains the text."""
    part = f"%{escaped(text)}%"
    if text.isascii():  # what every database does by itself, and faster
        return or_(*(column.ilike(part, escape="\\") for column in columns))
    lowered = f"%{escaped(folded(text) or '')}%"
    return or_(
        *(
            column.ilike(part, escape="\\") | _Folded(column).like(lowered, escape="\\")
            for column in columns
        )
    )
