"""The session without a carrier: what WebSocket and POST have in common."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from flask_cairnloop import Customer, Operator
from flask_cairnloop.actors import Actor
from flask_cairnloop.channels.widget.protocol import WidgetSession
from flask_cairnloop.conversations import service
from flask_cairnloop.conversations.models import Conversation, CustomerRecord, Message
from flask_cairnloop.hooks import AuditInfo
from flask_cairnloop.knowledge.service import publish, save_article
from flask_cairnloop.realtime import Event, Refetch
from tests.support.databases import blocked, idle_in_transaction
from tests.support.processes import wait_until

Frame = dict[str, Any]
Desk = Callable[[Callable[..., Any]], Any]


class Doorman:
    """A verifier that the test can make change its mind."""

    def __init__(self, customer: Customer) -> None:
        self.answer: Customer | None = customer
        self.away = False

    def __call__(self, _token: str) -> Customer | None:
        if self.away:
            raise ConnectionError
        return self.answer


@pytest.fixture
def doorman(customer: Customer) -> Doorman:
    return Doorman(customer)


@pytest.fixture
def app(make_app: Callable[..., Flask], doorman: Doorman) -> Flask:
    return make_app(CUSTOMER_VERIFIER=doorman)


@pytest.fixture
def topics() -> list[str]:
    return []


@pytest.fixture
def line(app: Flask, topics: list[str]) -> WidgetSession:
    line = WidgetSession(app.extensions["cairnloop"], topics.append)
    assert send(line, "join", token="t")[0]["type"] == "joined"
    return line


def send(line: WidgetSession, type_: str, **fields: object) -> list[Frame]:
    return list(line.handle(json.dumps({"type": type_, **fields})))


def say(line: WidgetSession, body: str) -> Frame:
    frames = send(line, "message", client_id=str(uuid.uuid4()), body=body)
    return next(frame for frame in frames if frame["type"] == "accepted")


def test_the_session_listens_to_its_customer_and_conversation(
    line: WidgetSession, topics: list[str], customer: Customer
) -> None:
    conversation = say(line, "Hello")["conversation"]
    assert topics == [f"customer:{customer.ref}", f"conversation:{conversation}"]


@pytest.mark.parametrize("answer", [None, Customer("somebody-else")])
def test_an_identity_that_is_gone_ends_the_session(
    line: WidgetSession, doorman: Doorman, answer: Customer | None
) -> None:
    assert list(line.check_identity()) == []
    doorman.answer = answer
    assert [frame["code"] for frame in line.check_identity()] == ["unauthorized"]
    assert line.ended
    assert list(line.hear(Refetch())) == []


def test_a_host_that_cannot_say_who_it_is_ends_the_session_without_refusing_anybody(
    app: Flask, line: WidgetSession, doorman: Doorman
) -> None:
    doorman.away = True
    assert list(line.check_identity()) == []
    fresh = WidgetSession(app.extensions["cairnloop"], lambda topic: None)
    assert send(fresh, "join", token="t") == []
    assert (line.ended, line.try_later, fresh.ended, fresh.try_later) == (True, True, True, True)


def test_a_refetch_asks_for_the_identity_before_it_reads(
    line: WidgetSession, doorman: Doorman, operator: Operator, at_the_desk: Desk
) -> None:
    conversation = say(line, "Hello")["conversation"]
    at_the_desk(lambda s: service.reply(s, conversation, actor=Actor.operator(operator), body="For them only"))
    doorman.answer = None
    frames = list(line.hear(Refetch()))
    assert [frame["type"] for frame in frames] == ["error"]


def test_a_refetch_brings_what_was_missed_once(line: WidgetSession, operator: Operator, at_the_desk: Desk) -> None:
    conversation = say(line, "Hello")["conversation"]
    for body in ("One", "Two"):
        at_the_desk(lambda s, body=body: service.reply(s, conversation, actor=Actor.operator(operator), body=body))
    frames = list(line.hear(Refetch()))
    assert [frame.get("body") for frame in frames] == ["One", "Two", None]
    assert frames[-1]["waiting"] is False
    assert list(line.hear(Refetch())) == []
    late = Event(f"conversation:{conversation}", "message", {"sequence": 3, "kind": "reply"})
    assert list(line.hear(late)) == []


class Plans:
    """A scope that the test can make change its mind, or fail. Notes what else was open when it was asked."""

    def __init__(self) -> None:
        self.tags: set[str] | None = {"pro"}
        self.away = False
        self.open_transactions: list[int] = []
        self.count: Callable[[], int] | None = None

    def __call__(self, _customer: Customer) -> set[str] | None:
        if self.count is not None:
            self.open_transactions.append(self.count())
        if self.away:
            raise ConnectionError
        return self.tags


def test_sources_are_named_only_to_those_who_may_have_them_now(
    make_app: Callable[..., Flask], doorman: Doorman, operator: Operator, at_the_desk: Desk, database_url: str
) -> None:
    plans = Plans()
    line = WidgetSession(
        make_app(CUSTOMER_VERIFIER=doorman, ARTICLE_SCOPE=plans).extensions["cairnloop"], lambda topic: None
    )
    send(line, "join", token="t")
    conversation = say(line, "How much is it?")["conversation"]

    def answer(session: Session) -> None:
        by = Actor.operator(operator)
        article = save_article(session, slug="prices", title="Prices", body="Ten.", tags=["pro"], actor=by)
        publish(session, article.id, actor=by)
        cited = [{"article_id": article.id, "title": "Prices"}]
        service.send(session, service.lock(session, conversation), actor=by, body="Ten.", citations=cited)

    def named() -> object:
        return send(line, "join", token="t", conversation=conversation)[0]["messages"][-1].get("sources")

    at_the_desk(answer)
    plans.count = partial(idle_in_transaction, database_url)
    assert next(iter(line.hear(Refetch())))["sources"] == [{"title": "Prices", "section": ""}]
    assert named() == [{"title": "Prices", "section": ""}]
    for tags in ({"basic"}, set[str]()):
        plans.tags = tags
        assert named() is None
    plans.tags = None
    assert named()
    plans.away = True
    assert named() is None
    assert set(plans.open_transactions) == {0}, "host code is not asked while we hold a transaction open"


def test_events_of_other_topics_and_types_are_passed_over(line: WidgetSession) -> None:
    conversation = say(line, "Hello")["conversation"]
    for event in (
        Event(f"conversation:{conversation + 1}", "message", {"sequence": 9, "kind": "reply"}),
        Event("console", "message", {"sequence": 9, "kind": "reply"}),
        Event(f"conversation:{conversation}", "draft", {"draft_id": 1, "state": "ready"}),
        Event(f"conversation:{conversation}", "message", {"sequence": 9, "kind": "note"}),
        Event(f"conversation:{conversation}", "typing", {"author": "customer", "name": "Cleo"}),
    ):
        assert list(line.hear(event)) == []


def test_the_same_message_from_two_sessions_is_one(line: WidgetSession, app: Flask, at_the_desk: Desk) -> None:
    other = WidgetSession(app.extensions["cairnloop"], lambda topic: None)
    send(other, "join", token="t")
    frame = {"client_id": str(uuid.uuid4()), "body": "Once"}
    first, second = send(line, "message", **frame), send(other, "message", **frame)
    assert [f for f in first if f["type"] == "accepted"] == [f for f in second if f["type"] == "accepted"]
    count = select(func.count()).select_from(Message).where(Message.client_id == uuid.UUID(frame["client_id"]))
    assert at_the_desk(lambda s: s.scalar(count)) == 1


def test_first_words_from_two_sessions_at_once_are_one_conversation(
    line: WidgetSession, app: Flask, session: Session, customer: Customer, database_url: str
) -> None:
    elsewhere = service.receive(session, customer=customer, body="Hello", channel="widget")
    frames: list[Frame] = []
    thread = threading.Thread(
        target=lambda: frames.extend(send(line, "message", client_id=str(uuid.uuid4()), body="Hello too"))
    )
    thread.start()
    wait_until(lambda: blocked(database_url))
    session.commit()
    thread.join()
    accepted = next(frame for frame in frames if frame["type"] == "accepted")
    assert (accepted["conversation"], accepted["cursor"]) == (elsewhere.conversation_id, 2)
    joined = next(frame for frame in frames if frame["type"] == "joined")
    assert [frame["body"] for frame in joined["messages"]] == ["Hello", "Hello too"]


class Vetoing:
    """An auditor that refuses what it is told to."""

    def __init__(self) -> None:
        self.refused: set[str] = set()

    def __call__(self, _session: Session, entry: AuditInfo) -> None:
        if entry.action in self.refused:
            raise PermissionError("the books are closed")


def test_words_that_the_auditor_refuses_are_given_back_and_the_line_stays(
    make_app: Callable[..., Flask], doorman: Doorman, operator: Operator, at_the_desk: Desk
) -> None:
    auditor = Vetoing()
    line = WidgetSession(
        make_app(CUSTOMER_VERIFIER=doorman, AUDITOR=auditor).extensions["cairnloop"], lambda topic: None
    )
    send(line, "join", token="t")
    auditor.refused = {"message.receive", "conversation.rate"}
    client_id = str(uuid.uuid4())
    (refused,) = send(line, "message", client_id=client_id, body="Hello")
    assert (refused["type"], refused["code"], refused["client_id"]) == ("error", "failed", client_id)
    assert "books" not in refused["message"]
    assert at_the_desk(lambda s: s.scalar(select(Message).where(Message.client_id == uuid.UUID(client_id)))) is None

    auditor.refused.remove("message.receive")
    conversation = say(line, "Hello again")["conversation"]
    at_the_desk(lambda s: service.resolve(s, conversation, actor=Actor.operator(operator)))
    list(line.hear(Refetch()))
    assert [(frame["type"], frame["code"]) for frame in send(line, "rate", rating=5)] == [("error", "failed")]
    auditor.refused.clear()
    assert send(line, "rate", rating=5)[0]["rating"] == 5
    assert not line.ended


@pytest.mark.parametrize("what", ["seen", "rate", "message", "refetch"])
def test_a_conversation_that_is_gone_is_said_and_the_next_words_begin_another(
    line: WidgetSession, at_the_desk: Desk, what: str
) -> None:
    gone = say(line, "Hello")["conversation"]
    at_the_desk(lambda s: s.execute(delete(Conversation).where(Conversation.id == gone)))
    client_id = str(uuid.uuid4())
    fields: dict[str, object] = {
        "seen": {"cursor": 1},
        "rate": {"rating": 5},
        "message": {"client_id": client_id, "body": "Hello?"},
    }.get(what, {})
    frames = list(line.hear(Refetch())) if what == "refetch" else send(line, what, **fields)
    assert [(frame["type"], frame["code"]) for frame in frames] == [("error", "not_found")]
    assert frames[0].get("client_id") == (client_id if what == "message" else None)
    assert not line.ended
    assert say(line, "Hello again")["conversation"] != gone


@pytest.mark.parametrize("what", ["message", "refetch"])
def test_a_lost_database_ends_the_line_for_now(
    line: WidgetSession, cut_the_database: Callable[[], None], what: str, caplog: pytest.LogCaptureFixture
) -> None:
    say(line, "Hello")
    cut_the_database()
    frames = (
        list(line.hear(Refetch()))
        if what == "refetch"
        else send(line, "message", client_id=str(uuid.uuid4()), body="Are you there?")
    )
    assert frames == []
    assert (line.ended, line.try_later) == (True, True)
    assert "cannot be asked" in caplog.text


def line_of(app: Flask) -> WidgetSession:
    line = WidgetSession(app.extensions["cairnloop"], lambda topic: None)
    send(line, "join", token="t")
    return line


def test_one_customers_messages_are_counted_over_all_lines_and_processes(
    make_app: Callable[..., Flask], doorman: Doorman, customer: Customer, at_the_desk: Desk
) -> None:
    apps = [make_app(CUSTOMER_VERIFIER=doorman, RATE_LIMITS={"messages": "2/hour"}) for _ in range(2)]
    first, second = (line_of(app) for app in apps)
    say(first, "One")
    say(second, "Two")
    client_id = str(uuid.uuid4())
    (refused,) = send(first, "message", client_id=client_id, body="Three")
    assert (refused["type"], refused["code"], refused["client_id"]) == ("error", "too_many", client_id)
    assert 3500 < refused["retry_after"] <= 3600
    assert "You can write again in 60 minutes." in refused["message"]
    assert at_the_desk(lambda s: s.scalar(select(Message).where(Message.client_id == uuid.UUID(client_id)))) is None
    doorman.answer = Customer(customer.ref + "-another")
    assert say(line_of(apps[0]), "Somebody else")["cursor"] == 1


def test_beginning_conversations_is_limited_and_going_on_with_one_is_not(
    make_app: Callable[..., Flask], doorman: Doorman, customer: Customer, operator: Operator, at_the_desk: Desk
) -> None:
    limits = {"conversations": "1/day"}
    app = make_app(CUSTOMER_VERIFIER=doorman, RATE_LIMITS=limits, REOPEN_WINDOW=0)
    line = line_of(app)
    number = say(line, "One")["conversation"]
    assert say(line, "Two")["conversation"] == number
    assert say(line_of(app), "Three")["conversation"] == number
    at_the_desk(lambda s: service.resolve(s, number, actor=Actor.operator(operator)))
    for one in (line, line_of(app)):
        refused = send(one, "message", client_id=str(uuid.uuid4()), body="Another matter")[-1]
        assert (refused["type"], refused["code"]) == ("error", "too_many")
        assert 86_000 < refused["retry_after"] <= 86_400
        assert "24 hours" in refused["message"]
    mine = select(func.count()).select_from(Conversation).join(CustomerRecord).where(CustomerRecord.ref == customer.ref)
    assert at_the_desk(lambda s: s.scalar(mine)) == 1


def test_a_line_that_says_too_much_at_once_is_asked_to_slow_down(
    make_app: Callable[..., Flask], doorman: Doorman
) -> None:
    line = line_of(make_app(CUSTOMER_VERIFIER=doorman, RATE_LIMITS={"frames": "3/second"}))
    answers = [frame for _ in range(4) for frame in send(line, "ping")]
    assert [frame["type"] for frame in answers] == ["pong", "pong", "error", "error"]
    assert (answers[-1]["code"], answers[-1]["retry_after"]) == ("too_many", 1)
    client_id = str(uuid.uuid4())
    (refused,) = send(line, "message", client_id=client_id, body="Hello")
    assert (refused["code"], refused["client_id"]) == ("too_many", client_id)
    assert [frame["code"] for frame in line.handle("no frame at all")] == ["too_many"]
    wait_until(lambda: send(line, "ping") == [{"type": "pong"}], seconds=5)


def test_while_redis_is_away_nobody_is_held_up(make_app: Callable[..., Flask], doorman: Doorman) -> None:
    limits = {"messages": "1/day", "conversations": "1/day"}
    line = line_of(make_app(CUSTOMER_VERIFIER=doorman, RATE_LIMITS=limits, REDIS_URL="redis://127.0.0.1:1/0"))
    assert [say(line, body)["cursor"] for body in ("One", "Two", "Three")] == [1, 2, 3]


def test_the_mark_of_a_person_is_stable_and_not_their_reference(
    line: WidgetSession, app: Flask, customer: Customer
) -> None:
    marks = {send(line, "join", token="t")[0]["person"] for _ in range(2)}
    assert len(marks) == 1
    assert customer.ref not in marks.pop()
