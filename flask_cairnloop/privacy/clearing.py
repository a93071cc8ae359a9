"""What forgetting leaves in the files of the database, and its way out.

An UPDATE or DELETE leaves the old row where it was until the table is vacuumed, and an index of words keeps a word for
good, also when no row has it any more. No query finds either. So some time after a forgetting a job vacuums the tables
it changed, which also renews their statistics, and builds the indexes of words anew, both beside the traffic.
"""

from __future__ import annotations

import logging
from typing import Final

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError

from flask_cairnloop.database.base import quote, schema_name
from flask_cairnloop.database.failures import AWAY, kind

log = logging.getLogger(__name__)

CLEAR: Final = "privacy.clear"
# What forgetting changes, and of that the indexes whose keys are words of people.
TABLES: Final[dict[str, tuple[str, ...]]] = {
    "customers": ("uq_customers_ref", "ix_customers_terms"),
    "conversations": (),
    "conversation_terms": ("ix_conversation_terms_terms",),
    "messages": ("ix_messages_terms", "ix_messages_acts_of_customers"),
    "audit_texts": ("ix_audit_texts_words",),
    **dict.fromkeys(
        (
            "message_files",
            "files",
            "pending_replies",
            "unsent_texts",
            "ratings",
            "drafts",
            "action_proposals",
            "action_approvals",
            "access_tokens",
            "past_questions",
            "past_question_embeddings",
            "resolved_cases",
            "gap_events",
            "gap_questions",
            "gap_question_embeddings",
            "gap_askers",
            "gap_candidates",
            "article_suggestions",
            "suggestion_questions",
            "outbound_deliveries",
            "outbound_suppressions",
            "service_answers",
            "service_clocks",
            "jobs",
        ),
        (),
    ),
}
# As autovacuum goes about it: a little, and then a rest.
GENTLY: Final = "SET vacuum_cost_delay = '2ms'"
# Whoever holds up a new index for longer than this is let go first; the old one is used meanwhile.
WAITED: Final = "SET lock_timeout = '60s'"


def clear(engine: Engine) -> None:
    """Vacuum what forgetting changes, and build indexes of words anew. Asked again, it does the same once more.

    A table that belongs to another role is left, and the log says so: whoever owns it has to.
    """
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        schema = schema_name(connection)
        ours = _may_be_vacuumed(connection, schema)
        left = [table for table in TABLES if table not in ours]
        if left:
            log.warning("These tables belong to another role, which has to vacuum them: %s", ", ".join(left))
        for statement in (GENTLY, WAITED):
            connection.execute(text(statement))
        try:
            for table in ours:
                connection.execute(text(f"VACUUM (ANALYZE) {quote(schema)}.{quote(table)}"))
                for index in TABLES[table]:
                    _build_anew(connection, schema, index)
        finally:
            connection.execute(text("RESET vacuum_cost_delay"))
            connection.execute(text("RESET lock_timeout"))


def _may_be_vacuumed(connection: Connection, schema: str) -> list[str]:
    rows = connection.execute(
        text(
            "SELECT relname FROM pg_class WHERE relnamespace = to_regnamespace(:schema) AND relkind = 'r' "
            "AND pg_has_role(current_user, relowner, 'USAGE')"
        ),
        {"schema": quote(schema)},
    )
    found = {row[0] for row in rows}
    return [table for table in TABLES if table in found]


def _build_anew(connection: Connection, schema: str, index: str) -> None:
    # What an attempt that was cut off has left.
    leftovers = connection.execute(
        text(
            "SELECT relname FROM pg_class JOIN pg_index ON indexrelid = pg_class.oid "
            "WHERE relnamespace = to_regnamespace(:schema) AND NOT indisvalid AND relname ~ :name"
        ),
        {"schema": quote(schema), "name": f"^{index}_cc(new|old)[0-9]*$"},
    )
    for (name,) in leftovers.all():
        connection.execute(text(f"DROP INDEX CONCURRENTLY IF EXISTS {quote(schema)}.{quote(name)}"))
    try:
        connection.execute(text(f"REINDEX INDEX CONCURRENTLY {quote(schema)}.{quote(index)}"))
    except AWAY:
        raise
    except DBAPIError as failure:
        log.warning("The index %s could not be built anew (%s)", index, kind(failure))
        raise
