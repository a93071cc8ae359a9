"""The disk is full at the very commit: nothing is stored, nothing leaves, nobody is told otherwise, and it can be done
again."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import httpx
import pytest
from flask import Flask
from redis import Redis
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from flask_cairnloop import Customer, receive, signals
from flask_cairnloop.audit.models import AuditEntry
from flask_cairnloop.clock import now
from flask_cairnloop.conversations.models import Conversation, CustomerRecord, Message
from flask_cairnloop.drafting import service as drafting
from flask_cairnloop.drafting.models import Draft, DraftState
from flask_cairnloop.drafting.types import DraftKind, PolicyDecision
from flask_cairnloop.jobs import Job
from flask_cairnloop.realtime.sockets import CloseCode
from flask_cairnloop.retrieval.types import Strength
from flask_cairnloop.signals import SIGNALS
from tests.faults.clients import Operator, Patient
from tests.faults.conftest import Desk
from tests.support.disk import BREAKS, TOO_MUCH, FullDisk


@pytest.fixture
def disk(app: Flask) -> Iterator[FullDisk]:
    with FullDisk(app) as disk:
        yield disk


@pytest.fixture
def server(app: Flask, serve: Callable[[Flask], str]) -> str:
    return serve(app)


@contextmanager
def nothing_leaves(app: Flask, redis: Redis, at_the_desk: Desk) -> Iterator[None]:
    """Rows, jobs, audit entries, live events, signals: at the end of the block there are no more than before."""
    heard: list[str] = []

    def listen(name: str) -> Callable[..., None]:
        return lambda _sender, **_payload: heard.append(name)

    def stored(session: Session) -> list[int]:
        tables = (CustomerRecord, Conversation, Message, Draft, AuditEntry, Job)
        return [session.scalar(select(func.count()).select_from(table)) or 0 for table in tables]

    def sent(session: Session) -> list[Any]:
        """Where drafts stand, and what conversations say of their newest message."""
        rows = session.execute(select(Conversation.id, Conversation.last_sequence).order_by(Conversation.id))
        return [*rows, *session.execute(select(Draft.id, Draft.state).order_by(Draft.id))]

    before = at_the_desk(stored), at_the_desk(sent)
    with redis.pubsub() as events, ExitStack() as listening:
        events.subscribe(f"{app.config['CAIRNLOOP_REDIS_NAMESPACE']}:events")
        for name in SIGNALS:
            listening.enter_context(getattr(signals, name).connected_to(listen(name), app))
        yield
        redis.publish(f"{app.config['CAIRNLOOP_REDIS_NAMESPACE']}:events", json.dumps("the end"))
        messages = (message["data"] for message in events.listen() if message["type"] == "message")
        assert json.loads(next(messages)) == "the end"
    assert (at_the_desk(stored), at_the_desk(sent)) == before
    assert heard == []


def messages(session: Session, conversation_id: int) -> list[str]:
    return list(
        session.scalars(
            select(Message.body).where(Message.conversation_id == conversation_id).order_by(Message.sequence)
        )
    )


@pytest.mark.parametrize("spoken_before", [False, True])
def test_a_message_that_cannot_be_committed_is_not_accepted_and_its_resend_is_taken_once(
    app: Flask,
    server: str,
    redis: Redis,
    disk: FullDisk,
    people: ExitStack,
    customer: Customer,
    issue: Callable[[Customer], str],
    at_the_desk: Desk,
    spoken_before: bool,
) -> None:
    chat = Patient(server, issue(customer))
    people.callback(chat.leave)
    chat.come_back()
    if spoken_before:
        chat.say("Hello")
    chat.settle()
    words = list(chat.transcript.values())
    disk.fill()
    with nothing_leaves(app, redis, at_the_desk):
        chat.say(TOO_MUCH)
        chat.until(lambda: not chat.here)
        assert chat.ends == [CloseCode.TRY_LATER]
        assert list(chat.unsent.values()) == [TOO_MUCH]
        for again in (2, 3):  # it comes back by itself, with the same words
            chat.come_back()
            chat.until(lambda: not chat.here)
            assert chat.ends == [CloseCode.TRY_LATER] * again
    assert list(chat.transcript.values()) == words

    disk.free()
    chat.settle()
    assert list(chat.transcript.values()) == [*words, TOO_MUCH]
    assert at_the_desk(lambda session: messages(session, chat.conversation or 0)) == [*words, TOO_MUCH]


def ready_draft(session: Session, customer: Customer) -> tuple[int, int]:
    """A draft that waits for its approval: its conversation and itself."""
    conversation_id = receive(session, customer=customer, body="How big is it?", channel="widget").conversation_id
    draft = drafting.open_draft(session, conversation_id)
    assert draft is not None
    draft.state, draft.kind, draft.grounding = DraftState.READY, DraftKind.REPLY, Strength.STRONG
    draft.policy, draft.body, draft.ready_at = PolicyDecision.REQUIRE_APPROVAL, f"It is {TOO_MUCH}.", now()
    return conversation_id, draft.id


@pytest.mark.parametrize("target", ["timeline", ""], ids=["fragment", "page"])
@pytest.mark.parametrize("what", ["approve", "reply"])
def test_what_an_operator_sends_and_cannot_be_committed_is_said_to_be_undone_and_can_be_sent_again_once(
    app: Flask,
    server: str,
    redis: Redis,
    disk: FullDisk,
    people: ExitStack,
    customer: Customer,
    at_the_desk: Desk,
    what: str,
    target: str,
) -> None:
    console = Operator(server)
    people.callback(console.leave)
    conversation_id, draft_id = at_the_desk(lambda session: ready_draft(session, customer))
    path = f"/conversations/{conversation_id}/"
    path += f"drafts/{draft_id}/approve" if what == "approve" else "reply"
    form = {"seen": "1"} if what == "approve" else {"seen": "1", "body": TOO_MUCH, "client_id": str(uuid.uuid4())}
    disk.fill()
    with nothing_leaves(app, redis, at_the_desk):
        answer = console.post(path, target, **form)
        assert answer.status_code == 503
        said = answer.headers.get("HX-Trigger", "") if target else answer.text
        assert "Nothing was done" in said
        assert "No space left" not in answer.text + said
        if target:
            assert answer.headers["HX-Reswap"] == "none"
            assert answer.text == ""

    disk.free()
    for _ in range(2):
        assert console.post(path, target, **form).status_code == (200 if target else 303)
    sent = at_the_desk(lambda session: messages(session, conversation_id))
    assert sent == ["How big is it?", f"It is {TOO_MUCH}." if what == "approve" else TOO_MUCH]


def test_where_the_connection_broke_over_the_commit_nobody_says_that_nothing_was_done(
    server: str, disk: FullDisk, people: ExitStack, customer: Customer, at_the_desk: Desk
) -> None:
    console = Operator(server)
    people.callback(console.leave)
    conversation_id, _ = at_the_desk(lambda session: ready_draft(session, customer))
    disk.fill(BREAKS)
    client_id = str(uuid.uuid4())
    answer = console.reply(conversation_id, TOO_MUCH, client_id)
    assert answer.status_code == 503
    assert "It is not known whether this was done" in answer.headers["HX-Trigger"]
    disk.free()
    for _ in range(2):
        assert console.reply(conversation_id, TOO_MUCH, client_id).status_code == 200
    assert at_the_desk(lambda session: messages(session, conversation_id)) == ["How big is it?", TOO_MUCH]


def test_a_message_sent_by_post_that_cannot_be_committed_is_not_accepted_and_its_resend_is_taken_once(
    app: Flask,
    server: str,
    redis: Redis,
    disk: FullDisk,
    customer: Customer,
    issue: Callable[[Customer], str],
    at_the_desk: Desk,
) -> None:
    client_id = str(uuid.uuid4())
    frames = [
        {"type": "join", "token": issue(customer), "conversation": None, "after": None},
        {"type": "message", "client_id": client_id, "body": TOO_MUCH},
    ]

    def post() -> tuple[int, list[Any]]:
        answer = httpx.post(f"{server}/support/widget/messages", json=frames, headers={"Origin": server})
        return answer.status_code, [frame for frame in answer.json() if frame["type"] == "accepted"]

    disk.fill()
    with nothing_leaves(app, redis, at_the_desk):
        assert post() == (503, [])
    disk.free()
    status, (accepted,) = post()
    assert (status, accepted["client_id"]) == (200, client_id)
    assert post() == (200, [accepted])
    assert at_the_desk(lambda session: messages(session, accepted["conversation"])) == [TOO_MUCH]
