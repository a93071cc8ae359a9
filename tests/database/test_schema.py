"""The schema as migrated, held to the models and to what the database itself refuses."""

from __future__ import annotations

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from flask import Flask
from sqlalchemy import CheckConstraint, MetaData, delete, text, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from flask_cairnloop import Customer, receive
from flask_cairnloop.audit.models import AuditEntry
from flask_cairnloop.conversations.models import Conversation
from flask_cairnloop.database import tables
from flask_cairnloop.drafting.models import Draft
from tests.support.host import HostNote


def test_the_migrations_make_exactly_what_the_models_say(app: Flask) -> None:
    wanted = MetaData()
    for table in tables.metadata.sorted_tables:
        table.to_metadata(wanted, schema="cairnloop", referred_schema_fn=lambda *_: "cairnloop")
    with app.app_context(), app.extensions["sqlalchemy"].engine.connect() as connection:
        context = MigrationContext.configure(
            connection,
            opts={
                "include_schemas": True,
                "compare_type": True,
                "include_name": lambda name, kind, _: kind != "schema" or name == "cairnloop",
            },
        )
        assert compare_metadata(context, wanted) == []
        checks = set(
            connection.scalars(
                text(
                    "SELECT conname FROM pg_constraint c JOIN pg_namespace n ON n.oid = c.connamespace "
                    "WHERE n.nspname = 'cairnloop' AND contype = 'c'"
                )
            )
        )
    modelled = {
        f"ck_{table.name}_{str(constraint.name).removeprefix(f'ck_{table.name}_')}"
        for table in wanted.sorted_tables
        for constraint in table.constraints
        if isinstance(constraint, CheckConstraint)
    }
    assert checks == modelled


def test_the_audit_log_refuses_update_delete_and_truncate(session: Session, customer: Customer) -> None:
    receive(session, customer=customer, body="Hello", channel="widget")
    session.commit()

    for statement in (update(AuditEntry).values(action="x"), delete(AuditEntry)):
        with pytest.raises(IntegrityError, match="append-only"):
            session.execute(statement)
        session.rollback()
    with pytest.raises(IntegrityError, match="append-only"):
        session.execute(text("TRUNCATE cairnloop.audit_entries CASCADE"))
    session.rollback()


def test_states_the_code_does_not_know_are_refused_by_the_database(session: Session, customer: Customer) -> None:
    message = receive(session, customer=customer, body="Hello", channel="widget")
    session.commit()

    for table, column in (("conversations", "status"), ("drafts", "state"), ("jobs", "state"), ("messages", "kind")):
        with pytest.raises(IntegrityError, match="check constraint"):
            session.execute(text(f"UPDATE cairnloop.{table} SET {column} = 'invented'"))
        session.rollback()
    session.add(Draft(conversation_id=message.conversation_id, answers_sequence=1))
    with pytest.raises(IntegrityError, match="uq_drafts_one_open"):
        session.flush()
    session.rollback()


@pytest.mark.parametrize(
    "text_of_draft",
    ["kind = NULL, body = 'Words'", "kind = 'reply', body = ''", "kind = 'clarification', body = ''"],
)
def test_a_ready_draft_is_of_a_kind_and_has_words_unless_it_hands_over(
    session: Session, customer: Customer, text_of_draft: str
) -> None:
    conversation_id = receive(session, customer=customer, body="Hello", channel="widget").conversation_id
    session.commit()

    def become_ready(as_what: str) -> None:
        session.execute(
            text(f"UPDATE cairnloop.drafts SET state = 'ready', {as_what} WHERE conversation_id = :id"),
            {"id": conversation_id},
        )

    with pytest.raises(IntegrityError, match="ck_drafts_text_when_ready"):
        become_ready(text_of_draft)
    session.rollback()
    become_ready("kind = 'escalation', body = ''")
    session.rollback()


@pytest.mark.parametrize("commit", [True, False])
def test_a_host_row_and_a_message_share_one_transaction(
    session: Session, customer: Customer, app: Flask, commit: bool
) -> None:
    session.add(HostNote(body=customer.ref))
    conversation_id = receive(session, customer=customer, body="Both or neither", channel="widget").conversation_id
    if commit:
        session.commit()
    else:
        session.rollback()

    counts = session.execute(
        text(
            "SELECT (SELECT count(*) FROM host_notes WHERE body = :ref),"
            " (SELECT count(*) FROM cairnloop.messages WHERE conversation_id = :id),"
            " (SELECT count(*) FROM cairnloop.jobs WHERE (arguments->>'conversation_id')::bigint = :id)"
        ),
        {"ref": customer.ref, "id": conversation_id},
    ).one()
    assert tuple(counts) == ((1, 1, 1) if commit else (0, 0, 0))
    assert (session.get(Conversation, conversation_id) is not None) is commit
