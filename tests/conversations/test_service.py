"""Conversations: every word in order, once, owned, and with its audit row."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from datetime import timedelta

import pytest
from flask import Flask
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select
from sqlalchemy.orm import Session

from flask_cairnloop import (
    Customer,
    Operator,
    add_note,
    assign,
    clock,
    open_conversation,
    receive,
    reopen,
    reply,
    resolve,
)
from flask_cairnloop.actors import Actor
from flask_cairnloop.audit.models import AuditEntry
from flask_cairnloop.conversations import service
from flask_cairnloop.conversations.models import (
    Conversation,
    ConversationStatus,
    CustomerRecord,
    EventName,
    Message,
    MessageKind,
    Rating,
)
from flask_cairnloop.errors import CairnloopError, IllegalTransition, InvalidInput, NotFound, StaleConversation
from flask_cairnloop.testing import enqueued, frozen, run_jobs
from tests.support.databases import blocked
from tests.support.processes import wait_until

MINA = Actor.operator(Operator("mina", "Mina Keller"))


def ask(session: Session, customer: Customer, body: str = "Hello there", **keys: object) -> Conversation:
    message = receive(session, customer=customer, body=body, channel="widget", **keys)  # type: ignore[arg-type]
    session.commit()
    return session.get_one(Conversation, message.conversation_id)


def transcript(session: Session, conversation_id: int) -> list[tuple[int, MessageKind, str]]:
    rows = session.scalars(select(Message).where(Message.conversation_id == conversation_id).order_by(Message.sequence))
    return [(row.sequence, row.kind, row.body) for row in rows]


def test_a_first_message_opens_a_conversation_that_waits_on_us(session: Session, customer: Customer) -> None:
    conversation = ask(session, customer, "  My invoice is wrong.\nIt says 40 instead of 30.  ")
    assert conversation.subject == "My invoice is wrong."
    assert conversation.status is ConversationStatus.OPEN
    assert conversation.waiting_since is not None
    assert conversation.preview == "My invoice is wrong. It says 40 instead of 30."
    actions = session.scalars(
        select(AuditEntry.action).where(AuditEntry.subject_id == conversation.id).order_by(AuditEntry.id)
    ).all()
    assert {"conversation.open", "message.receive"} <= set(actions)


@pytest.mark.parametrize("kind", ["actor", "operator", "customer"])
def test_whoever_acts_may_be_named_as_the_host_knows_them(session: Session, customer: Customer, kind: str) -> None:
    omar = Operator("omar", "Omar Reyes")
    who = {"actor": Actor.operator(omar), "operator": omar, "customer": customer}[kind]
    expected = Actor.customer(customer) if kind == "customer" else Actor.operator(omar)
    audited = expected.id
    conversation = open_conversation(session, customer=customer, actor=who, subject="Shoes")
    messages = [
        reply(session, conversation.id, actor=who, body="A word."),
        add_note(session, conversation.id, actor=who, body="A note."),
    ]
    resolve(session, conversation.id, actor=who)
    reopen(session, conversation.id, actor=who)
    assign(session, conversation.id, actor=who, assignee=omar)
    assert {(m.author_kind, m.author_id, m.author_name) for m in messages} == {
        (expected.kind, expected.id, expected.name)
    }
    entries = session.scalars(
        select(AuditEntry).where(AuditEntry.subject_type == "conversation", AuditEntry.subject_id == conversation.id)
    ).all()
    if kind == "customer":  # in the log under a pseudonym: see the privacy room
        audited = session.get_one(CustomerRecord, conversation.customer_id).pseudonym
        assert audited.startswith("pseudonym-")
    assert [(entry.actor_kind, entry.actor_id) for entry in entries] == [(expected.kind, audited)] * 6


def test_nobody_is_no_actor(session: Session, customer: Customer) -> None:
    conversation = ask(session, customer)
    with pytest.raises(TypeError, match="an Operator or a Customer"):
        reply(session, conversation.id, actor="mina", body="A word.")  # type: ignore[arg-type]


def test_a_resend_changes_nothing(session: Session, customer: Customer) -> None:
    client_id = uuid.uuid4()
    first = ask(session, customer, client_id=client_id)
    second = ask(session, customer, client_id=client_id)
    assert second.id == first.id
    assert len(transcript(session, first.id)) == 1


def test_resends_at_once_make_one_message(app: Flask, session: Session, customer: Customer) -> None:
    client_id = uuid.uuid4()

    def send() -> None:
        with app.app_context():
            own = app.extensions["sqlalchemy"].session
            receive(own, customer=customer, body="Twice?", channel="widget", client_id=client_id)
            own.commit()

    threads = [threading.Thread(target=send) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(session.scalars(select(Message.id).where(Message.client_id == client_id)).all()) == 1


def follow(app: Flask, database_url: str, session: Session, customer: Customer, **keys: object) -> tuple[int, int]:
    """Two messages at once: the second comes while the first is not committed. Returns their conversations."""
    found: list[int] = []

    def second() -> None:
        with app.app_context():
            own = app.extensions["sqlalchemy"].session
            found.append(ask(own, customer, "And me", resume=True, **keys).id)

    first = receive(session, customer=customer, body="Me", channel="widget", resume=True, **keys)  # type: ignore[arg-type]
    thread = threading.Thread(target=second)
    thread.start()
    wait_until(lambda: blocked(database_url))
    session.commit()
    thread.join()
    return first.conversation_id, found[0]


def test_two_first_messages_at_once_are_one_conversation(
    app: Flask, session: Session, customer: Customer, database_url: str
) -> None:
    first, second = follow(app, database_url, session, customer)
    assert first == second
    assert [body for _, _, body in transcript(session, first)] == ["Me", "And me"]


def test_two_messages_at_once_to_a_conversation_past_its_window_open_one_new_one(
    app: Flask, session: Session, customer: Customer, database_url: str
) -> None:
    old = ask(session, customer)
    resolve(session, old.id, actor=MINA)
    session.commit()
    with frozen(clock.now() + timedelta(days=15)):
        first, second = follow(app, database_url, session, customer, conversation_id=old.id)
    assert first == second != old.id


def test_a_message_resumes_only_where_that_was_asked_for(session: Session, customer: Customer) -> None:
    first = ask(session, customer)
    assert ask(session, customer, "Another matter").id != first.id
    reply(session, first.id, actor=MINA, body="On it")
    session.commit()
    assert ask(session, customer, "Thanks", resume=True).id == first.id


def test_sequences_have_no_gap_and_no_double_under_concurrency(
    app: Flask, session: Session, customer: Customer
) -> None:
    conversation_id = ask(session, customer).id

    def write(number: int) -> None:
        with app.app_context():
            own = app.extensions["sqlalchemy"].session
            for turn in range(5):
                add_note(own, conversation_id, actor=MINA, body=f"{number}.{turn}")
                own.rollback() if turn == 2 else own.commit()

    threads = [threading.Thread(target=write, args=(number,)) for number in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    session.rollback()
    assert [sequence for sequence, _, _ in transcript(session, conversation_id)] == list(range(1, 22))


def test_somebody_elses_conversation_is_not_there(session: Session, customer: Customer) -> None:
    conversation = ask(session, customer)
    stranger = Customer("stranger")
    for attempt in (
        lambda: receive(session, customer=stranger, body="Hi", channel="widget", conversation_id=conversation.id),
        lambda: service.customer_messages(session, "stranger", conversation.id),
        lambda: service.mark_seen(session, "stranger", conversation.id, 1),
        lambda: service.rate(session, customer=stranger, conversation_id=conversation.id, rating=5),
    ):
        with pytest.raises(NotFound):
            attempt()
        session.rollback()


@pytest.mark.parametrize("body", ["", "   \n ", "\x00", "x" * 10_001])
def test_bodies_that_do_not_fit_change_nothing(session: Session, customer: Customer, body: str) -> None:
    with pytest.raises(InvalidInput):
        receive(session, customer=customer, body=body, channel="widget")
    session.rollback()
    assert service.resumable(session, customer.ref) is None


@pytest.mark.parametrize("ref", ["", "  ", "x" * 201, "a\x00b"])
def test_a_customer_without_a_fitting_reference_is_refused(session: Session, ref: str) -> None:
    for begin in (
        lambda: receive(session, customer=Customer(ref), body="Hi", channel="widget"),
        lambda: open_conversation(session, customer=Customer(ref), actor=MINA, subject="Your trial ends"),
    ):
        with pytest.raises(InvalidInput) as refused:
            begin()
        assert refused.value.field == "customer"


@pytest.mark.parametrize("channel", ["", "c" * 21, "a\x00b"])
def test_a_channel_without_a_fitting_name_is_refused(session: Session, customer: Customer, channel: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        receive(session, customer=customer, body="Hi", channel=channel)
    assert refused.value.field == "channel"


def test_what_a_row_cannot_hold_of_names_and_subjects_is_left_out(session: Session) -> None:
    customer = Customer(f"odd-{uuid.uuid4().hex}", "Cl\x00eo" + "o" * 300, "cleo@\x00x.example", "\x00")
    conversation = ask(session, customer, subject="My\x00 key")
    person = session.get_one(CustomerRecord, conversation.customer_id)
    assert conversation.subject == "My key"
    assert (person.name, person.email, person.organization) == ("Cleo" + "o" * 196, "cleo@x.example", None)
    assert ask(session, customer, "It is stuck", subject=" \x00 ").subject == "It is stuck"
    long_named = Actor.operator(Operator("mina", "\x00" + "N" * 201))
    assert reply(session, conversation.id, actor=long_named, body="Turn it").author_name == "N" * 200
    assign(session, conversation.id, actor=MINA, assignee=Operator("omar", "O" * 201))
    session.commit()
    assert conversation.assignee_name == "O" * 200


def test_an_actors_id_has_to_fit() -> None:
    for unfit in ("", " ", "x" * 201, "a\x00b"):
        with pytest.raises(ValueError, match="id"):
            Actor.operator(Operator(unfit, "Mina"))


def test_a_reply_ends_the_waiting_and_reaches_the_customer_but_a_note_does_neither(
    session: Session, customer: Customer
) -> None:
    conversation = ask(session, customer)
    add_note(session, conversation.id, actor=MINA, body="Looks like a refund")
    session.commit()
    assert conversation.waiting_since is not None
    reply(session, conversation.id, actor=MINA, body="On it")
    session.commit()
    assert conversation.waiting_since is None
    assert [m.body for m in service.customer_messages(session, customer.ref, conversation.id)] == [
        "Hello there",
        "On it",
    ]


def test_an_operators_double_click_sends_one_reply(session: Session, customer: Customer) -> None:
    conversation = ask(session, customer)
    client_id = uuid.uuid4()
    for _ in range(2):
        reply(session, conversation.id, actor=MINA, body="Once", client_id=client_id)
        session.commit()
    assert [body for _, kind, body in transcript(session, conversation.id) if kind is MessageKind.REPLY] == ["Once"]


def test_the_same_id_elsewhere_or_on_a_note_is_another_message(session: Session, customer: Customer) -> None:
    here, there = ask(session, customer), ask(session, Customer(f"other-{customer.ref}"))
    client_id = uuid.uuid4()

    def say() -> list[tuple[int, MessageKind, str]]:
        said = (
            reply(session, here.id, actor=MINA, body="To you", client_id=client_id),
            reply(session, there.id, actor=MINA, body="To you too", client_id=client_id),
            add_note(session, here.id, actor=MINA, body="For us", client_id=client_id),
        )
        session.commit()
        return [(message.conversation_id, message.kind, message.body) for message in said]

    first = say()
    assert first == [
        (here.id, MessageKind.REPLY, "To you"),
        (there.id, MessageKind.REPLY, "To you too"),
        (here.id, MessageKind.NOTE, "For us"),
    ]
    assert say() == first
    assert len(transcript(session, here.id)) == 3


def test_a_reply_to_words_that_are_no_longer_the_newest_is_held(session: Session, customer: Customer) -> None:
    conversation = ask(session, customer)
    ask(session, customer, "Oh wait, it works now", conversation_id=conversation.id)
    with pytest.raises(StaleConversation) as stale:
        reply(session, conversation.id, actor=MINA, body="Try again", seen=1)
    assert (stale.value.seen, stale.value.newest) == (1, 2)
    session.rollback()
    reply(session, conversation.id, actor=MINA, body="Good to hear", seen=2)


def test_resolving_twice_or_reopening_an_open_one_is_refused(session: Session, customer: Customer) -> None:
    conversation = ask(session, customer)
    with pytest.raises(IllegalTransition):
        reopen(session, conversation.id, actor=MINA)
    session.rollback()
    resolve(session, conversation.id, actor=MINA)
    session.commit()
    with pytest.raises(IllegalTransition):
        resolve(session, conversation.id, actor=MINA)
    session.rollback()
    assert [kind for _, kind, _ in transcript(session, conversation.id)].count(MessageKind.EVENT) == 1


def test_a_refused_resolve_leaves_nothing_behind_for_the_hosts_own_commit(session: Session, customer: Customer) -> None:
    conversation = ask(session, customer)
    ask(session, customer, "Wait", conversation_id=conversation.id)
    with pytest.raises(StaleConversation):
        resolve(session, conversation.id, actor=MINA, seen=1)
    session.commit()
    assert conversation.status is ConversationStatus.OPEN


def test_a_host_that_knows_less_takes_nothing_away(session: Session, customer: Customer) -> None:
    ask(session, customer)
    conversation = ask(session, Customer(customer.ref))
    person = session.get_one(CustomerRecord, conversation.customer_id)
    assert (person.name, person.email) == (customer.name, customer.email)


def test_the_customer_reopens_inside_the_window_and_starts_anew_after_it(session: Session, customer: Customer) -> None:
    conversation = ask(session, customer)
    resolve(session, conversation.id, actor=MINA)
    session.commit()
    again = ask(session, customer, "One more thing", conversation_id=conversation.id)
    assert again.id == conversation.id
    assert again.status is ConversationStatus.OPEN
    resolve(session, conversation.id, actor=MINA)
    session.commit()
    with frozen(clock.now() + timedelta(days=15)):
        assert service.resumable(session, customer.ref) is None
        later = ask(session, customer, "Hello again", conversation_id=conversation.id)
    assert later.id != conversation.id


def test_a_note_does_not_move_the_customer_to_another_conversation(session: Session, customer: Customer) -> None:
    old = ask(session, customer, "The old matter")
    resolve(session, old.id, actor=MINA)
    session.commit()
    start = clock.now()
    with frozen(start + timedelta(hours=1)):
        new = ask(session, customer, "A new matter")
    with frozen(start + timedelta(hours=2)):
        add_note(session, old.id, actor=MINA, body="Only for us")
        session.commit()
        found = service.resumable(session, customer.ref)
        assert found is not None
        assert found.id == new.id
    assert old.last_message_at == start + timedelta(hours=2)  # in the inbox it is the newest


def test_a_note_does_not_lengthen_the_window_in_which_a_conversation_is_resumed(
    session: Session, customer: Customer
) -> None:
    conversation = ask(session, customer)
    resolve(session, conversation.id, actor=MINA)
    session.commit()
    start = clock.now()
    with frozen(start + timedelta(days=13)):
        add_note(session, conversation.id, actor=MINA, body="Only for us")
        session.commit()
    with frozen(start + timedelta(days=15)):
        assert service.resumable(session, customer.ref) is None
        assert ask(session, customer, "Hello again", conversation_id=conversation.id).id != conversation.id


def test_a_reply_lengthens_the_window_in_which_a_conversation_is_resumed(session: Session, customer: Customer) -> None:
    conversation = ask(session, customer)
    start = clock.now()
    with frozen(start + timedelta(days=13)):
        reply(session, conversation.id, actor=MINA, body="Here is how")
        resolve(session, conversation.id, actor=MINA)
        session.commit()
    with frozen(start + timedelta(days=20)):
        assert service.resumable(session, customer.ref) is not None


def test_a_reply_to_a_resolved_conversation_reopens_it(session: Session, customer: Customer) -> None:
    conversation = ask(session, customer)
    resolve(session, conversation.id, actor=MINA)
    reply(session, conversation.id, actor=MINA, body="One more thing from us")
    session.commit()
    assert conversation.status is ConversationStatus.OPEN


def test_only_a_resolved_conversation_is_rated(session: Session, customer: Customer) -> None:
    conversation = ask(session, customer)
    with pytest.raises(IllegalTransition):
        service.rate(session, customer=customer, conversation_id=conversation.id, rating=5)
    session.rollback()
    resolve(session, conversation.id, actor=MINA)
    with pytest.raises(InvalidInput):
        service.rate(session, customer=customer, conversation_id=conversation.id, rating=6)
    service.rate(session, customer=customer, conversation_id=conversation.id, rating=4, comment="  Quick ")
    session.commit()
    kept = session.scalars(select(Rating).where(Rating.conversation_id == conversation.id)).one()
    assert (conversation.rating, kept.score, kept.comment) == (4, 4, "Quick")


def test_assigning_leaves_a_line_and_repeating_it_does_not(session: Session, customer: Customer) -> None:
    conversation = ask(session, customer)
    for _ in range(2):
        assign(session, conversation.id, actor=MINA, assignee=Operator("omar", "Omar Reyes"))
    session.commit()
    events = session.scalars(select(Message.event).where(Message.conversation_id == conversation.id)).all()
    assert events.count(EventName.ASSIGNED) == 1


def test_a_conversation_of_ours_needs_a_subject(session: Session, customer: Customer) -> None:
    with pytest.raises(InvalidInput):
        open_conversation(session, customer=customer, actor=MINA, subject=" ")
    opened = open_conversation(session, customer=customer, actor=MINA, subject="Your trial ends")
    assert opened.waiting_since is None


def test_seen_only_goes_forward_and_not_past_the_end(session: Session, customer: Customer) -> None:
    conversation = ask(session, customer)
    for cursor in (99, 0):
        service.mark_seen(session, customer.ref, conversation.id, cursor)
        session.commit()
        assert conversation.customer_seen == 1


def test_the_host_is_told_of_a_resolution_under_one_key_over_all_retries(
    make_app: Callable[..., Flask], customer: Customer
) -> None:
    keys: list[str] = []

    def told(event) -> None:  # type: ignore[no-untyped-def]
        keys.append(event.key)
        if len(keys) == 1:
            raise RuntimeError("the host is busy")

    app = make_app(ON_CONVERSATION_RESOLVED=told)
    with app.app_context():
        session = app.extensions["sqlalchemy"].session
        conversation_id = ask(session, customer).id
        resolve(session, conversation_id, actor=MINA)
        session.commit()
        assert ("conversations.tell_resolved") in [name for name, _ in enqueued(app)]
        session.remove()
    run_jobs(app)
    assert len(keys) == 2
    assert len(set(keys)) == 1


STEPS = st.lists(
    st.sampled_from(["customer", "reply", "note", "resolve", "reopen", "rate", "assign"]), min_size=1, max_size=14
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_any_order_of_steps_keeps_the_row_true(session: Session, steps: list[str]) -> None:
    """Whatever people do in whatever order: refused steps change nothing, and the row says what the messages say."""
    customer = Customer(f"any-{uuid.uuid4().hex[:10]}")
    conversation = ask(session, customer)
    moves: dict[str, Callable[[], object]] = {
        "customer": lambda: receive(
            session, customer=customer, body="More", channel="widget", conversation_id=conversation.id
        ),
        "reply": lambda: reply(session, conversation.id, actor=MINA, body="Answer"),
        "note": lambda: add_note(session, conversation.id, actor=MINA, body="Note"),
        "resolve": lambda: resolve(session, conversation.id, actor=MINA),
        "reopen": lambda: reopen(session, conversation.id, actor=MINA),
        "rate": lambda: service.rate(session, customer=customer, conversation_id=conversation.id, rating=3),
        "assign": lambda: assign(session, conversation.id, actor=MINA, assignee=None),
    }
    for step in steps:
        try:
            moves[step]()
            session.commit()
        except CairnloopError:
            session.rollback()
    session.refresh(conversation)
    rows = session.scalars(
        select(Message).where(Message.conversation_id == conversation.id).order_by(Message.sequence)
    ).all()
    assert [row.sequence for row in rows] == list(range(1, conversation.last_sequence + 1))
    turns = [row.event or row.kind for row in rows]
    states = [turn for turn in turns if turn in (EventName.RESOLVED, EventName.REOPENED)]
    assert states == [EventName.RESOLVED, EventName.REOPENED] * (len(states) // 2) + states[len(states) // 2 * 2 :]
    resolved = bool(states) and states[-1] is EventName.RESOLVED
    assert (conversation.status is ConversationStatus.RESOLVED) is resolved
    spoken = [turn for turn in turns if turn in (MessageKind.CUSTOMER, MessageKind.REPLY, EventName.RESOLVED)]
    assert (conversation.waiting_since is not None) is (spoken[-1] is MessageKind.CUSTOMER)
    said = [row.created_at for row in rows if row.kind in (MessageKind.CUSTOMER, MessageKind.REPLY)]
    assert conversation.last_spoken_at == said[-1]
