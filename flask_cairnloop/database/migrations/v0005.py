"""Version 5: why a host's engine did not write a draft, and how much of a draft an operator changed."""

from __future__ import annotations

from flask_cairnloop.database.migrations.operations import Operations, run

UPGRADE = (
    """
    ALTER TABLE {schema}.drafts
        ADD COLUMN declined VARCHAR(500),
        ADD COLUMN changed DOUBLE PRECISION,
        ADD CONSTRAINT ck_drafts_changed_share CHECK (changed BETWEEN 0 AND 1)
    """,
)

DOWNGRADE = ("ALTER TABLE {schema}.drafts DROP COLUMN changed, DROP COLUMN declined",)


def upgrade(op: Operations, schema: str) -> None:
    for statement in UPGRADE:
        run(op, schema, statement)


def downgrade(op: Operations, schema: str) -> None:
    for statement in DOWNGRADE:
        run(op, schema, statement)
