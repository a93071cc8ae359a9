"""Statements that run so often that making them ready costs more than running them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, CursorResult, Select
from sqlalchemy.orm import Session

from flask_cairnloop.database.base import SCHEMA_TOKEN, schema_name

DRIVER = "psycopg"
# Names that SQLAlchemy makes up for columns without one: nobody reads them, and a driver keeps short statements only.
UNREAD = re.compile(r" AS [a-z_]+_\d+(?=[,\s])")


class Prepared:
    """A statement that is turned into text once for each schema, and then goes to the driver as that text.

    SQLAlchemy looks a statement up in its cache, writes the schema into it and converts parameters and columns on each
    execution. For a long one that is as much as the driver's own work, or more. Only with the driver that we install: a
    host that connects by another one gets the statement the usual way.

    Args:
        statement: all its values are bound parameters with names; what is read of its rows has a name as well.
    """

    def __init__(self, statement: Select[Any]) -> None:
        self._statement = statement
        self._texts: dict[str, str] = {}

    def execute(self, bound: Session | Connection, values: Mapping[str, Any]) -> CursorResult[Any]:
        """Run it on a connection, or on the one of a session's transaction. Nothing is flushed before.

        Args:
            values: as the driver takes them: of an enum its value. What comes back is as the driver gives it.
        """
        connection = bound if isinstance(bound, Connection) else bound.connection()
        if connection.dialect.driver != DRIVER:
            return connection.execute(self._statement, values)
        schema = schema_name(connection)
        text = self._texts.get(schema)
        if text is None:
            compiled = self._statement.compile(
                dialect=connection.dialect, schema_translate_map={SCHEMA_TOKEN: schema}, render_schema_translate=True
            )
            text = self._texts[schema] = UNREAD.sub("", str(compiled))
        return connection.exec_driver_sql(text, dict(values))
