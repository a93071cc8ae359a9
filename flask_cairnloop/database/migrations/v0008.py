"""Version 8: the audit log is sealed in a chain, says why in words that can be erased, and can be searched."""

from __future__ import annotations

from flask_cairnloop.database.migrations.operations import Operations, run

ENTRIES = (
    "ALTER TABLE {schema}.audit_entries ADD COLUMN actor_name VARCHAR(200), ADD COLUMN text_digest BYTEA",
    "CREATE INDEX ix_audit_entries_actor ON {schema}.audit_entries (actor_kind, actor_id, occurred_at, id)",
    "CREATE INDEX ix_audit_entries_action ON {schema}.audit_entries (action, occurred_at, id)",
    """
    CREATE INDEX ix_audit_entries_conversation ON {schema}.audit_entries ((data ->> 'conversation_id'))
    WHERE data ? 'conversation_id'
    """,
    """
    CREATE TABLE {schema}.audit_texts (
        entry_id BIGINT NOT NULL,
        customer_id BIGINT,
        salt BYTEA NOT NULL,
        words TEXT NOT NULL,
        CONSTRAINT pk_audit_texts PRIMARY KEY (entry_id),
        CONSTRAINT ck_audit_texts_words_not_empty CHECK (words <> ''),
        CONSTRAINT fk_audit_texts_entry_id FOREIGN KEY (entry_id)
            REFERENCES {schema}.audit_entries (id) ON DELETE CASCADE,
        CONSTRAINT fk_audit_texts_customer_id FOREIGN KEY (customer_id)
            REFERENCES {schema}.customers (id) ON DELETE CASCADE
    )
    """,
    "CREATE INDEX ix_audit_texts_customer_id ON {schema}.audit_texts (customer_id) WHERE customer_id IS NOT NULL",
    "CREATE INDEX ix_audit_texts_words ON {schema}.audit_texts USING gin (to_tsvector('simple', words))",
    """
    CREATE TRIGGER audit_texts_unchanged BEFORE UPDATE ON {schema}.audit_texts
    FOR EACH ROW EXECUTE FUNCTION {schema}.refuse_change()
    """,
)

CHAIN = (
    "CREATE TABLE {schema}.audit_unsealed (entry_id BIGINT NOT NULL, CONSTRAINT pk_audit_unsealed PRIMARY KEY (entry_id))",
    """
    CREATE TABLE {schema}.audit_chain (
        position BIGINT NOT NULL,
        entry_id BIGINT NOT NULL,
        entry_digest BYTEA NOT NULL,
        digest BYTEA NOT NULL,
        CONSTRAINT pk_audit_chain PRIMARY KEY (position)
    )
    """,
    "CREATE UNIQUE INDEX uq_audit_chain_entry_id ON {schema}.audit_chain (entry_id)",
    """
    CREATE TABLE {schema}.audit_checkpoints (
        position BIGINT NOT NULL,
        digest BYTEA NOT NULL,
        cut_at TIMESTAMP WITH TIME ZONE NOT NULL,
        CONSTRAINT pk_audit_checkpoints PRIMARY KEY (position)
    )
    """,
    # What was written before this version is sealed as it stands now.
    "INSERT INTO {schema}.audit_unsealed (entry_id) SELECT id FROM {schema}.audit_entries",
    """
    CREATE FUNCTION {schema}.note_unsealed() RETURNS trigger LANGUAGE plpgsql AS $body$
    BEGIN
        INSERT INTO {schema}.audit_unsealed (entry_id) VALUES (NEW.id);
        RETURN NULL;
    END
    $body$
    """,
    """
    CREATE TRIGGER audit_entries_unsealed AFTER INSERT ON {schema}.audit_entries
    FOR EACH ROW EXECUTE FUNCTION {schema}.note_unsealed()
    """,
    # Entries and links leave up to a checkpoint, and a checkpoint says what the chain is at its place.
    """
    CREATE FUNCTION {schema}.keep_uncut() RETURNS trigger LANGUAGE plpgsql AS $body$
    DECLARE
        place BIGINT;
    BEGIN
        IF TG_OP = 'DELETE' THEN
            IF TG_TABLE_NAME = 'audit_chain' THEN
                place := OLD.position;
            ELSE
                SELECT position INTO place FROM {schema}.audit_chain WHERE entry_id = OLD.id;
            END IF;
            IF place <= (SELECT max(position) FROM {schema}.audit_checkpoints) THEN
                RETURN OLD;
            END IF;
        END IF;
        RAISE EXCEPTION USING
            ERRCODE = 'restrict_violation',
            MESSAGE = TG_TABLE_NAME || ' is append-only: ' || lower(TG_OP) || ' refused';
    END
    $body$
    """,
    """
    CREATE FUNCTION {schema}.check_checkpoint() RETURNS trigger LANGUAGE plpgsql AS $body$
    BEGIN
        IF NOT EXISTS (
            SELECT FROM {schema}.audit_chain WHERE position = NEW.position AND digest = NEW.digest
        ) THEN
            RAISE EXCEPTION USING
                ERRCODE = 'restrict_violation',
                MESSAGE = 'audit_checkpoints: the chain has no such link';
        END IF;
        RETURN NEW;
    END
    $body$
    """,
    "DROP TRIGGER audit_entries_append_only ON {schema}.audit_entries",
    """
    CREATE TRIGGER audit_entries_append_only BEFORE UPDATE OR DELETE ON {schema}.audit_entries
    FOR EACH ROW EXECUTE FUNCTION {schema}.keep_uncut()
    """,
    """
    CREATE TRIGGER audit_chain_append_only BEFORE UPDATE OR DELETE ON {schema}.audit_chain
    FOR EACH ROW EXECUTE FUNCTION {schema}.keep_uncut()
    """,
    """
    CREATE TRIGGER audit_checkpoints_true BEFORE INSERT ON {schema}.audit_checkpoints
    FOR EACH ROW EXECUTE FUNCTION {schema}.check_checkpoint()
    """,
    """
    CREATE TRIGGER audit_checkpoints_append_only BEFORE UPDATE OR DELETE ON {schema}.audit_checkpoints
    FOR EACH ROW EXECUTE FUNCTION {schema}.refuse_change()
    """,
    *(
        f"""
        CREATE TRIGGER {table}_no_truncate BEFORE TRUNCATE ON {{schema}}.{table}
        FOR EACH STATEMENT EXECUTE FUNCTION {{schema}}.refuse_change()
        """
        for table in ("audit_chain", "audit_checkpoints")
    ),
)

DOWNGRADE = (
    "DROP TRIGGER audit_entries_append_only ON {schema}.audit_entries",
    """
    CREATE TRIGGER audit_entries_append_only BEFORE UPDATE OR DELETE ON {schema}.audit_entries
    FOR EACH ROW EXECUTE FUNCTION {schema}.refuse_change()
    """,
    "DROP TRIGGER audit_entries_unsealed ON {schema}.audit_entries",
    "DROP FUNCTION {schema}.note_unsealed()",
    "DROP TABLE {schema}.audit_checkpoints",
    "DROP TABLE {schema}.audit_chain",
    "DROP TABLE {schema}.audit_unsealed",
    "DROP FUNCTION {schema}.keep_uncut()",
    "DROP FUNCTION {schema}.check_checkpoint()",
    "DROP TABLE {schema}.audit_texts",
    "DROP INDEX {schema}.ix_audit_entries_conversation",
    "DROP INDEX {schema}.ix_audit_entries_action",
    "DROP INDEX {schema}.ix_audit_entries_actor",
    "ALTER TABLE {schema}.audit_entries DROP COLUMN text_digest, DROP COLUMN actor_name",
)


def upgrade(op: Operations, schema: str) -> None:
    for statement in (*ENTRIES, *CHAIN):
        run(op, schema, statement)


def downgrade(op: Operations, schema: str) -> None:
    for statement in DOWNGRADE:
        run(op, schema, statement)
