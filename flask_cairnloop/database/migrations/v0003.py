"""Version 3: what is in the index of each article, and which embedding models there are vectors of."""

from __future__ import annotations

from flask_cairnloop.database.migrations.operations import Operations, run

EMBEDDING_MODELS = """
    CREATE TABLE {schema}.embedding_models (
        model VARCHAR(200) NOT NULL,
        dimensions BIGINT NOT NULL,
        state VARCHAR(32) NOT NULL,
        created_at TIMESTAMP WITH TIME ZONE NOT NULL,
        live_at TIMESTAMP WITH TIME ZONE,
        ann_index VARCHAR(63),
        CONSTRAINT pk_embedding_models PRIMARY KEY (model),
        CONSTRAINT ck_embedding_models_state CHECK (state IN ('building', 'live', 'retired'))
    )
"""
ONE_LIVE_MODEL = """
    CREATE UNIQUE INDEX uq_embedding_models_one_live ON {schema}.embedding_models (state) WHERE state = 'live'
"""
INDEX_ENTRIES = """
    CREATE TABLE {schema}.index_entries (
        article_id BIGINT NOT NULL,
        requested_at TIMESTAMP WITH TIME ZONE NOT NULL,
        indexed_at TIMESTAMP WITH TIME ZONE,
        rebuild_asked_at TIMESTAMP WITH TIME ZONE,
        failures BIGINT NOT NULL,
        failed_at TIMESTAMP WITH TIME ZONE,
        reason VARCHAR(500),
        CONSTRAINT pk_index_entries PRIMARY KEY (article_id),
        CONSTRAINT ck_index_entries_failed CHECK ((reason IS NULL) = (failed_at IS NULL)),
        CONSTRAINT fk_index_entries_article_id FOREIGN KEY(article_id)
            REFERENCES {schema}.articles (id) ON DELETE CASCADE
    )
"""
REBUILDING = """
    CREATE INDEX ix_index_entries_rebuilding ON {schema}.index_entries (article_id) WHERE rebuild_asked_at IS NOT NULL
"""
FAILED = """
    CREATE INDEX ix_index_entries_failed ON {schema}.index_entries (failed_at, article_id) WHERE reason IS NOT NULL
"""
KNOWN_ENTRIES = """
    INSERT INTO {schema}.index_entries (article_id, requested_at, indexed_at, failures)
    SELECT id, updated_at,
        CASE WHEN EXISTS (SELECT FROM {schema}.chunks WHERE chunks.article_id = articles.id) THEN updated_at END, 0
    FROM {schema}.articles WHERE state <> 'draft'
"""
# The model that most passages have a vector of was the one in use; vectors of others were left behind by a change.
KNOWN_MODELS = """
    DO $do$
    DECLARE
        home text;
    BEGIN
        SELECT quote_ident(n.nspname) INTO home
        FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'vector';
        IF home IS NOT NULL AND to_regclass('{schema}.chunk_embeddings') IS NOT NULL THEN
            EXECUTE 'INSERT INTO {schema}.embedding_models (model, dimensions, state, created_at, live_at) '
                'SELECT model, dimensions, CASE place WHEN 1 THEN ''live'' ELSE ''retired'' END, now(), '
                'CASE place WHEN 1 THEN now() END '
                'FROM (SELECT model, min(' || home || '.vector_dims(embedding)) AS dimensions, '
                'row_number() OVER (ORDER BY count(*) DESC, model) AS place '
                'FROM {schema}.chunk_embeddings GROUP BY model) AS counted';
        END IF;
    END
    $do$
"""


def upgrade(op: Operations, schema: str) -> None:
    for statement in (EMBEDDING_MODELS, ONE_LIVE_MODEL, INDEX_ENTRIES, REBUILDING, FAILED, KNOWN_ENTRIES, KNOWN_MODELS):
        run(op, schema, statement)


def downgrade(op: Operations, schema: str) -> None:
    run(op, schema, "DROP TABLE {schema}.index_entries")
    run(op, schema, "DROP TABLE {schema}.embedding_models")
