"""Declarative base, shared column types, and the one place that knows our schema's real name.

Models carry the symbolic schema :data:`SCHEMA_TOKEN`; each app's engine translates it to ``CAIRNLOOP_SCHEMA``, so
several apps with different schemas can live in one process and a host schema of any name is never touched.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from functools import lru_cache
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, DateTime, Enum, MetaData, Text, TextClause, literal_column, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.engine import Connection
from sqlalchemy.orm import DeclarativeBase, Session

SCHEMA_TOKEN = "__cairnloop__"  # noqa: S105 - a placeholder in table names


class Base(DeclarativeBase):
    """Base of all our tables. Not the host's: ``flask db migrate`` in the host sees nothing of it."""

    metadata = MetaData(
        schema=SCHEMA_TOKEN,
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "pk": "pk_%(table_name)s",
        },
    )
    type_annotation_map = {  # noqa: RUF012 - read by SQLAlchemy as a class attribute
        int: BigInteger,
        str: Text,
        datetime: DateTime(timezone=True),
        dict[str, Any]: JSONB,
        list[Any]: JSONB,
    }


def choice(members: type[StrEnum], name: str) -> Enum:
    """A text column held to the values of an enum by a CHECK constraint.

    Args:
        members: the enum.
        name: the column's name; the constraint is called ``ck_<table>_<name>``.
    """
    return Enum(
        members,
        name=name,
        native_enum=False,
        create_constraint=True,
        length=32,
        values_callable=lambda cls: [member.value for member in cls],
        validate_strings=True,
    )


def word(value: str) -> ColumnElement[str]:
    """A word of our own inside a statement, such as a state's: as part of its text, where it costs no parameter."""
    return literal_column("'" + value.replace("'", "''") + "'", Text)


def schema_name(bound: Session | Connection) -> str:
    """The real name of our schema for this session or connection, unquoted."""
    connection = bound if isinstance(bound, Connection) else bound.connection()
    translate = connection.get_execution_options().get("schema_translate_map") or {}
    return str(translate.get(SCHEMA_TOKEN, SCHEMA_TOKEN))


def quoted_schema(bound: Session | Connection) -> str:
    """The real name of our schema, quoted for use inside raw SQL, which SQLAlchemy does not translate."""
    return quote(schema_name(bound))


@lru_cache(maxsize=256)
def raw(statement: str, schema: str) -> TextClause:
    """Raw SQL with ``{schema}`` filled in: parsed once, as reading a long statement takes longer than sending it.

    Args:
        schema: quoted, see :func:`quoted_schema`.
    """
    return text(statement.replace("{schema}", schema))


@lru_cache(maxsize=256)
def quote(identifier: str) -> str:
    """An identifier quoted for PostgreSQL."""
    from sqlalchemy.dialects.postgresql import dialect

    return str(dialect().identifier_preparer.quote_identifier(identifier))  # type: ignore[no-untyped-call]
