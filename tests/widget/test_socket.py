"""The frames of the contract over a real WebSocket of a real gunicorn."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from contextlib import closing
from http.client import HTTPConnection
from typing import Any

import pytest
from flask import Flask
from redis import Redis
from sqlalchemy import select, text

from flask_cairnloop import Customer, Operator, disconnect
from flask_cairnloop.actors import Actor
from flask_cairnloop.channels.widget import socket
from flask_cairnloop.channels.widget.protocol import PAGE
from flask_cairnloop.conversations import service
from flask_cairnloop.conversations.models import Conversation, Message, Rating
from flask_cairnloop.knowledge import service as knowledge
from flask_cairnloop.knowledge.models import Article, Audience, Revision
from flask_cairnloop.realtime import publish_now
from tests.support.processes import Process
from tests.support.websocket import Chat

EDITOR = Actor.system("test")
Desk = Callable[[Callable[..., Any]], Any]
Open = Callable[..., Chat]


@pytest.fixture(scope="module")
def config(config: dict[str, Any]) -> dict[str, Any]:
    """Here are a hundred cuts in a few seconds: no customer writes like that."""
    return {**config, "RATE_LIMITS": {"messages": None, "frames": None}}


def reply(desk: Desk, conversation_id: int, operator: Operator, body: str) -> int:
    actor = Actor.operator(operator)
    return int(desk(lambda session: service.reply(session, conversation_id, actor=actor, body=body).sequence))


# --- joining ---------------------------------------------------------------------------------------------------------


def test_joining_makes_no_conversation_and_the_first_message_does(chat: Chat, at_the_desk: Desk) -> None:
    client_id = str(uuid.uuid4())
    accepted = chat.say("Where is my invoice?", client_id)
    row = at_the_desk(
        lambda session: session.scalars(select(Message).where(Message.client_id == uuid.UUID(client_id))).one()
    )
    assert (accepted["cursor"], accepted["conversation"]) == (1, row.conversation_id)
    assert chat.expect("status") == {"type": "status", "status": "open", "waiting": True, "rating": None}


def test_joining_again_resumes_the_latest_conversation_with_its_history(
    chat: Chat, open_chat: Open, token: str, operator: Operator, at_the_desk: Desk
) -> None:
    accepted = chat.say("Where is my invoice?")
    reply(at_the_desk, accepted["conversation"], operator, "Under Billing.")
    chat.close()
    joined = open_chat().join(token)
    assert joined["conversation"] == accepted["conversation"]
    assert [(m["kind"], m["body"], m["author"]) for m in joined["messages"]] == [
        ("customer", "Where is my invoice?", None),
        ("reply", "Under Billing.", operator.name),
    ]
    assert (joined["waiting"], joined["status"]) == (False, "open")


def test_a_cursor_asks_only_for_what_came_after_it(chat: Chat, open_chat: Open, token: str) -> None:
    for number in range(3):
        accepted = chat.say(f"Line {number}")
    joined = open_chat().join(token, accepted["conversation"], after=2)
    assert [m["body"] for m in joined["messages"]] == ["Line 2"]
    assert open_chat().join(token, accepted["conversation"], after=10**12)["messages"] == []


def test_a_long_history_comes_whole_and_in_order(
    customer: Customer, token: str, open_chat: Open, at_the_desk: Desk
) -> None:
    count = 2 * PAGE + 7

    def write(session: Any) -> int:
        first = service.receive(session, customer=customer, body="Line 1", channel="widget")
        for number in range(2, count + 1):
            service.receive(
                session,
                customer=customer,
                body=f"Line {number}",
                channel="widget",
                conversation_id=first.conversation_id,
            )
        return int(first.conversation_id)

    at_the_desk(write)
    chat = open_chat()
    frames = chat.join(token)["messages"] + [frame for frame in chat.quiet() if frame["type"] == "message"]
    assert [frame["body"] for frame in frames] == [f"Line {number}" for number in range(1, count + 1)]


def test_after_the_reopen_window_a_new_conversation_begins(
    chat: Chat, open_chat: Open, token: str, operator: Operator, at_the_desk: Desk
) -> None:
    old = chat.say("An old question")["conversation"]
    chat.close()

    def age(session: Any) -> None:
        service.resolve(session, old, actor=Actor.operator(operator))
        conversation = session.get(Conversation, old)
        conversation.last_spoken_at = conversation.last_spoken_at.replace(year=2020)

    at_the_desk(age)
    later = open_chat()
    assert later.join(token)["conversation"] is None
    assert later.say("A new question")["conversation"] != old


@pytest.mark.parametrize("bad", ["", "rubbish", "x" * 9000])
def test_a_token_nobody_vouches_for_is_refused(open_chat: Open, bad: str) -> None:
    chat = open_chat()
    chat.send("join", token=bad, conversation=None, after=None)
    frame = chat.receive()
    assert frame["type"] == "error"
    if len(bad) <= 8192:
        assert frame["code"] == "unauthorized"
        assert chat.closed() == 1008  # a client stays away after this one


def test_nothing_is_heard_before_joining(open_chat: Open) -> None:
    chat = open_chat()
    chat.send("message", client_id=str(uuid.uuid4()), body="Hello")
    assert chat.receive()["code"] == "not_joined"
    chat.send("seen", cursor=1)
    assert chat.receive()["code"] == "not_joined"


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1:1", None])
def test_a_page_of_another_origin_gets_no_socket(live_server: Process, origin: str | None) -> None:
    headers = {
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version": "13",
    }
    if origin is not None:
        headers["Origin"] = origin
    with closing(HTTPConnection(live_server.url.removeprefix("http://"), timeout=10)) as connection:
        connection.request("GET", "/support/widget/socket", headers=headers)
        assert connection.getresponse().status == 403


def test_another_customers_conversation_is_not_to_be_had(
    chat: Chat, open_chat: Open, issue: Callable[[Customer], str]
) -> None:
    theirs = chat.say("My secret")["conversation"]
    stranger = open_chat()
    stranger.send("join", token=issue(Customer("stranger")), conversation=theirs, after=0)
    assert stranger.receive() == {"type": "error", "code": "not_found", "message": "There is no such conversation."}
    assert stranger.say("Hello?")["conversation"] != theirs
    chat.quiet()
    assert chat.quiet() == []


def test_a_socket_stays_with_the_customer_who_joined(chat: Chat, issue: Callable[[Customer], str]) -> None:
    chat.send("join", token=issue(Customer("somebody-else")), conversation=None, after=None)
    assert chat.expect("error")["code"] == "unauthorized"
    assert chat.closed() == 1008


def test_open_sockets_hold_no_database_connection(
    open_chat: Open, issue: Callable[[Customer], str], at_the_desk: Desk
) -> None:
    chats = [open_chat() for _ in range(16)]  # more than the pool of 5 and its overflow of 10
    for number, chat in enumerate(chats):
        chat.join(issue(Customer(f"one-of-many-{number}")))
        assert chat.say("Hello")["cursor"] == 1
    busy = text(
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE datname = current_database() AND state LIKE 'idle in transaction%' AND pid <> pg_backend_pid()"
    )
    assert at_the_desk(lambda session: session.scalar(busy)) == 0


# --- messages --------------------------------------------------------------------------------------------------------


def test_a_resend_is_answered_and_changes_nothing(chat: Chat, open_chat: Open, token: str, at_the_desk: Desk) -> None:
    client_id = str(uuid.uuid4())
    first = chat.say("Once", client_id)
    assert chat.say("Once", client_id) == first
    again = open_chat()
    again.join(token)
    assert again.say("Once", client_id) == first
    rows = at_the_desk(
        lambda session: session.scalars(select(Message).where(Message.conversation_id == first["conversation"])).all()
    )
    assert len(rows) == 1


def test_own_words_come_back_as_accepted_and_not_as_a_message(chat: Chat, app: Flask) -> None:
    for number in range(3):
        conversation = chat.say(f"Line {number}")["conversation"]
    topic = f"conversation:{conversation}"
    publish_now(app.extensions["cairnloop"], topic, "typing", author="operator", name="Mina Keller")
    frames = []  # what the live events of those messages brought, which were published before that one
    while not frames or frames[-1]["type"] != "typing":
        frames.append(chat.receive())
    assert [frame for frame in frames if frame["type"] == "message"] == []


def test_the_same_customers_other_tab_follows(chat: Chat, open_chat: Open, token: str) -> None:
    other = open_chat()
    other.join(token)
    accepted = chat.say("First words")
    joined = other.expect("joined")
    assert joined["conversation"] == accepted["conversation"]
    assert [m["body"] for m in joined["messages"]] == ["First words"]
    other.say("From the other tab")
    assert chat.expect("message")["body"] == "From the other tab"


@pytest.mark.parametrize(
    ("body", "code"), [("", "empty"), (" \n ", "empty"), ("\0", "empty"), ("x" * 10_001, "too_long")]
)
def test_words_that_do_not_fit_are_refused_by_their_client_id(chat: Chat, body: str, code: str) -> None:
    client_id = str(uuid.uuid4())
    chat.send("message", client_id=client_id, body=body)
    frame = chat.expect("error")
    assert (frame["code"], frame["client_id"]) == (code, client_id)
    assert chat.say("The socket is still open")["cursor"] == 1


def test_the_longest_message_in_any_script_fits(chat: Chat, open_chat: Open, token: str) -> None:
    body = "🪨" * 10_000
    chat.say(body)
    assert open_chat().join(token)["messages"][0]["body"] == body


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        ("", "malformed"),
        ("{", "malformed"),
        ("[]", "malformed"),
        ("null", "malformed"),
        ('"join"', "malformed"),
        (b"\x00\xff", "malformed"),
        ("[" * 5000, "malformed"),
        ('{"type": "message", "client_id": 1, "body": "x"}', "malformed"),
        ('{"type": "message", "client_id": "no uuid", "body": "x"}', "malformed"),
        ('{"type": "message", "body": "x"}', "malformed"),
        ('{"type": "message", "client_id": "7b2c2f66-9d6b-4a39-a5b4-0f0c3d8d2c11", "body": "\\ud800"}', "malformed"),
        ('{"type": "seen", "cursor": "1"}', "malformed"),
        ('{"type": "seen", "cursor": true}', "malformed"),
        ('{"type": "seen", "cursor": -1}', "malformed"),
        ('{"type": "seen", "cursor": 99999999999999999999999}', "malformed"),
        ('{"type": "rate", "rating": 0}', "malformed"),
        ('{"type": "rate", "rating": 4.5}', "malformed"),
        ('{"type": "join", "token": "t", "conversation": -4}', "malformed"),
        ('{"type": "join", "token": "t", "conversation": 9223372036854775808}', "malformed"),
        ('{"type": "drop_table"}', "unknown"),
        ("{}", "unknown"),
    ],
)
def test_a_frame_that_makes_no_sense_gets_an_error_and_the_socket_stays(
    chat: Chat, raw: str | bytes, code: str
) -> None:
    chat.client.send(raw)
    frame = chat.receive()
    assert (frame["type"], frame["code"]) == ("error", code)
    assert chat.quiet() == []


def test_a_huge_frame_closes_the_socket(chat: Chat) -> None:
    chat.send("message", client_id=str(uuid.uuid4()), body="x" * 2_000_000)
    assert chat.closed() in (1005, 1006, 1009)


# --- what the desk does ----------------------------------------------------------------------------------------------


def test_a_reply_arrives_and_nobody_waits_any_more(chat: Chat, operator: Operator, at_the_desk: Desk) -> None:
    conversation = chat.say("Where is my invoice?")["conversation"]
    chat.expect("status", waiting=True)
    cursor = reply(at_the_desk, conversation, operator, "Under Billing.")
    frame = chat.expect("message")
    assert frame.pop("at")
    assert frame == {
        "type": "message",
        "cursor": cursor,
        "kind": "reply",
        "body": "Under Billing.",
        "author": operator.name,
    }
    assert chat.expect("status")["waiting"] is False


def article(session: Any, title: str, **about: Any) -> int:
    written = knowledge.save_article(
        session, slug=uuid.uuid4().hex, title=title, body="By card.", actor=EDITOR, **about
    )
    knowledge.publish(session, written.id, actor=EDITOR)
    return int(written.id)


def cite(session: Any, article_id: int, title: str, heading: str = "") -> dict[str, Any]:
    revision = select(Revision.id).where(Revision.article_id == article_id).order_by(Revision.id.desc()).limit(1)
    return {
        "number": 1,
        "article_id": article_id,
        "revision_id": session.scalar(revision),
        "chunk_id": 7,
        "title": title,
        "heading": heading,
        "quote": "By card.",
    }


@pytest.mark.parametrize("automatic", [False, True])
def test_a_reply_from_a_draft_names_the_public_articles_it_rests_on_each_section_once(
    chat: Chat, open_chat: Open, token: str, operator: Operator, at_the_desk: Desk, automatic: bool
) -> None:
    conversation = chat.say("How do I pay?")["conversation"]
    sender = Actor.policy("faq") if automatic else Actor.operator(operator)

    def answer(session: Any) -> int:
        pay, gone = article(session, "Ways to pay"), article(session, "Cheques")
        secret = article(session, "Goodwill", audience=Audience.INTERNAL)
        knowledge.archive(session, gone, actor=EDITOR)
        cited = [cite(session, pay, "Ways to pay", heading) for heading in ("Cards", "", "Cards")]
        cited += [cite(session, gone, "Cheques"), cite(session, secret, "Goodwill"), cite(session, 2**62, "Nowhere")]
        cited.append({"title": "Odd"})
        row = service.lock(session, conversation)
        service.send(session, row, actor=sender, body="By card.", citations=cited)
        return pay

    pay = at_the_desk(answer)
    frame = chat.expect("message")
    named = [{"title": "Ways to pay", "section": "Cards"}, {"title": "Ways to pay", "section": ""}]
    assert (frame.get("automatic", False), frame["sources"]) == (automatic, named)
    assert not {"article_id", "Goodwill", "Cheques"} & set(str(frame).replace("'", " ").split())

    def shown() -> Any:
        return open_chat().join(token)["messages"][-1].get("sources")

    assert shown() == named
    at_the_desk(lambda session: rewrite(session, pay, "How to pay"))
    assert shown() == [{"title": "How to pay", "section": ""}], "as it is called now; its sections are others now"
    at_the_desk(lambda session: setattr(session.get_one(Article, pay), "audience", Audience.INTERNAL))
    assert shown() is None, "for the team only by now"
    at_the_desk(lambda session: setattr(session.get_one(Article, pay), "audience", Audience.PUBLIC))
    assert shown()
    at_the_desk(lambda session: knowledge.archive(session, pay, actor=EDITOR))
    assert shown() is None, "withdrawn"


def rewrite(session: Any, article_id: int, title: str) -> None:
    slug = session.get_one(Article, article_id).slug
    knowledge.save_article(session, slug=slug, title=title, body="By card or cash.", actor=EDITOR)
    knowledge.publish(session, article_id, actor=EDITOR)


def test_a_note_never_leaves(chat: Chat, open_chat: Open, token: str, operator: Operator, at_the_desk: Desk) -> None:
    conversation = chat.say("Hello")["conversation"]
    actor = Actor.operator(operator)
    at_the_desk(lambda session: service.add_note(session, conversation, actor=actor, body="A difficult one"))
    at_the_desk(lambda session: service.assign(session, conversation, actor=actor, assignee=operator))
    reply(at_the_desk, conversation, operator, "Hello to you")
    frames = [chat.expect("message"), *chat.quiet()]
    assert [frame.get("body") for frame in frames if frame["type"] == "message"] == ["Hello to you"]
    assert "difficult" not in str([*frames, open_chat().join(token)])
    assert chat.say("Thanks")["cursor"] == 5


def test_resolved_rated_and_opened_again(chat: Chat, operator: Operator, at_the_desk: Desk) -> None:
    conversation = chat.say("Hello")["conversation"]
    chat.send("rate", rating=5, comment=None)
    assert chat.expect("error")["code"] == "not_resolved"
    at_the_desk(lambda session: service.resolve(session, conversation, actor=Actor.operator(operator)))
    event = chat.expect("message")
    assert (event["event"], event["author"]) == ("resolved", operator.name)
    assert chat.expect("status", status="resolved")["waiting"] is False
    chat.send("rate", rating=4, comment="Quick")
    assert chat.expect("status")["rating"] == 4
    row = at_the_desk(lambda session: session.get(Conversation, conversation))
    kept = at_the_desk(lambda session: session.scalars(select(Rating).where(Rating.conversation_id == row.id)).one())
    assert (row.rating, kept.comment) == (4, "Quick")
    client_id = str(uuid.uuid4())
    chat.send("message", client_id=client_id, body="One more thing")
    reopened, status, accepted, *others = chat.quiet()
    assert (reopened["event"], reopened["author"]) == ("reopened", None)
    assert (status["status"], status["waiting"]) == ("open", True)
    assert (accepted["client_id"], accepted["cursor"]) == (client_id, reopened["cursor"] + 1)
    assert [frame["type"] for frame in others if frame["type"] == "message"] == []


def test_seen_is_kept_and_told_to_other_tabs(
    chat: Chat, open_chat: Open, token: str, operator: Operator, at_the_desk: Desk
) -> None:
    conversation = chat.say("Hello")["conversation"]
    other = open_chat()
    other.join(token)
    reply(at_the_desk, conversation, operator, "Hello to you")
    chat.expect("message")
    chat.send("seen", cursor=2)
    assert other.expect("seen")["cursor"] == 2
    assert open_chat().join(token)["seen"] == 2


def test_typing_is_real_and_goes_to_the_other_side_only(chat: Chat, app: Flask) -> None:
    cairnloop = app.extensions["cairnloop"]
    conversation = chat.say("Hello")["conversation"]
    topic = f"conversation:{conversation}"
    with cairnloop.hub.subscribe([topic]) as desk:
        desk.get(5)  # the hub hears from now on
        for _ in range(5):
            chat.send("typing")
        event = desk.get(5)
        assert event is not None
        assert (event.type, event.data["author"]) == ("typing", "customer")
        chat.quiet()
        assert desk.get(0.3) is None  # five in a row are one
    publish_now(cairnloop, topic, "typing", conversation_id=conversation, author="operator", name="Mina Keller")
    assert chat.expect("typing") == {"type": "typing", "name": "Mina Keller"}


def test_disconnect_cuts_every_chat_of_a_customer_and_of_nobody_else(
    chat: Chat, open_chat: Open, app: Flask, customer: Customer, token: str, issue: Callable[[Customer], str]
) -> None:
    second, stranger = open_chat(), open_chat()
    second.join(token)
    stranger.join(issue(Customer("stranger-2")))
    with app.app_context():
        assert disconnect(customer.ref)
    for cut in (chat, second):
        assert cut.expect("error")["code"] == "disconnected"
        assert cut.closed() == 1008
    assert stranger.quiet() == []


# --- cuts ------------------------------------------------------------------------------------------------------------


def test_a_lost_redis_loses_no_message(chat: Chat, redis: Redis, operator: Operator, at_the_desk: Desk) -> None:
    conversation = chat.say("Hello")["conversation"]
    for number in range(3):
        redis.client_kill_filter(_type="pubsub")
        reply(at_the_desk, conversation, operator, f"Answer {number}")
        assert chat.expect("message")["body"] == f"Answer {number}"


def test_what_no_event_told_of_is_there_within_the_minute(
    app: Flask,
    make_app: Callable[..., Flask],
    serve: Callable[[Flask], str],
    open_chat: Open,
    token: str,
    operator: Operator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(socket, "IDENTITY_EVERY", 0.2)
    chat = open_chat(serve(app))
    chat.join(token)
    conversation = chat.say("Hello")["conversation"]
    without_redis = make_app(REDIS_URL="redis://127.0.0.1:1/0")
    with without_redis.app_context():
        session = without_redis.extensions["sqlalchemy"].session
        service.reply(session, conversation, actor=Actor.operator(operator), body="Hello to you")
        session.commit()
        session.remove()
    assert chat.expect("message")["body"] == "Hello to you"
