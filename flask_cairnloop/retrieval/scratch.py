"""A schema of its own for an evaluation: the product's tables, nobody's data, removed at the end."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import text
from sqlalchemy.engine import Connection
from sqlalchemy.orm import Session

from flask_cairnloop.context import current
from flask_cairnloop.database import migrations
from flask_cairnloop.database.base import SCHEMA_TOKEN, quote

PREFIX = "cairnloop_scratch_"


class _Statements:
    """What a migration needs of Alembic: something that executes."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def execute(self, statement: str) -> None:
        self._connection.exec_driver_sql(statement)


@contextmanager
def scratch_session() -> Iterator[Session]:
    """A session on a new, empty schema with all our tables; whatever happens inside, the schema is dropped after it.

    The schema's name is locked while it is in use, and what a killed process left behind is dropped first.
    """
    name = PREFIX + secrets.token_hex(6)
    options = {"schema_translate_map": {SCHEMA_TOKEN: name}}
    with current().engine.connect().execution_options(**options) as connection:
        _lock(connection, name)
        _sweep(connection)
        try:
            migrations.upgrade(_Statements(connection), from_=0, to=migrations.LATEST, schema=name)
            connection.commit()
            with Session(connection) as session:
                yield session
        finally:
            connection.rollback()
            _drop(connection, name)
            connection.execute(text("SELECT pg_advisory_unlock(hashtextextended(:name, 0))"), {"name": name})
            connection.commit()


def _lock(connection: Connection, name: str) -> bool:
    locked = text("SELECT pg_try_advisory_lock(hashtextextended(:name, 0))")
    return bool(connection.execute(locked, {"name": name}).scalar_one())


def _sweep(connection: Connection) -> None:
    names = text("SELECT nspname FROM pg_namespace WHERE starts_with(nspname, :prefix)")
    for name in connection.scalars(names, {"prefix": PREFIX}).all():
        if _lock(connection, name):
            _drop(connection, name)
            connection.execute(text("SELECT pg_advisory_unlock(hashtextextended(:name, 0))"), {"name": name})
    connection.commit()


def _drop(connection: Connection, name: str) -> None:
    connection.exec_driver_sql(f"DROP SCHEMA IF EXISTS {quote(name)} CASCADE")
