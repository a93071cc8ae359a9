"""Version 12: the votes on an article are counted as they come, so that whoever searches reads what is counted already."""

from __future__ import annotations

from flask_cairnloop.database.migrations.operations import Operations, run

STANDINGS = (
    """
    CREATE TABLE {schema}.article_standings (
        article_id BIGINT NOT NULL,
        yes BIGINT NOT NULL,
        no BIGINT NOT NULL,
        CONSTRAINT pk_article_standings PRIMARY KEY (article_id),
        CONSTRAINT fk_article_standings_article_id FOREIGN KEY (article_id)
            REFERENCES {schema}.articles (id) ON DELETE CASCADE
    )
    """,
    """
    CREATE FUNCTION {schema}.count_vote() RETURNS trigger LANGUAGE plpgsql AS $body$
    BEGIN
        IF TG_OP <> 'INSERT' THEN
            UPDATE {schema}.article_standings
            SET yes = yes - OLD.helpful::int, no = no - (NOT OLD.helpful)::int WHERE article_id = OLD.article_id;
        END IF;
        IF TG_OP <> 'DELETE' THEN
            INSERT INTO {schema}.article_standings AS standing (article_id, yes, no)
            VALUES (NEW.article_id, NEW.helpful::int, (NOT NEW.helpful)::int)
            ON CONFLICT (article_id) DO UPDATE
            SET yes = standing.yes + EXCLUDED.yes, no = standing.no + EXCLUDED.no;
        END IF;
        RETURN NULL;
    END
    $body$
    """,
    """
    CREATE TRIGGER article_votes_counted AFTER INSERT OR UPDATE OR DELETE ON {schema}.article_votes
    FOR EACH ROW EXECUTE FUNCTION {schema}.count_vote()
    """,
    # The trigger holds the table until the end of this transaction: no vote falls between it and this count.
    """
    INSERT INTO {schema}.article_standings (article_id, yes, no)
    SELECT article_id, count(*) FILTER (WHERE helpful), count(*) FILTER (WHERE NOT helpful)
    FROM {schema}.article_votes GROUP BY article_id
    """,
)


def upgrade(op: Operations, schema: str) -> None:
    for statement in STANDINGS:
        run(op, schema, statement)


def downgrade(op: Operations, schema: str) -> None:
    run(op, schema, "DROP TRIGGER article_votes_counted ON {schema}.article_votes")
    run(op, schema, "DROP FUNCTION {schema}.count_vote()")
    run(op, schema, "DROP TABLE {schema}.article_standings")
