"""What an entry of the audit log says beside its subject (its detail is JSON), so that it can be
looked up: indexes are made of it. Nothing is stored twice, and the chain's links do not change."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, String, func
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import GenericFunction

# Indexes are made of these texts: another text would find none.
# PostgreSQL can read JSON, but not in an index, and not where a text has a NUL.
_SQLITE = "lower(CASE WHEN json_valid({column}) THEN json_extract({column}, '$.{key}') END)"
_POSTGRESQL = (
    "lower(replace(replace(substring({column} from "
    "'\"{key}\": ?\"((?:[^\"\\\\]|\\\\.)*)\"'), '\\\"', '\"'), '\\\\', '\\'))"
)


class Said(GenericFunction[str]):
    """The text that a column of JSON has under `key`, in small letters; NULL where there is none.
    Its subclasses are for one key each."""

    type = String()
    inherit_cache = True
    key_of = ""


class SaidUser(Said):
    """Whose code it was."""

    name = "tally_said_user"
    key_of = "user"
    inherit_cache = True


class SaidTo(Said):
    """Who got the card."""

    name = "tally_said_to"
    key_of = "to"
    inherit_cache = True


class SaidOf(Said):
    """Who had the card."""

    name = "tally_said_of"
    key_of = "of"
    inherit_cache = True


class SaidFrom(Said):
    """The address in the network."""

    name = "tally_said_from"
    key_of = "from"
    inherit_cache = True


def says(column: Any, kind: type[Said], text: str) -> ColumnElement[bool]:
    """Whether it says this, whatever its case."""
    return kind(column) == func.lower(text)


def sql_of(dialect: str, column: str, key: str) -> str:
    """The expression in a database's own words."""
    form = _SQLITE if dialect == "sqlite" else _POSTGRESQL
    return form.format(column=column, key=key)


@compiles(Said)
def _compiled(element: Said, compiler: SQLCompiler, **more: Any) -> str:
    column = compiler.process(element.clauses, **more)
    return sql_of(compiler.dialect.name, column, element.key_of)
