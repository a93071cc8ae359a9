"""Conversations and customers by the words that a person types, at any number of them.

Nothing is scanned. What happened last is looked at first, some hundred conversations from the index on activity: they
are what a person usually means, and where a word is common they are enough. Only what is rare is left to the indexes on
words: of what those find a bounded part is read, in a bounded time. A word that half of all old conversations bear, and
none of the newest, is not waited for. The palette looks at subjects and customers, the inbox at what was said as well.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from sqlalchemy import TextClause, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from flask_cairnloop.conversations.models import (
    CUSTOMER_TERMS,
    FOUND_KINDS,
    MESSAGE_TERMS,
    SUBJECT_TERMS,
    Conversation,
    CustomerRecord,
)
from flask_cairnloop.database.base import quoted_schema, raw
from flask_cairnloop.database.words import beginnings, whole, words_of

RECENT: Final = 400  # conversations that are looked at for the words
READ: Final = 1_000  # of those that an index found by their subject
PEOPLE: Final = 30  # of the customers that an index found
OF_EACH: Final = 3  # newest conversations of a customer
COMMON: Final = 50_000  # messages: a word in more of them is not asked the index for
INDEX_TIME: Final = 250  # ms that an index on words may take, which for rare words is a few
QUERY_CANCELED: Final = "57014"
LONG_ENOUGH: Final = 2  # letters; the beginnings of all words would be half of an index

_RECENT = """
WITH recent AS MATERIALIZED (
    SELECT id, customer_id, subject, last_message_at FROM {schema}.conversations
    ORDER BY last_message_at DESC, id DESC LIMIT :recent
)
"""

_RECENT_CONVERSATIONS = """{recent}
SELECT recent.id FROM recent JOIN {schema}.customers ON customers.id = recent.customer_id
WHERE {subject} || {customer} @@ to_tsquery('simple', :wanted)
ORDER BY recent.last_message_at DESC, recent.id DESC LIMIT :limit
"""

_RECENT_CUSTOMERS = """{recent}
SELECT customers.id FROM (
    SELECT customer_id, max(last_message_at) AS at FROM recent GROUP BY customer_id
) AS spoke JOIN {schema}.customers ON customers.id = spoke.customer_id
WHERE {customer} @@ to_tsquery('simple', :wanted) AND customers.forgotten_at IS NULL
ORDER BY spoke.at DESC, customers.id DESC LIMIT :limit
"""

_CUSTOMERS = """
SELECT customers.id FROM {schema}.customers
WHERE {customer} @@ to_tsquery('simple', :wanted) AND customers.forgotten_at IS NULL LIMIT :limit
"""

_OF_CUSTOMERS = """
SELECT theirs.id FROM unnest(CAST(:people AS bigint[])) AS people (id) CROSS JOIN LATERAL (
    SELECT conversations.id FROM {schema}.conversations WHERE customer_id = people.id
    ORDER BY last_spoken_at DESC, conversations.id DESC LIMIT :each
) AS theirs
"""

_BY_SUBJECT = """
SELECT conversation_id FROM {schema}.conversation_terms WHERE terms @@ to_tsquery('simple', :wanted) LIMIT :limit
"""

_ANYWHERE = """
SELECT conversation_id FROM (
    SELECT conversation_id FROM {schema}.conversation_terms WHERE terms @@ to_tsquery('simple', :wanted) LIMIT :limit
) AS called
UNION SELECT conversation_id FROM (
    SELECT conversation_id FROM {schema}.messages
    WHERE {kinds} AND {message} @@ to_tsquery('simple', :wanted) LIMIT :limit
) AS said
UNION SELECT theirs.id FROM (
    SELECT id FROM {schema}.customers
    WHERE {customer} @@ to_tsquery('simple', :wanted) AND customers.forgotten_at IS NULL LIMIT :limit
) AS people CROSS JOIN LATERAL (
    SELECT id FROM {schema}.conversations WHERE customer_id = people.id
    ORDER BY last_spoken_at DESC, conversations.id DESC LIMIT 50
) AS theirs
LIMIT :limit
"""

_EXPECTED = """
EXPLAIN (FORMAT JSON) SELECT FROM {schema}.messages
WHERE {kinds} AND {message} @@ to_tsquery('simple', :wanted)
"""

Found = tuple[Conversation, CustomerRecord]


def newest(session: Session, limit: int) -> list[Found]:
    """The conversations in which something was said last, with their customers."""
    newest_first = Conversation.last_message_at.desc(), Conversation.id.desc()
    return _rows(session, list(session.scalars(select(Conversation.id).order_by(*newest_first).limit(limit))), limit)


def by_number(session: Session, number: int) -> list[Found]:
    """The conversation of a number, as a list of one or none."""
    return _rows(session, [number], 1)


def conversations(session: Session, typed: str, limit: int) -> list[Found]:
    """Conversations that hold every word that was typed, or begin with it, newest activity first.

    Of the newest ones subject and customer are looked at together, of others each alone. Seven queries at most.

    Args:
        typed: words; the last one may be half of one.
    """
    wanted = beginnings(typed)
    if wanted is None:
        return []
    found = _rows(session, _ids(session, _RECENT_CONVERSATIONS, recent=RECENT, wanted=wanted, limit=limit), limit)
    if len(found) < limit and _is_long_enough(typed):
        seen = {conversation.id for conversation, _ in found}
        people = _indexed(session, _CUSTOMERS, wanted, PEOPLE)
        ids = {
            *_indexed(session, _BY_SUBJECT, wanted, READ),
            *_ids(session, _OF_CUSTOMERS, people=people, each=OF_EACH),
        }
        found += _rows(session, ids - seen, limit)
    return found[:limit]


def anywhere(session: Session, typed: str, limit: int) -> list[int] | None:
    """The conversations that hold every word that was typed in one place: subject, customer or a message.

    Three queries.

    Returns:
        Their ids in no order; ``None`` where there are ``limit`` or more, or a common word would be waited for too
        long: then the newest ones are to be read for it.
    """
    wanted = beginnings(typed)
    if wanted is None:
        return []
    if not _is_long_enough(typed):
        return None
    if _estimated(session, whole(typed)) > COMMON:
        return None
    found = _in_time(session, _ANYWHERE, wanted, limit)
    return found if found is not None and len(found) < limit else None


def _estimated(session: Session, wanted: str | None) -> int:
    """In how many messages the database's statistics expect these words. Nothing is read for it."""
    plan = session.execute(_statement(session, _EXPECTED), {"wanted": wanted}).scalar_one()
    return int(plan[0]["Plan"]["Plan Rows"])


def customers(session: Session, typed: str, limit: int) -> list[tuple[CustomerRecord, list[Conversation]]]:
    """Customers whose name, address or company holds every word that was typed, or begins with it.

    Each with the conversations last spoken in, at most :data:`OF_EACH`; who has none is left out: there is nothing to
    open. Five queries at most.
    """
    wanted = beginnings(typed)
    if wanted is None:
        return []
    ids = _ids(session, _RECENT_CUSTOMERS, recent=RECENT, wanted=wanted, limit=limit)
    if len(ids) < limit and _is_long_enough(typed):
        ids += _indexed(session, _CUSTOMERS, wanted, PEOPLE)
    ids = list(dict.fromkeys(ids))
    people = {person.id: person for person in session.scalars(select(CustomerRecord).where(CustomerRecord.id.in_(ids)))}
    theirs: dict[int, list[Conversation]] = {}
    for conversation, person in _rows(session, _ids(session, _OF_CUSTOMERS, people=ids, each=OF_EACH), READ):
        theirs.setdefault(person.id, []).append(conversation)
    return [(people[id_], theirs[id_]) for id_ in ids if id_ in people and id_ in theirs][:limit]


def _indexed(session: Session, statement: str, wanted: str, limit: int) -> list[int]:
    """What an index on words finds in time; nothing where that is not enough."""
    return _in_time(session, statement, wanted, limit) or []


def _in_time(session: Session, statement: str, wanted: str, limit: int) -> list[int] | None:
    """What an index on words finds in time; ``None`` where that is not enough.

    The savepoint is always given up: with it goes the limit that was set for this one statement.
    """
    connection = session.connection()
    savepoint = connection.begin_nested()
    try:
        connection.execute(text("SELECT set_config('statement_timeout', :time, true)"), {"time": str(INDEX_TIME)})
        found = connection.scalars(_statement(session, statement), {"wanted": wanted, "limit": limit})
        return list(found)
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) != QUERY_CANCELED:
            raise
        return None
    finally:
        savepoint.rollback()


def _ids(session: Session, statement: str, **values: object) -> list[int]:
    return list(session.scalars(_statement(session, statement), values))


def _statement(session: Session, statement: str) -> TextClause:
    for name, part in (
        ("{recent}", _RECENT),
        ("{subject}", SUBJECT_TERMS),
        ("{customer}", CUSTOMER_TERMS),
        ("{message}", MESSAGE_TERMS),
        ("{kinds}", FOUND_KINDS),
    ):
        statement = statement.replace(name, part)
    return raw(statement, quoted_schema(session))


def _rows(session: Session, ids: Collection[int], limit: int) -> list[Found]:
    """These conversations with their customers, newest activity first; of forgotten customers none."""
    if not ids:
        return []
    statement = (
        select(Conversation, CustomerRecord)
        .join(CustomerRecord, CustomerRecord.id == Conversation.customer_id)
        .where(Conversation.id.in_(ids), Conversation.erased_at.is_(None))
        .order_by(Conversation.last_message_at.desc(), Conversation.id.desc())
        .limit(limit)
    )
    return [(conversation, person) for conversation, person in session.execute(statement)]


def _is_long_enough(typed: str) -> bool:
    return max(map(len, words_of(typed)), default=0) >= LONG_ENOUGH
