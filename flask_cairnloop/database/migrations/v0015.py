"""Version 15: files that come with messages.

Rows of files that are there already are of articles. A message may have no words where it has a file: the check is
made anew, first for what is written from now on, then looked through.
"""

from __future__ import annotations

from flask_cairnloop.database.migrations.operations import Operations, run

UPGRADE = (
    "ALTER TABLE {schema}.files ADD COLUMN kept_for VARCHAR(32) DEFAULT 'article' NOT NULL",
    """
    ALTER TABLE {schema}.files ADD CONSTRAINT ck_files_kept_for CHECK (kept_for IN ('article', 'message')) NOT VALID
    """,
    "ALTER TABLE {schema}.files VALIDATE CONSTRAINT ck_files_kept_for",
    """
    CREATE INDEX ix_files_of_customers ON {schema}.files (author_id, created_at) WHERE author_kind = 'customer'
    """,
    """
    CREATE TABLE {schema}.message_files (
        message_id BIGINT NOT NULL,
        position SMALLINT NOT NULL,
        file_id BIGINT NOT NULL,
        CONSTRAINT pk_message_files PRIMARY KEY (message_id, position),
        CONSTRAINT uq_message_files_file_id UNIQUE (file_id),
        CONSTRAINT ck_message_files_position CHECK (position >= 0),
        CONSTRAINT fk_message_files_message_id FOREIGN KEY (message_id)
            REFERENCES {schema}.messages (id) ON DELETE CASCADE,
        CONSTRAINT fk_message_files_file_id FOREIGN KEY (file_id) REFERENCES {schema}.files (id)
    )
    """,
    "ALTER TABLE {schema}.messages DROP CONSTRAINT ck_messages_body_not_empty",
    """
    ALTER TABLE {schema}.messages ADD CONSTRAINT ck_messages_body_not_empty
        CHECK (kind = 'event' OR body <> '' OR jsonb_exists(data, 'files')) NOT VALID
    """,
    "ALTER TABLE {schema}.messages VALIDATE CONSTRAINT ck_messages_body_not_empty",
)

# What had no words says from then on that it was a file, and names none: nothing is left that could give it out.
DOWNGRADE = (
    "UPDATE {schema}.messages SET body = '[file]' WHERE body = '' AND kind <> 'event'",
    "UPDATE {schema}.messages SET data = data - 'files' WHERE jsonb_exists(data, 'files')",
    "ALTER TABLE {schema}.messages DROP CONSTRAINT ck_messages_body_not_empty",
    """
    ALTER TABLE {schema}.messages ADD CONSTRAINT ck_messages_body_not_empty
        CHECK (kind = 'event' OR body <> '') NOT VALID
    """,
    "ALTER TABLE {schema}.messages VALIDATE CONSTRAINT ck_messages_body_not_empty",
    "DROP TABLE {schema}.message_files",
    # Their bytes are without a row then, and go with the next sweep.
    "DELETE FROM {schema}.files WHERE kept_for = 'message'",
    "DROP INDEX {schema}.ix_files_of_customers",
    "ALTER TABLE {schema}.files DROP COLUMN kept_for",
)


def upgrade(op: Operations, schema: str) -> None:
    for statement in UPGRADE:
        run(op, schema, statement)


def downgrade(op: Operations, schema: str) -> None:
    for statement in DOWNGRADE:
        run(op, schema, statement)
