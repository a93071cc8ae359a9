"""Version 14: when the host was told of a reply that the customer has not seen."""

from __future__ import annotations

from flask_cairnloop.database.migrations.operations import Operations, run


def upgrade(op: Operations, schema: str) -> None:
    run(op, schema, "ALTER TABLE {schema}.messages ADD COLUMN passed_on_at TIMESTAMP WITH TIME ZONE")


def downgrade(op: Operations, schema: str) -> None:
    run(op, schema, "ALTER TABLE {schema}.messages DROP COLUMN passed_on_at")
