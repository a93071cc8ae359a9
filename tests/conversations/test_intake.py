"""The one statement by which a customer goes on with their conversation: short, in its place, and all or nothing."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from flask import Flask
from sqlalchemy import Engine, event, select
from sqlalchemy.orm import Session

from flask_cairnloop import Customer, Operator, add_note, receive, reply, resolve
from flask_cairnloop.actors import Actor, ActorKind
from flask_cairnloop.audit.models import AuditEntry
from flask_cairnloop.conversations.models import (
    Conversation,
    ConversationStatus,
    CustomerRecord,
    EventName,
    Message,
    MessageKind,
)
from flask_cairnloop.conversations.news import news
from flask_cairnloop.drafting.models import Draft, DraftState
from flask_cairnloop.errors import NotFound
from flask_cairnloop.hooks import AuditInfo
from tests.support.databases import blocked
from tests.support.processes import wait_until

MINA = Actor.operator(Operator("mina", "Mina Keller"))
MOST = 4096  # characters of a statement up to which psycopg keeps what it has found out about it


@contextmanager
def statements(app: Flask) -> Iterator[list[str]]:
    """What is sent to the database meanwhile."""
    with app.app_context():
        engine: Engine = app.extensions["sqlalchemy"].engine
    sent: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
        sent.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    try:
        yield sent
    finally:
        event.remove(engine, "before_cursor_execute", note)


@pytest.fixture
def conversation_id(session: Session, customer: Customer) -> int:
    """An open conversation for whose first words a draft is being made."""
    message = receive(session, customer=customer, body="Hello there", channel="widget")
    session.commit()
    return message.conversation_id


def transcript(session: Session, conversation_id: int) -> list[tuple[int, MessageKind, str]]:
    rows = session.scalars(select(Message).where(Message.conversation_id == conversation_id).order_by(Message.sequence))
    return [(row.sequence, row.kind, row.body) for row in rows]


def drafts(session: Session, conversation_id: int) -> list[tuple[DraftState, int]]:
    rows = session.scalars(select(Draft).where(Draft.conversation_id == conversation_id).order_by(Draft.id))
    return [(row.state, row.answers_sequence) for row in rows]


def test_going_on_is_one_statement_and_one_more_for_whoever_wants_the_row(
    app: Flask, session: Session, customer: Customer, conversation_id: int
) -> None:
    with statements(app) as sent:
        receive(session, customer=customer, body="And this", channel="widget", conversation_id=conversation_id)
        session.commit()
    assert [statement.split()[0] for statement in sent] == ["WITH", "SELECT"]
    assert len(sent[0]) < MOST


def test_what_is_written_and_returned_is_the_whole_of_it(
    session: Session, customer: Customer, conversation_id: int
) -> None:
    held = session.get_one(Conversation, conversation_id)  # an object of the host's, from before
    renamed = Customer(customer.ref, "Cleo Stone")
    client_id = uuid.uuid4()
    message = receive(
        session, customer=renamed, body=" And\n this ", channel="e-mail", conversation_id=held.id, client_id=client_id
    )
    assert message.conversation is held
    assert (held.last_sequence, held.last_customer_sequence, held.preview) == (2, 2, "And this")
    assert (held.last_message_kind, held.last_author_name) == (MessageKind.CUSTOMER, "Cleo Stone")
    assert held.last_message_at == held.last_spoken_at == message.created_at
    assert held.waiting_since is not None
    assert held.waiting_since < message.created_at  # since the first of the two
    assert (message.sequence, message.body, message.author_name) == (2, "And\n this", "Cleo Stone")
    assert (message.author_id, message.client_id, message.data) == (customer.ref, client_id, {})
    person = session.scalars(select(CustomerRecord).where(CustomerRecord.ref == customer.ref)).one()
    assert (person.name, person.email, person.last_seen_at) == ("Cleo Stone", customer.email, message.created_at)
    entry = session.scalars(
        select(AuditEntry).where(AuditEntry.subject_id == held.id, AuditEntry.action == "message.receive")
    ).all()[-1]
    assert (entry.actor_id, entry.subject_type, entry.data) == (person.pseudonym, "conversation", {"sequence": 2})
    assert drafts(session, held.id) == [(DraftState.GENERATING, 2)]


def test_a_host_that_connects_by_another_driver_is_served_alike(
    app: Flask, session: Session, customer: Customer, conversation_id: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app.extensions["sqlalchemy"].engine.dialect, "driver", "another")
    client_id = uuid.uuid4()
    message = receive(
        session,
        customer=customer,
        body="And this",
        channel="widget",
        conversation_id=conversation_id,
        client_id=client_id,
    )
    assert (message.sequence, message.client_id) == (2, client_id)
    assert drafts(session, conversation_id) == [(DraftState.GENERATING, 2)]
    found = news(session, customer.ref, conversation_id, after=1, limit=10)
    assert [(said.kind, said.body, said.author_kind) for said in found.messages] == [
        (MessageKind.CUSTOMER, "And this", ActorKind.CUSTOMER)
    ]


def test_what_is_new_is_the_customers_to_see_in_order_and_nobody_elses(
    session: Session, customer: Customer, conversation_id: int
) -> None:
    add_note(session, conversation_id, actor=MINA, body="For us")
    reply(session, conversation_id, actor=MINA, body="On it")
    resolve(session, conversation_id, actor=MINA)
    found = news(session, customer.ref, conversation_id, after=0, limit=10)
    assert [(said.sequence, said.kind, said.event) for said in found.messages] == [
        (1, MessageKind.CUSTOMER, None),
        (3, MessageKind.REPLY, None),
        (4, MessageKind.EVENT, EventName.RESOLVED),
    ]
    assert (found.status, found.waiting_since, found.rating) == (ConversationStatus.RESOLVED, None, None)
    nothing = news(session, customer.ref, conversation_id, after=4, limit=10)
    assert (nothing.status, nothing.messages) == (ConversationStatus.RESOLVED, [])
    assert [said.sequence for said in news(session, customer.ref, conversation_id, after=1, limit=1).messages] == [3]
    with pytest.raises(NotFound):
        news(session, "stranger", conversation_id, after=0, limit=10)


def test_resends_at_once_make_one_message_and_no_gap(
    app: Flask, session: Session, customer: Customer, conversation_id: int
) -> None:
    client_id, found = uuid.uuid4(), []

    def send() -> None:
        with app.app_context():
            own = app.extensions["sqlalchemy"].session
            found.append(
                receive(
                    own,
                    customer=customer,
                    body="Twice?",
                    channel="widget",
                    conversation_id=conversation_id,
                    client_id=client_id,
                ).sequence
            )
            own.commit()

    threads = [threading.Thread(target=send) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [2] * 6
    receive(session, customer=customer, body="Once more", channel="widget", conversation_id=conversation_id)
    assert [sequence for sequence, _, _ in transcript(session, conversation_id)] == [1, 2, 3]


def test_words_that_had_to_wait_for_a_reply_come_after_it_and_get_a_draft_of_their_own(
    app: Flask, session: Session, customer: Customer, conversation_id: int, database_url: str
) -> None:
    def write() -> None:
        with app.app_context():
            own = app.extensions["sqlalchemy"].session
            receive(own, customer=customer, body="Wait", channel="widget", conversation_id=conversation_id)
            own.commit()

    reply(session, conversation_id, actor=MINA, body="On it")
    thread = threading.Thread(target=write)
    thread.start()
    wait_until(lambda: blocked(database_url))
    session.commit()
    thread.join()
    assert transcript(session, conversation_id)[1:] == [
        (2, MessageKind.REPLY, "On it"),
        (3, MessageKind.CUSTOMER, "Wait"),
    ]
    assert session.get_one(Conversation, conversation_id).last_sequence == 3
    assert drafts(session, conversation_id) == [(DraftState.SUPERSEDED, 1), (DraftState.GENERATING, 3)]


def test_the_hosts_auditor_sees_the_entry_and_may_take_everything_back(
    make_app: Callable[..., Flask], customer: Customer
) -> None:
    seen: list[AuditInfo] = []

    def auditor(session: Session, entry: AuditInfo) -> None:
        assert session.get_one(AuditEntry, entry.id).action == entry.action
        seen.append(entry)
        if entry.data.get("sequence") == 3:
            raise PermissionError("Not today")

    with make_app(AUDITOR=auditor).app_context() as context:
        session = context.app.extensions["sqlalchemy"].session
        first = receive(session, customer=customer, body="One", channel="widget")
        named = {"customer": customer, "channel": "widget", "conversation_id": first.conversation_id}
        receive(session, body="Two", **named)
        session.commit()
        with pytest.raises(PermissionError):
            receive(session, body="Three", **named)
        session.rollback()
        assert [body for _, _, body in transcript(session, first.conversation_id)] == ["One", "Two"]
        person = session.scalars(select(CustomerRecord).where(CustomerRecord.ref == customer.ref)).one()
        session.remove()
    received = [entry for entry in seen if entry.action == "message.receive"]
    assert [entry.data["sequence"] for entry in received] == [1, 2, 3]
    assert {entry.actor_id for entry in received} == {person.pseudonym}
