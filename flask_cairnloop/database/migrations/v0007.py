"""Version 7: what writing articles in the console needs: a lock, a time to publish, and when they were last verified."""

from __future__ import annotations

from flask_cairnloop.database.migrations.operations import Operations, run

UPGRADE = (
    """
    ALTER TABLE {schema}.articles
        ADD COLUMN edits BIGINT NOT NULL DEFAULT 0,
        ADD COLUMN publish_at TIMESTAMP WITH TIME ZONE,
        ADD COLUMN publish_digest VARCHAR(64),
        ADD COLUMN publish_by VARCHAR(200),
        ADD COLUMN publish_problem VARCHAR(500),
        ADD COLUMN verified_at TIMESTAMP WITH TIME ZONE,
        ADD COLUMN verified_by VARCHAR(200),
        ADD CONSTRAINT ck_articles_schedule CHECK (
            (publish_at IS NULL) = (publish_digest IS NULL) AND (publish_at IS NULL) = (publish_by IS NULL)
        ),
        ADD CONSTRAINT ck_articles_verified CHECK ((verified_at IS NULL) = (verified_by IS NULL))
    """,
)

DOWNGRADE = (
    """
    ALTER TABLE {schema}.articles
        DROP COLUMN verified_by,
        DROP COLUMN verified_at,
        DROP COLUMN publish_problem,
        DROP COLUMN publish_by,
        DROP COLUMN publish_digest,
        DROP COLUMN publish_at,
        DROP COLUMN edits
    """,
)


def upgrade(op: Operations, schema: str) -> None:
    for statement in UPGRADE:
        run(op, schema, statement)


def downgrade(op: Operations, schema: str) -> None:
    for statement in DOWNGRADE:
        run(op, schema, statement)
