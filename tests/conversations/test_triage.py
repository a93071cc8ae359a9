"""Sorting the queue: claims, snoozes, tags, urgency and spam, as rows and rules hold them."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from datetime import timedelta

import pytest
from flask import Flask
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from flask_cairnloop import Customer, Operator, assign, receive, reopen, reply, resolve
from flask_cairnloop.actors import Actor
from flask_cairnloop.audit.models import AuditEntry
from flask_cairnloop.channels.widget.protocol import status_frame
from flask_cairnloop.clock import now
from flask_cairnloop.conversations import triage
from flask_cairnloop.conversations.models import (
    Conversation,
    ConversationStatus,
    ConversationTag,
    EventName,
    Message,
    MessageKind,
    Priority,
)
from flask_cairnloop.conversations.news import news, shown_status
from flask_cairnloop.drafting.service import open_draft
from flask_cairnloop.errors import CairnloopError, IllegalTransition, InvalidInput, StaleConversation, Taken
from flask_cairnloop.privacy.service import forget
from flask_cairnloop.testing import enqueued, frozen, run_jobs

MINA, OMAR = Operator("mina", "Mina Keller"), Operator("omar", "Omar Reyes", teams=frozenset({"Billing"}))


def ask(session: Session, customer: Customer | None = None, body: str = "Hello there") -> Conversation:
    customer = customer or Customer(f"c-{uuid.uuid4().hex[:10]}")
    message = receive(session, customer=customer, body=body, channel="widget")
    session.commit()
    return session.get_one(Conversation, message.conversation_id)


def events(session: Session, conversation: Conversation) -> list[EventName | None]:
    wanted = select(Message.event).where(Message.conversation_id == conversation.id, Message.event.is_not(None))
    return list(session.scalars(wanted.order_by(Message.sequence)))


# --- who has it ---


def test_of_two_who_take_one_conversation_at_once_one_wins_and_the_other_is_told_who(app: Flask) -> None:
    with app.app_context():
        conversation_id = ask(app.extensions["sqlalchemy"].session()).id
    start, outcomes = threading.Barrier(2), {}

    def take(who: Operator) -> None:
        with app.app_context():
            session = app.extensions["sqlalchemy"].session()
            start.wait()
            try:
                triage.claim(session, conversation_id, operator=who)
                session.commit()
                outcomes[who.id] = "won"
            except Taken as taken:
                session.rollback()
                outcomes[who.id] = taken.holder_name or ""

    threads = [threading.Thread(target=take, args=(who,)) for who in (MINA, OMAR)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    winner = next(id_ for id_, outcome in outcomes.items() if outcome == "won")
    loser = ({"mina", "omar"} - {winner}).pop()
    assert outcomes[loser] == {"mina": "Mina Keller", "omar": "Omar Reyes"}[winner]


def test_a_hand_over_counts_only_from_whom_it_was_seen_with(session: Session) -> None:
    conversation = ask(session)
    triage.claim(session, conversation.id, operator=MINA)
    triage.claim(session, conversation.id, operator=MINA)  # her own again: nothing to say
    with pytest.raises(Taken, match="Mina Keller has it already"):
        triage.reassign(session, conversation.id, actor=OMAR, assignee=OMAR, had=None)
    triage.reassign(session, conversation.id, actor=OMAR, assignee=OMAR, had="mina")
    with pytest.raises(Taken):
        triage.reassign(session, conversation.id, actor=MINA, assignee=None, had="mina")
    assert conversation.assignee_id == "omar"
    assert events(session, conversation) == [EventName.ASSIGNED] * 2


def test_turns_go_round_up_to_the_limit_and_by_team(make_app: Callable[..., Flask]) -> None:
    app = make_app(OPERATORS=lambda _query: [MINA, OMAR], AUTO_ASSIGN="arrival", ASSIGN_LIMIT=2)
    with app.app_context():
        session = app.extensions["sqlalchemy"].session()
        session.execute(text("UPDATE cairnloop.conversations SET assignee_id = NULL"))
        made = [ask(session) for _ in range(5)]
        session.commit()
        ids = [one.id for one in made]
        session.close()
    run_jobs(app)
    with app.app_context():
        session = app.extensions["sqlalchemy"].session()
        have = [session.get_one(Conversation, id_).assignee_id for id_ in ids]
        assert sorted(have[:4]) == ["mina", "mina", "omar", "omar"]
        assert have[0] != have[1]
        assert have[4] is None
        for_billing = triage.candidates(session, [MINA, OMAR], team="Billing", limit=0)
        assert [one.id for one in for_billing] == ["omar"]


def test_whoever_answers_first_has_it_where_the_host_wants_that(make_app: Callable[..., Flask]) -> None:
    for rule, expected in (("off", None), ("first_reply", "mina")):
        app = make_app(AUTO_ASSIGN=rule)
        with app.app_context():
            session = app.extensions["sqlalchemy"].session()
            conversation = ask(session)
            reply(session, conversation.id, actor=MINA, body="Here.")
            assert conversation.assignee_id == expected


# --- when it comes back ---


def test_a_snooze_ends_at_its_time_and_waits_on_us_then(app: Flask, session: Session) -> None:
    conversation = ask(session)
    reply(session, conversation.id, actor=MINA, body="I look after it tomorrow.")
    until = now() + timedelta(hours=3)
    triage.snooze(session, conversation.id, actor=MINA, until=until)
    session.commit()
    assert ("conversations.wake", {"conversation_id": conversation.id, "until": until.isoformat()}) in enqueued(app)
    with frozen(until - timedelta(minutes=5)):
        run_jobs(app)
    session.expire_all()
    assert conversation.snoozed_until == until
    session.rollback()
    with frozen(until + timedelta(seconds=1)):
        run_jobs(app)
    session.expire_all()
    assert conversation.snoozed_until is None
    assert conversation.waiting_since == until + timedelta(seconds=1)
    assert events(session, conversation) == [EventName.SNOOZED, EventName.WOKEN]


def test_a_snooze_that_was_moved_is_not_ended_early(app: Flask, session: Session) -> None:
    conversation = ask(session)
    soon, late = now() + timedelta(hours=1), now() + timedelta(days=2)
    triage.snooze(session, conversation.id, actor=MINA, until=soon)
    triage.snooze(session, conversation.id, actor=OMAR, until=late)
    session.commit()
    triage.wake(session, conversation.id, actor=Actor.system("wake"), until=soon)
    assert conversation.snoozed_until == late


def test_the_customers_words_end_a_snooze_and_keep_since_when_they_wait(session: Session, customer: Customer) -> None:
    conversation = ask(session, customer)
    since = conversation.waiting_since
    triage.snooze(session, conversation.id, actor=MINA, until=now() + timedelta(days=1))
    session.commit()
    assert conversation.waiting_since == since
    receive(session, customer=customer, body="Hello?", channel="widget", conversation_id=conversation.id)
    session.commit()
    session.refresh(conversation)
    assert (conversation.snoozed_until, conversation.waiting_since) == (None, since)


def test_what_is_over_is_not_snoozed_and_a_resolution_ends_a_snooze(session: Session) -> None:
    conversation = ask(session)
    triage.snooze(session, conversation.id, actor=MINA, until=now() + timedelta(days=1))
    resolve(session, conversation.id, actor=MINA)
    assert conversation.snoozed_until is None
    with pytest.raises(IllegalTransition):
        triage.snooze(session, conversation.id, actor=MINA, until=now() + timedelta(days=1))


@pytest.mark.parametrize("away", [timedelta(0), timedelta(days=-1), timedelta(days=400)])
def test_a_snooze_is_for_a_time_to_come_within_a_year(session: Session, away: timedelta) -> None:
    conversation = ask(session)
    with pytest.raises(InvalidInput):
        triage.snooze(session, conversation.id, actor=MINA, until=now() + away)


def test_a_snooze_over_words_that_were_not_seen_is_refused(session: Session) -> None:
    conversation = ask(session)
    with pytest.raises(StaleConversation):
        triage.snooze(session, conversation.id, actor=MINA, until=now() + timedelta(days=1), seen=0)


# --- what about, how urgent ---


def test_a_tag_is_one_word_however_it_is_written_and_logs_know_its_number_only(session: Session) -> None:
    conversation = ask(session)
    tag = triage.tag_named(session, "  Late   refund ")
    assert triage.tag_named(session, "late REFUND").id == tag.id
    assert triage.tag(session, conversation.id, actor=MINA, tag_id=tag.id)
    assert not triage.tag(session, conversation.id, actor=MINA, tag_id=tag.id)
    assert [found.name for found in triage.tags_of(session, [conversation.id])[conversation.id]] == ["Late refund"]
    assert triage.untag(session, conversation.id, actor=MINA, tag_id=tag.id)
    session.commit()
    logged = session.scalars(select(AuditEntry).where(AuditEntry.subject_id == conversation.id)).all()
    tagged = [entry.data for entry in logged if entry.action in ("conversation.tag", "conversation.untag")]
    assert tagged == [{"tag_id": tag.id}] * 2
    assert not any("refund" in str(entry.data).lower() for entry in logged)


@pytest.mark.parametrize("name", ["", "  ", "x" * 41, "\x07"])
def test_what_is_no_tag_is_refused(session: Session, name: str) -> None:
    with pytest.raises(InvalidInput):
        triage.tag_named(session, name)


def test_tags_go_with_the_customer(session: Session, customer: Customer) -> None:
    conversation = ask(session, customer)
    triage.tag(session, conversation.id, actor=MINA, tag_id=triage.tag_named(session, "Parcel").id)
    session.commit()
    forget(session, customer.ref, actor=MINA)
    session.commit()
    assert (
        session.scalars(select(ConversationTag).where(ConversationTag.conversation_id == conversation.id)).all() == []
    )


def test_urgency_is_written_down_once(session: Session) -> None:
    conversation = ask(session)
    for _ in range(2):
        triage.set_priority(session, conversation.id, actor=MINA, priority=Priority.URGENT)
    assert conversation.priority == Priority.URGENT
    logged = select(AuditEntry.data).where(
        AuditEntry.subject_id == conversation.id, AuditEntry.action == "conversation.priority"
    )
    session.flush()
    assert session.scalars(logged).all() == [{"priority": "urgent"}]
    assert Priority.parse("urgent") is Priority.URGENT
    assert Priority.parse("<b>") is None


# --- spam ---


def test_spam_leaves_the_queue_and_its_customer_notices_nothing(
    app: Flask, session: Session, customer: Customer
) -> None:
    conversation = ask(session, customer)
    triage.mark_spam(session, conversation.id, actor=MINA)
    session.commit()
    assert open_draft(session, conversation.id) is None
    client_id = uuid.uuid4()
    for _ in range(2):  # the second is a resend
        message = receive(
            session,
            customer=customer,
            body="Buy now",
            channel="widget",
            conversation_id=conversation.id,
            client_id=client_id,
        )
        session.commit()
    session.refresh(conversation)
    assert message.conversation_id == conversation.id
    assert (conversation.status, conversation.waiting_since) == (ConversationStatus.SPAM, None)
    assert open_draft(session, conversation.id) is None
    seen = news(session, customer.ref, conversation.id, after=0, limit=10)
    assert shown_status(seen.status) is ConversationStatus.OPEN
    assert status_frame(seen)["waiting"] is True
    assert [said.kind for said in seen.messages] == [MessageKind.CUSTOMER] * 2
    triage.unmark_spam(session, conversation.id, actor=OMAR)
    assert conversation.status is ConversationStatus.OPEN
    assert conversation.waiting_since == message.created_at


def test_an_answer_takes_a_conversation_back_from_spam(session: Session) -> None:
    conversation = ask(session)
    triage.mark_spam(session, conversation.id, actor=MINA)
    with pytest.raises(IllegalTransition):
        resolve(session, conversation.id, actor=MINA)
    reply(session, conversation.id, actor=MINA, body="Sorry for that.")
    assert (conversation.status, conversation.waiting_since) == (ConversationStatus.OPEN, None)


# --- together ---

STEPS = st.lists(
    st.sampled_from(["customer", "reply", "resolve", "reopen", "snooze", "wake", "spam", "back", "claim", "release"]),
    max_size=14,
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_any_order_of_steps_leaves_a_row_that_one_list_holds(session: Session, steps: list[str]) -> None:
    customer = Customer(f"any-{uuid.uuid4().hex[:10]}")
    conversation = ask(session, customer)
    one, later = conversation.id, now() + timedelta(days=1)
    moves: dict[str, Callable[[], object]] = {
        "customer": lambda: receive(session, customer=customer, body="More", channel="widget", conversation_id=one),
        "reply": lambda: reply(session, one, actor=MINA, body="Answer"),
        "resolve": lambda: resolve(session, one, actor=MINA),
        "reopen": lambda: reopen(session, one, actor=MINA),
        "snooze": lambda: triage.snooze(session, one, actor=MINA, until=later),
        "wake": lambda: triage.wake(session, one, actor=MINA),
        "spam": lambda: triage.mark_spam(session, one, actor=MINA),
        "back": lambda: triage.unmark_spam(session, one, actor=MINA),
        "claim": lambda: triage.claim(session, one, operator=OMAR),
        "release": lambda: assign(session, one, actor=MINA, assignee=None),
    }
    for step in steps:
        try:
            moves[step]()
            session.commit()
        except CairnloopError:
            session.rollback()
    session.refresh(conversation)
    if conversation.status is not ConversationStatus.OPEN:
        assert (conversation.waiting_since, conversation.snoozed_until) == (None, None)
    replies = select(Message.created_at).where(Message.conversation_id == one, Message.kind == MessageKind.REPLY)
    first = session.scalars(replies.order_by(Message.sequence)).first()
    assert conversation.first_reply_at == first
    rows = session.scalars(select(Message.sequence).where(Message.conversation_id == one).order_by(Message.sequence))
    assert list(rows) == list(range(1, conversation.last_sequence + 1))
