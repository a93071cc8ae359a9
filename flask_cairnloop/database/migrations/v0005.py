"""Version 5: why a host's engine did not write a draft, how much of one an operator changed, and how drafts do."""

from __future__ import annotations

from flask_cairnloop.database.migrations.operations import Operations, run

UPGRADE = (
    """
    ALTER TABLE {schema}.drafts
        ADD COLUMN declined VARCHAR(500),
        ADD COLUMN decision_note VARCHAR(500),
        ADD COLUMN changed DOUBLE PRECISION,
        ADD CONSTRAINT ck_drafts_changed_share CHECK (changed BETWEEN 0 AND 1)
    """,
    "CREATE INDEX ix_drafts_created_at ON {schema}.drafts (created_at)",
    """
    CREATE INDEX ix_drafts_cited_articles ON {schema}.drafts
        USING gin (jsonb_path_query_array(citations, '$[*].article_id'))
    """,
)

DOWNGRADE = (
    "DROP INDEX {schema}.ix_drafts_cited_articles",
    "DROP INDEX {schema}.ix_drafts_created_at",
    "ALTER TABLE {schema}.drafts DROP COLUMN changed, DROP COLUMN decision_note, DROP COLUMN declined",
)


def upgrade(op: Operations, schema: str) -> None:
    for statement in UPGRADE:
        run(op, schema, statement)


def downgrade(op: Operations, schema: str) -> None:
    for statement in DOWNGRADE:
        run(op, schema, statement)
