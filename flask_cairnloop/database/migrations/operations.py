"""The few things a version needs from Alembic, safe in ``--sql`` mode: no question is asked of the database."""

from __future__ import annotations

from typing import Any

from flask_cairnloop.database.base import quote

Operations = Any  # alembic.op: a module that stands in for a class


def run(op: Operations, schema: str, statement: str) -> None:
    """Execute one statement; ``{schema}`` in it becomes the quoted name of our schema."""
    op.execute(statement.replace("{schema}", quote(schema)).strip())


def create_schema(op: Operations, schema: str) -> None:
    """Create our schema unless the database's owner has made it for us."""
    run(
        op,
        schema,
        """
        DO $do$
        BEGIN
            IF to_regnamespace('{schema}') IS NULL THEN
                CREATE SCHEMA {schema};
            END IF;
        END
        $do$
        """,
    )


def drop_schema(op: Operations, schema: str) -> None:
    """Drop our schema where it is ours; never with what others have put into it."""
    run(
        op,
        schema,
        """
        DO $do$
        BEGIN
            IF pg_has_role(
                current_user, (SELECT nspowner FROM pg_namespace WHERE oid = to_regnamespace('{schema}')), 'USAGE'
            ) THEN
                DROP SCHEMA {schema};
            END IF;
        END
        $do$
        """,
    )
