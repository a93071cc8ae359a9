"""The version that takes references out of the audit log: once, without loss, and back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from alembic.migration import MigrationContext
from alembic.operations import Operations
from flask import Flask
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from flask_cairnloop.database import migrations

BEFORE = """
    INSERT INTO cairnloop.customers (ref, name, created_at, last_seen_at)
    SELECT 'known-' || n, 'Ana', now(), now() FROM generate_series(1, 3) n;
    INSERT INTO cairnloop.audit_entries (occurred_at, actor_kind, actor_id, action, subject_type, subject_id, data)
    SELECT now(), kind, id, 'message.receive', 'conversation', n, '{}'
    FROM generate_series(1, 2) n, (VALUES
        ('customer', 'known-1'), ('customer', 'known-2'), ('customer', 'stranger'), ('operator', 'known-1'),
        ('system', 'system:drafting')
    ) AS actors (kind, id);
"""
ENTRIES = (
    "SELECT id, occurred_at, action, subject_id, data, actor_kind, actor_id FROM cairnloop.audit_entries ORDER BY id"
)


@pytest.fixture
def move(make_app: Callable[..., Flask], empty_database_url: str) -> Any:
    app = make_app(database_url=empty_database_url)
    with app.app_context():
        engine = app.extensions["sqlalchemy"].engine

        def run(step: Callable[..., None] | None, *statements: str, **versions: int) -> list[Any]:
            with engine.begin() as connection, Operations.context(MigrationContext.configure(connection)) as op:
                if step is not None:
                    step(op, **versions)
                return [
                    [tuple(row) for row in result] if result.returns_rows else []
                    for result in (connection.execute(text(statement)) for statement in statements)
                ]

        yield run


def test_references_in_the_audit_log_become_pseudonyms_and_can_come_back(move: Any) -> None:
    (_, before) = move(migrations.upgrade, BEFORE, ENTRIES, from_=0, to=3)
    known, after = move(migrations.upgrade, "SELECT ref, pseudonym FROM cairnloop.customers", ENTRIES, from_=3, to=4)
    pseudonyms = dict(known)
    assert len(set(pseudonyms.values())) == 3
    assert [entry[:6] for entry in after] == [entry[:6] for entry in before]
    renamed = {(old[5], old[6], new[6]) for old, new in zip(before, after, strict=True)}
    strangers = {new for _, old, new in renamed if old == "stranger"}
    assert len(strangers) == 1  # the same one in both of their entries
    assert renamed - {("customer", "stranger", *strangers)} == {
        ("customer", "known-1", pseudonyms["known-1"]),
        ("customer", "known-2", pseudonyms["known-2"]),
        ("operator", "known-1", "known-1"),
        ("system", "system:drafting", "system:drafting"),
    }
    assert strangers.isdisjoint(pseudonyms.values())
    with pytest.raises(IntegrityError, match="append-only"):
        move(None, "UPDATE cairnloop.audit_entries SET action = 'x'")

    (back,) = move(migrations.downgrade, ENTRIES, from_=4, to=3)
    assert [entry[6] for entry in back if entry[6] not in strangers] == [
        entry[6] for entry in before if entry[6] != "stranger"
    ]
    with pytest.raises(IntegrityError, match="append-only"):
        move(None, "DELETE FROM cairnloop.audit_entries")


def test_a_process_of_the_version_before_goes_on_writing(move: Any) -> None:
    move(migrations.upgrade, from_=0, to=4)
    (_, rows) = move(
        None,
        "INSERT INTO cairnloop.customers (ref, created_at, last_seen_at) VALUES ('c-1', now(), now())",
        "SELECT left(pseudonym, 10), forgotten_at FROM cairnloop.customers",
    )
    assert rows == [("pseudonym-", None)]
