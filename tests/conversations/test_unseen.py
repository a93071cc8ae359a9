"""Replies that nobody reads: the host is told of them in time, once, and of nothing that was seen."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask

from flask_cairnloop import Actor, Customer, ReplyUnseenEvent, clock, receive, reply, testing
from flask_cairnloop.conversations.models import Message, MessageKind
from flask_cairnloop.conversations.service import mark_seen
from flask_cairnloop.privacy import service as privacy
from flask_cairnloop.testing import enqueued, run_jobs
from tests.support.host import OPERATORS

MINA = Actor.operator(OPERATORS["mina"])
AFTER = 60
JOB = "conversations.tell_unseen"


class Host:
    """A host that is told, and may be busy."""

    def __init__(self) -> None:
        self.told: list[ReplyUnseenEvent] = []
        self.busy = 0

    def __call__(self, event: ReplyUnseenEvent) -> None:
        self.told.append(event)
        if self.busy:
            self.busy -= 1
            raise RuntimeError("the mail server is busy")


@pytest.fixture
def host() -> Host:
    return Host()


@pytest.fixture
def app(make_app: Callable[..., Flask], host: Host) -> Flask:
    return make_app(ON_REPLY_UNSEEN=host, REPLY_UNSEEN_AFTER=AFTER)


@pytest.fixture
def answered(at_the_desk: Callable[..., Any], customer: Customer) -> Callable[[str], Message]:
    """``answered("words")`` is a reply to the customer's one conversation."""
    number = at_the_desk(lambda s: receive(s, customer=customer, body="Anybody?", channel="widget")).conversation_id

    def write(words: str) -> Message:
        found: Message = at_the_desk(lambda s: reply(s, number, actor=MINA, body=words))
        return found

    return write


def pass_by(app: Flask, seconds: float) -> None:
    """Let time go on, and the worker with it."""
    with testing.frozen(clock.now() + timedelta(seconds=seconds)):
        run_jobs(app, within=timedelta(0))


def test_what_is_not_seen_in_time_is_told_once_with_everything_about_it(
    app: Flask, host: Host, answered: Callable[[str], Message], customer: Customer, at_the_desk: Callable[..., Any]
) -> None:
    first, second = answered("Yes, we are here."), answered("What is it?")
    pass_by(app, AFTER - 5)
    assert host.told == []
    pass_by(app, AFTER + 5)
    (event,) = host.told
    assert [one.body for one in event.replies] == ["Yes, we are here.", "What is it?"]
    assert (event.customer.ref, event.subject) == (customer.ref, "Anybody?")
    assert event.replies[0].author == "Mina Keller"
    pass_by(app, 10 * AFTER)
    assert len(host.told) == 1
    marks = at_the_desk(lambda s: [s.get(Message, one.id).passed_on_at for one in (first, second)])
    assert None not in marks

    answered("Still there?")
    pass_by(app, AFTER + 5)
    assert [one.body for one in host.told[1].replies] == ["Still there?"]
    assert host.told[1].key != event.key


def test_whoever_came_back_is_left_alone(
    app: Flask, host: Host, answered: Callable[[str], Message], customer: Customer, at_the_desk: Callable[..., Any]
) -> None:
    sent = answered("Yes.")
    at_the_desk(lambda s: mark_seen(s, customer.ref, sent.conversation_id, sent.sequence))
    pass_by(app, 2 * AFTER)
    assert host.told == []


def test_a_later_reply_has_its_whole_time(
    app: Flask, host: Host, answered: Callable[[str], Message], customer: Customer, at_the_desk: Callable[..., Any]
) -> None:
    seen = answered("Yes.")
    at_the_desk(lambda s: mark_seen(s, customer.ref, seen.conversation_id, seen.sequence))
    with testing.frozen(clock.now() + timedelta(seconds=AFTER - 10)):
        answered("And?")
    pass_by(app, AFTER + 5)
    assert host.told == []
    pass_by(app, 2 * AFTER)
    assert [one.body for one in host.told[0].replies] == ["And?"]


def test_a_host_that_is_busy_is_told_again_under_the_same_key(
    app: Flask, host: Host, answered: Callable[[str], Message]
) -> None:
    host.busy = 1
    answered("Yes.")
    pass_by(app, AFTER + 5)
    pass_by(app, 2 * AFTER)
    assert len(host.told) == 2
    assert len({event.key for event in host.told}) == 1


def test_of_a_forgotten_customer_nobody_is_told(
    app: Flask, host: Host, answered: Callable[[str], Message], customer: Customer, at_the_desk: Callable[..., Any]
) -> None:
    answered("Yes.")
    at_the_desk(lambda s: privacy.forget(s, customer.ref, actor=Actor.system("test")))
    pass_by(app, 2 * AFTER)
    assert host.told == []


def test_without_the_hook_no_job_is_asked_for(make_app: Callable[..., Flask], customer: Customer) -> None:
    app = make_app()
    with app.app_context():
        session = app.extensions["sqlalchemy"].session
        number = receive(session, customer=customer, body="Anybody?", channel="widget").conversation_id
        sent = reply(session, number, actor=MINA, body="Yes.")
        session.commit()
        assert sent.kind is MessageKind.REPLY
        session.remove()
    assert enqueued(app, JOB) == []


def test_the_thread_says_how_far_the_newest_reply_has_come(
    app: Flask,
    operator_client: Any,
    answered: Callable[[str], Message],
    customer: Customer,
    at_the_desk: Callable[..., Any],
) -> None:
    answered("First.")
    newest = answered("Second.")
    path = f"/support/conversations/{newest.conversation_id}"
    page = operator_client.get(path).get_data(as_text=True)
    assert page.count("Not seen yet") == 1
    pass_by(app, AFTER + 5)
    assert "Not seen, passed on by your app at" in operator_client.get(path).get_data(as_text=True)
    at_the_desk(lambda s: mark_seen(s, customer.ref, newest.conversation_id, newest.sequence))
    page = operator_client.get(path).get_data(as_text=True)
    assert page.count('class="delivery"') == 1
    assert "Seen</p>" in page
