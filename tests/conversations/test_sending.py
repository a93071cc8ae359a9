"""Replies that wait a moment before they are sent: taken back or sent, never both, and never over newer words."""

from __future__ import annotations

import threading
import uuid
from typing import Any

import pytest
from flask import Flask
from redis import Redis
from sqlalchemy import select
from sqlalchemy.orm import Session

from flask_cairnloop import Actor, Customer, receive, reopen, resolve
from flask_cairnloop.audit.models import AuditEntry
from flask_cairnloop.conversations import sending, triage, unsent
from flask_cairnloop.conversations.models import (
    Conversation,
    ConversationStatus,
    Message,
    MessageKind,
    PendingReply,
    PendingState,
    StoppedBy,
)
from flask_cairnloop.conversations.service import customer_messages
from flask_cairnloop.drafting.models import Draft, DraftState
from flask_cairnloop.errors import AnsweredMeanwhile, Forbidden, IllegalTransition, NotFound, StaleConversation
from flask_cairnloop.privacy.service import export, forget
from flask_cairnloop.testing import run_jobs
from tests.console.conftest import Desk
from tests.support import traces
from tests.support.host import OPERATORS

MINA, OMAR = Actor.operator(OPERATORS["mina"]), Actor.operator(OPERATORS["omar"])


@pytest.fixture(scope="module")
def config(config: dict[str, Any]) -> dict[str, Any]:
    return {**config, "UNDO_SEND": 10}


@pytest.fixture
def desk(app: Flask) -> Desk:
    return Desk(app)


@pytest.fixture
def asked(session: Session, customer: Customer) -> int:
    """A customer's question; returns its conversation."""
    message = receive(session, customer=customer, body="Where is it?", channel="widget")
    session.commit()
    return message.conversation_id


def send(session: Session, conversation_id: int, body: str = "On its way.", **keys: Any) -> PendingReply:
    taken = sending.send_reply(session, conversation_id, **{"actor": MINA, "seen": 1, "shown": 0, "body": body, **keys})
    session.commit()
    assert taken.pending is not None
    return taken.pending


def again(session: Session, customer: Customer, conversation_id: int) -> None:
    receive(session, customer=customer, body="Wait!", channel="widget", conversation_id=conversation_id)
    session.commit()


def replies(session: Session, conversation_id: int) -> list[tuple[str, str]]:
    session.rollback()
    wanted = select(Message.author_id, Message.body).filter_by(conversation_id=conversation_id, kind=MessageKind.REPLY)
    return [(row.author_id, row.body) for row in session.execute(wanted.order_by(Message.sequence))]


def told(session: Session, conversation_id: int) -> list[tuple[str, str]]:
    wanted = select(AuditEntry.action, AuditEntry.actor_id).where(AuditEntry.subject_id == conversation_id)
    found = session.execute(wanted.where(AuditEntry.action.like("message.%")).order_by(AuditEntry.id))
    return [(row.action, row.actor_id) for row in found]


def test_a_reply_waits_unseen_by_the_customer_and_is_sent_by_its_job(
    app: Flask, session: Session, customer: Customer, asked: int
) -> None:
    reply = send(session, asked)
    assert [m.body for m in customer_messages(session, customer.ref, asked)] == ["Where is it?"]
    assert session.get_one(Conversation, asked).waiting_since is not None
    run_jobs(app)
    assert replies(session, asked) == [("mina", "On its way.")]
    session.refresh(reply)
    assert (reply.state, reply.body) == (PendingState.SENT, "")
    assert session.get_one(Conversation, asked, populate_existing=True).waiting_since is None
    assert told(session, asked)[1:] == [("message.hold", "mina"), ("message.reply", "mina")]


def test_taken_back_it_is_in_the_field_again_and_its_job_sends_nothing(
    app: Flask, session: Session, asked: int
) -> None:
    unsent.keep(session, asked, "mina", "reply", "On its way.")
    reply = send(session, asked)
    assert unsent.texts(session, asked, "mina") == {}
    unsent.keep(session, asked, "mina", "reply", "Begun anew")
    sending.undo(session, asked, reply.id, actor=MINA)
    session.commit()
    assert unsent.texts(session, asked, "mina") == {"reply": "Begun anew\n\nOn its way."}
    run_jobs(app)
    assert replies(session, asked) == []
    assert told(session, asked)[1:] == [("message.hold", "mina"), ("message.undo", "mina")]
    with pytest.raises(IllegalTransition):
        sending.undo(session, asked, reply.id, actor=MINA)


def test_a_resend_is_the_same_reply_before_and_after_it_went_out(app: Flask, session: Session, asked: int) -> None:
    client_id = uuid.uuid4()
    first = send(session, asked, client_id=client_id)
    assert send(session, asked, client_id=client_id).id == first.id
    sending.undo(session, asked, first.id, actor=MINA)
    session.commit()
    assert send(session, asked, client_id=client_id).state is PendingState.UNDONE
    sent = send(session, asked, "Then this.", client_id=(other := uuid.uuid4()))
    run_jobs(app)
    taken = sending.send_reply(session, asked, actor=MINA, body="Then this.", seen=1, shown=9, client_id=other)
    assert (taken.pending, taken.message and taken.message.body) == (None, "Then this.")
    assert sent.id != first.id
    assert replies(session, asked) == [("mina", "Then this.")]


def test_words_of_the_customer_that_come_meanwhile_stop_it(
    app: Flask, session: Session, customer: Customer, asked: int
) -> None:
    reply = send(session, asked)
    again(session, customer, asked)
    run_jobs(app)
    session.refresh(reply)
    assert (reply.state, reply.stopped_by, reply.body) == (PendingState.STOPPED, StoppedBy.CUSTOMER, "On its way.")
    assert replies(session, asked) == []
    with pytest.raises(StaleConversation):
        sending.send_now(session, asked, reply.id, actor=MINA, seen=1)
    with pytest.raises(Forbidden):
        sending.send_now(session, asked, reply.id, actor=OMAR, seen=2)
    sending.send_now(session, asked, reply.id, actor=MINA, seen=2)
    session.commit()
    assert replies(session, asked) == [("mina", "On its way.")]


def test_a_colleague_can_take_over_what_was_stopped_and_not_what_waits(
    app: Flask, session: Session, customer: Customer, asked: int
) -> None:
    reply = send(session, asked)
    with pytest.raises(Forbidden):
        sending.undo(session, asked, reply.id, actor=OMAR)
    again(session, customer, asked)
    run_jobs(app)
    sending.undo(session, asked, reply.id, actor=OMAR)
    session.commit()
    assert unsent.texts(session, asked, "omar") == {"reply": "On its way."}
    with pytest.raises(NotFound):
        sending.undo(session, asked + 1, reply.id, actor=OMAR)


def test_an_answer_over_a_colleagues_is_refused_whether_theirs_waits_or_went_out(
    app: Flask, session: Session, asked: int
) -> None:
    first = send(session, asked, actor=OMAR)
    with pytest.raises(AnsweredMeanwhile):
        send(session, asked)
    session.rollback()
    assert sending.answers_after(session, asked, "mina", 1, 0) == [("Omar Reyes", "On its way.")]
    send(session, asked, "Besides,", shown=first.id)  # who has read it may add to it
    run_jobs(app)
    assert replies(session, asked) == [("omar", "On its way."), ("mina", "Besides,")]
    with pytest.raises(AnsweredMeanwhile):
        send(session, asked, "And so on.")


def test_two_replies_go_out_in_their_order_though_the_second_job_comes_first(session: Session, asked: int) -> None:
    first = send(session, asked, "One")
    second = send(session, asked, "Two", shown=first.id)
    sending.deliver(session, asked, second.id)
    sending.deliver(session, asked, first.id)
    session.commit()
    assert [body for _, body in replies(session, asked)] == ["One", "Two"]


def test_sent_and_resolved_together_and_the_last_of_two_resolves(app: Flask, session: Session, asked: int) -> None:
    first = send(session, asked, "One", resolves=True)
    send(session, asked, "Two", shown=first.id)
    run_jobs(app)
    conversation = session.get_one(Conversation, asked, populate_existing=True)
    assert conversation.status is ConversationStatus.RESOLVED
    events = session.scalars(select(Message.kind).filter_by(conversation_id=asked).order_by(Message.sequence)).all()
    assert events == [MessageKind.CUSTOMER, MessageKind.REPLY, MessageKind.REPLY, MessageKind.EVENT]


def test_resolving_while_a_reply_waits_resolves_with_it_and_elsewhere_stops_it(
    app: Flask, session: Session, asked: int
) -> None:
    send(session, asked)
    assert not sending.resolve(session, asked, actor=MINA, seen=1)
    session.commit()
    run_jobs(app)
    assert session.get_one(Conversation, asked, populate_existing=True).status is ConversationStatus.RESOLVED
    reopen(session, asked, actor=MINA)
    reply = send(session, asked, "One more thing.", seen=9)
    resolve(session, asked, actor=OMAR)  # e.g. the host's own button
    session.commit()
    run_jobs(app)
    session.refresh(reply)
    assert reply.stopped_by is StoppedBy.RESOLVED


def test_an_approved_draft_waits_with_its_reply_and_is_as_before_when_taken_back(
    app: Flask, session: Session, desk: Desk
) -> None:
    conversation_id = desk.ask()
    draft_id = desk.draft(conversation_id)
    taken = sending.approve(session, draft_id, actor=MINA, seen=1, shown=0)
    session.commit()
    assert taken.pending is not None
    with pytest.raises(IllegalTransition):
        sending.approve(session, draft_id, actor=OMAR, seen=1, shown=taken.pending.id)
    session.rollback()
    assert desk.state(draft_id) is DraftState.READY
    sending.undo(session, conversation_id, taken.pending.id, actor=MINA)
    session.commit()
    assert desk.state(draft_id) is DraftState.READY
    sending.approve(session, draft_id, actor=OMAR, seen=1, shown=taken.pending.id, body="Choose it. [1]")
    session.commit()
    run_jobs(app)
    draft = session.get_one(Draft, draft_id, populate_existing=True)
    assert (draft.state, draft.decided_by) == (DraftState.EDITED, "omar")
    (sent,) = session.scalars(select(Message).filter_by(draft_id=draft_id)).all()
    assert (sent.body, bool(sent.data["citations"])) == ("Choose it.", True)


def test_a_draft_that_was_set_aside_meanwhile_is_not_sent(app: Flask, session: Session, desk: Desk) -> None:
    conversation_id = desk.ask()
    taken = sending.approve(session, desk.draft(conversation_id), actor=MINA, seen=1)
    session.execute(Draft.__table__.update().values(state="superseded", superseded_by="regenerate"))
    session.commit()
    run_jobs(app)
    assert taken.pending is not None
    session.refresh(taken.pending)
    assert taken.pending.stopped_by is StoppedBy.DRAFT
    message = sending.send_now(session, conversation_id, taken.pending.id, actor=MINA, seen=1)
    assert [one["title"] for one in message.data["citations"]] == ["Reset your password"]  # it still rests on it


def test_of_an_undo_and_its_job_at_once_one_wins(app: Flask, session: Session, asked: int) -> None:
    reply = send(session, asked)
    begin = threading.Barrier(2)
    outcomes: list[str] = []

    def take_back() -> None:
        with app.app_context():
            own = app.extensions["sqlalchemy"].session
            begin.wait(10)
            try:
                sending.undo(own, asked, reply.id, actor=MINA)
                own.commit()
                outcomes.append("undone")
            except IllegalTransition:
                own.rollback()
            own.remove()

    thread = threading.Thread(target=take_back)
    thread.start()
    begin.wait(10)
    run_jobs(app)
    thread.join(10)
    sent = len(replies(session, asked))
    assert sent + len(outcomes) == 1


def test_a_job_that_is_given_up_leaves_the_decision_to_the_author(session: Session, asked: int) -> None:
    reply = send(session, asked)
    sending.give_up(session, asked, reply.id)
    session.commit()
    session.refresh(reply)
    assert (reply.state, reply.stopped_by) == (PendingState.STOPPED, StoppedBy.FAILED)
    sending.deliver(session, asked, reply.id)  # tried again by the one on call: nobody decided anew
    assert replies(session, asked) == []


def test_what_is_sent_anyway_resolves_nothing_over_the_customers_new_words(
    app: Flask, session: Session, customer: Customer, asked: int
) -> None:
    reply = send(session, asked, resolves=True)
    again(session, customer, asked)
    run_jobs(app)
    session.refresh(reply)
    assert (reply.state, reply.resolves) == (PendingState.STOPPED, False)
    sending.send_now(session, asked, reply.id, actor=MINA, seen=2)
    session.commit()
    assert session.get_one(Conversation, asked, populate_existing=True).status is ConversationStatus.OPEN


def test_a_reply_that_waits_does_not_bring_spam_back(app: Flask, session: Session, asked: int) -> None:
    reply = send(session, asked)
    triage.mark_spam(session, asked, actor=OMAR)
    session.commit()
    run_jobs(app)
    session.refresh(reply)
    assert (reply.state, reply.stopped_by) == (PendingState.STOPPED, StoppedBy.SPAM)
    assert session.get_one(Conversation, asked, populate_existing=True).status is ConversationStatus.SPAM
    answer = send(session, asked, "It is none, I know them.", seen=2, shown=reply.id)  # written into spam on purpose
    run_jobs(app)
    session.refresh(answer)
    assert answer.state is PendingState.SENT


def test_whoever_resolves_with_a_colleagues_reply_stands_in_the_log(app: Flask, session: Session, asked: int) -> None:
    send(session, asked)
    assert not sending.resolve(session, asked, actor=OMAR, seen=1)
    session.commit()
    run_jobs(app)
    wanted = select(AuditEntry.actor_id).filter_by(action="conversation.resolve", subject_id=asked)
    assert session.scalars(wanted).all() == ["omar"]


def test_unsent_words_are_handed_out_and_forgotten(
    session: Session, redis: Redis, customer: Customer, asked: int
) -> None:
    send(session, asked, "Dear Xylophonia")
    unsent.keep(session, asked, "omar", "note", "She is Zymurgical")
    session.commit()
    words = [(text["kind"], text["body"]) for text in export(session, customer.ref)["unsent"]]
    assert words == [("reply", "Dear Xylophonia"), ("note", "She is Zymurgical")]
    counts = forget(session, customer.ref, actor=MINA).counts
    session.commit()
    assert counts["unsent"] == 2
    assert traces.found(session, redis, ["xylophonia", "zymurgical"]) == set()
    sending.deliver(session, asked, 1)  # whoever comes late finds nothing
