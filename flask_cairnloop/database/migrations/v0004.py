"""Version 4: a customer can be forgotten, and the audit log knows customers by pseudonyms only."""

from __future__ import annotations

from flask_cairnloop.database.migrations.operations import Operations, run

FORGETTING = (
    """
    ALTER TABLE {schema}.customers
        ADD COLUMN pseudonym VARCHAR(64) NOT NULL
            DEFAULT 'pseudonym-' || replace(CAST(gen_random_uuid() AS TEXT), '-', ''),
        ADD COLUMN forgotten_at TIMESTAMP WITH TIME ZONE,
        ADD CONSTRAINT uq_customers_pseudonym UNIQUE (pseudonym)
    """,
    "ALTER TABLE {schema}.conversations ADD COLUMN erased_at TIMESTAMP WITH TIME ZONE",
    """
    CREATE INDEX ix_messages_acts_of_customers ON {schema}.messages (author_id)
    WHERE author_kind = 'customer' AND kind <> 'customer'
    """,
)

# The one time that audit rows are changed: what stood there as the host's reference becomes a pseudonym, from which only
# the customer's own row leads back. Whoever has no such row gets one that nothing leads back from.
WITHOUT_REFERENCES = (
    "ALTER TABLE {schema}.audit_entries DISABLE TRIGGER audit_entries_append_only",
    """
    WITH known AS (
        SELECT ref, pseudonym FROM {schema}.customers
    ), strangers AS (
        SELECT actor_id AS ref, 'pseudonym-' || replace(CAST(gen_random_uuid() AS TEXT), '-', '') AS pseudonym
        FROM (
            SELECT DISTINCT actor_id FROM {schema}.audit_entries
            WHERE actor_kind = 'customer' AND actor_id NOT IN (SELECT ref FROM known)
        ) AS unknown
    )
    UPDATE {schema}.audit_entries
    SET actor_id = named.pseudonym
    FROM (SELECT * FROM known UNION ALL SELECT * FROM strangers) AS named
    WHERE actor_kind = 'customer' AND actor_id = named.ref
    """,
    "ALTER TABLE {schema}.audit_entries ENABLE TRIGGER audit_entries_append_only",
)

WITH_REFERENCES = (
    "ALTER TABLE {schema}.audit_entries DISABLE TRIGGER audit_entries_append_only",
    """
    UPDATE {schema}.audit_entries SET actor_id = customers.ref FROM {schema}.customers
    WHERE actor_kind = 'customer' AND actor_id = customers.pseudonym
    """,
    "ALTER TABLE {schema}.audit_entries ENABLE TRIGGER audit_entries_append_only",
)

REMEMBERING = (
    "DROP INDEX {schema}.ix_messages_acts_of_customers",
    "ALTER TABLE {schema}.conversations DROP COLUMN erased_at",
    "ALTER TABLE {schema}.customers DROP COLUMN forgotten_at, DROP COLUMN pseudonym",
)


def upgrade(op: Operations, schema: str) -> None:
    for statement in (*FORGETTING, *WITHOUT_REFERENCES):
        run(op, schema, statement)


def downgrade(op: Operations, schema: str) -> None:
    for statement in (*WITH_REFERENCES, *REMEMBERING):
        run(op, schema, statement)
