"""The version that gives ratings a table of their own: those that were given stay, with their words, and back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from alembic.migration import MigrationContext
from alembic.operations import Operations
from flask import Flask
from sqlalchemy import text

from flask_cairnloop.database import migrations

VERSION = 20
BEFORE = """
    INSERT INTO cairnloop.customers (ref, name, created_at, last_seen_at) VALUES ('ana', 'Ana', now(), now());
    INSERT INTO cairnloop.conversations (customer_id, channel, subject, status, last_sequence, last_message_at, preview,
        last_spoken_at, last_customer_sequence, customer_seen, resolved_at, rating, rating_comment, created_at,
        assignee_id, assignee_name)
    SELECT (SELECT id FROM cairnloop.customers WHERE ref = 'ana'), 'widget', what, status, 3, now(), '', now(), 1, 0,
        CASE WHEN status = 'resolved' THEN now() - ago END, rating, comment, now(), 'mina', 'Mina Keller'
    FROM (VALUES
        ('rated', 'resolved', INTERVAL '90 days', 4, 'Quick'),
        ('opened again', 'open', INTERVAL '90 days', 2, NULL),
        ('looks at the question', 'resolved', INTERVAL '1 day', NULL, NULL),
        ('long ago', 'resolved', INTERVAL '90 days', NULL, NULL),
        ('open', 'open', INTERVAL '1 day', NULL, NULL)
    ) AS given (what, status, ago, rating, comment);
    INSERT INTO cairnloop.messages (conversation_id, sequence, kind, event, data, body, author_kind, author_id,
        author_name, automatic, created_at)
    SELECT id, 2, 'event', 'resolved', '{}', '', 'operator', 'omar', 'Omar Reyes', false, now() - INTERVAL '90 days'
    FROM cairnloop.conversations WHERE subject IN ('rated', 'opened again');
"""


def test_what_was_said_moves_and_who_looks_at_the_question_may_answer(
    make_app: Callable[..., Flask], fresh_database_url: str
) -> None:
    app = make_app(database_url=fresh_database_url)
    with app.app_context():
        engine = app.extensions["sqlalchemy"].engine

        def go(step: Callable[..., None], from_: int, to: int) -> None:
            with engine.begin() as connection, Operations.context(MigrationContext.configure(connection)) as op:
                step(op, from_=from_, to=to)

        def rows(statement: str) -> list[tuple[Any, ...]]:
            with engine.connect() as connection:
                return [tuple(row) for row in connection.execute(text(statement))]

        go(migrations.downgrade, migrations.LATEST, VERSION - 1)
        with engine.begin() as connection:
            connection.execute(text(BEFORE))
        go(migrations.upgrade, VERSION - 1, migrations.LATEST)
        moved = rows(
            "SELECT subject, resolution, resolver_id, ratings.assignee_id, score, comment, via, closes_at > now(),"
            " rating_until > now() FROM cairnloop.ratings JOIN cairnloop.conversations c ON c.id = conversation_id"
            " ORDER BY subject"
        )
        assert moved == [
            ("looks at the question", 3, None, "mina", None, None, None, True, True),
            ("opened again", 2, "omar", "mina", 2, None, "widget", False, None),
            ("rated", 2, "omar", "mina", 4, "Quick", "widget", False, None),
        ]
        assert rows("SELECT count(*) FROM cairnloop.conversations WHERE rating_comment IS NOT NULL") == [(0,)]
        go(migrations.downgrade, migrations.LATEST, VERSION - 1)
        kept = rows("SELECT subject, rating, rating_comment FROM cairnloop.conversations WHERE rating IS NOT NULL")
        assert sorted(kept) == [("opened again", 2, None), ("rated", 4, "Quick")]
