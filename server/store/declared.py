"""Tables declared as classes: a column is an attribute, and a class stands for its table in every
statement.

SQLAlchemy's own way to do this is its ORM, of which nothing else would be used here: 10 MB of each
process, and a detour for each statement.
"""

from __future__ import annotations

from typing import Any, ClassVar

from sqlalchemy import Column, Integer, MetaData, Table
from sqlalchemy.schema import SchemaItem


def column(*of: Any, **settings: Any) -> Any:
    """A column of this type, or with a foreign key, which has its type from there. settings: as
    `sqlalchemy.Column` takes them. With neither: an integer."""
    return of or (Integer,), settings


class _StandsForItsTable(type):
    """SQLAlchemy asks what it is given for this."""

    __table__: Table

    def __clause_element__(cls) -> Table:
        return cls.__table__


class Base(metaclass=_StandsForItsTable):
    """Base of all tables. What is annotated is a column, in this order; one that may be NULL says
    `| None`."""

    metadata: ClassVar = MetaData()
    __tablename__: ClassVar[str]
    __table_args__: ClassVar[tuple[SchemaItem, ...]] = ()

    def __init_subclass__(cls) -> None:
        columns = []
        for name, annotation in cls.__annotations__.items():
            of, settings = getattr(cls, name, None) or column()
            columns.append(Column(name, *of, nullable="None" in annotation, **settings))
        cls.__table__ = Table(cls.__tablename__, Base.metadata, *columns, *cls.__table_args__)
        for one in columns:
            setattr(cls, one.name, one)
