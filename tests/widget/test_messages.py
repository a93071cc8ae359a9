"""The frames of the contract by POST and poll."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from contextlib import closing
from http.client import HTTPConnection
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import func, select
from werkzeug.test import TestResponse

from flask_cairnloop import Customer, Operator
from flask_cairnloop.actors import Actor
from flask_cairnloop.channels.widget.messages import MAX_BODY_BYTES, MOST_FRAMES
from flask_cairnloop.channels.widget.protocol import PAGE
from flask_cairnloop.conversations import service
from flask_cairnloop.conversations.models import Conversation, Message, Rating
from flask_cairnloop.realtime.sockets import open_sockets
from tests.support.processes import wait_until
from tests.widget.conftest import Chat

Frame = dict[str, Any]
Desk = Callable[[Callable[..., Any]], Any]
PATH = "/support/widget/messages"


class Poller:
    """A client that knows its conversation and cursor, as a customer's does."""

    def __init__(self, client: FlaskClient, token: str) -> None:
        self.client, self.token = client, token
        self.conversation: int | None = None
        self.cursor: int | None = None

    def post(self, *frames: Frame) -> TestResponse:
        join = {"type": "join", "token": self.token, "conversation": self.conversation, "after": self.cursor}
        return self.client.post(PATH, json=[join, *frames])

    def ask(self, *frames: Frame) -> list[Frame]:
        answer = self.post(*frames)
        assert answer.status_code == 200, answer.text
        heard: list[Frame] = answer.json
        for frame in heard:
            if frame["type"] in ("joined", "accepted"):
                self.conversation = frame["conversation"]
            for message in (frame, *frame.get("messages", ())):
                self.cursor = max(self.cursor or 0, message.get("cursor", 0))
        return heard


@pytest.fixture
def poller(client: FlaskClient, token: str) -> Poller:
    return Poller(client, token)


def words(body: str, client_id: str | None = None) -> Frame:
    return {"type": "message", "client_id": client_id or str(uuid.uuid4()), "body": body}


def test_a_question_and_its_answer(poller: Poller, operator: Operator, at_the_desk: Desk) -> None:
    (joined,) = poller.ask()
    assert (joined["type"], joined["conversation"], joined["messages"]) == ("joined", None, [])
    question = words("Where is my invoice?")
    joined, accepted, status = poller.ask(question)
    assert (accepted["type"], accepted["cursor"], accepted["client_id"]) == ("accepted", 1, question["client_id"])
    assert (status["type"], status["waiting"]) == ("status", True)
    assert poller.ask()[0]["messages"] == []

    actor = Actor.operator(operator)
    at_the_desk(lambda s: service.reply(s, accepted["conversation"], actor=actor, body="Under Billing."))
    (joined,) = poller.ask()
    assert [(m["type"], m["kind"], m["body"]) for m in joined["messages"]] == [("message", "reply", "Under Billing.")]
    assert (joined["waiting"], joined["seen"]) == (False, 0)

    at_the_desk(lambda s: service.resolve(s, accepted["conversation"], actor=actor))
    poller.ask({"type": "seen", "cursor": 2}, {"type": "ping"})
    rated = poller.ask({"type": "rate", "rating": 4, "comment": "Quick"})[-1]
    assert (rated["type"], rated["status"], rated["rating"]) == ("status", "resolved", 4)
    row = at_the_desk(lambda s: s.get(Conversation, accepted["conversation"]))
    kept = at_the_desk(lambda s: s.scalars(select(Rating).where(Rating.conversation_id == row.id)).one())
    assert (row.customer_seen, row.rating, kept.comment) == (2, 4, "Quick")


def test_what_was_sent_before_is_answered_and_changes_nothing(poller: Poller, at_the_desk: Desk) -> None:
    frame = words("Once")
    first = poller.ask(frame)[1]
    poller.conversation = poller.cursor = None  # the answer got lost
    again = poller.ask(frame)
    assert [m["client_id"] for m in again[0]["messages"]] == [frame["client_id"]]
    assert again[1] == first
    count = select(func.count()).select_from(Message).where(Message.client_id == uuid.UUID(frame["client_id"]))
    assert at_the_desk(lambda s: s.scalar(count)) == 1


def test_frames_are_answered_in_their_order_and_a_bad_one_costs_only_itself(poller: Poller) -> None:
    frames = poller.ask(words("One"), words(" "), {"type": "drop_table"}, words("Two"), {"type": "ping"})
    kinds = [(frame["type"], frame.get("cursor", frame.get("code"))) for frame in frames]
    assert [kind for kind in kinds if kind[0] != "status"] == [
        ("joined", None),
        ("accepted", 1),
        ("error", "empty"),
        ("error", "unknown"),
        ("accepted", 2),
        ("pong", None),
    ]


def test_a_long_history_comes_whole_and_in_order(poller: Poller, customer: Customer, at_the_desk: Desk) -> None:
    count = 2 * PAGE + 7

    def write(session: Any) -> None:
        number = None
        for line in range(count):
            said = service.receive(
                session, customer=customer, body=f"Line {line}", channel="widget", conversation_id=number
            )
            number = said.conversation_id

    at_the_desk(write)
    joined, *others = poller.ask()
    bodies = [frame["body"] for frame in [*joined["messages"], *others] if frame["type"] == "message"]
    assert bodies == [f"Line {line}" for line in range(count)]


def test_another_customers_conversation_is_not_to_be_had(
    poller: Poller, client: FlaskClient, issue: Callable[[Customer], str]
) -> None:
    poller.ask(words("My secret"))
    stranger = Poller(client, issue(Customer("stranger-who-polls")))
    stranger.conversation, stranger.cursor = poller.conversation, 0
    refused, accepted, _status = stranger.ask(words("Hello?"))
    assert (refused["code"], "messages" in refused) == ("not_found", False)
    assert accepted["conversation"] != poller.conversation


def test_the_limits_are_the_same(make_app: Callable[..., Flask], token: str) -> None:
    client = make_app(RATE_LIMITS={"messages": "2/minute", "frames": "4/second"}).test_client()
    client.environ_base["HTTP_ORIGIN"] = "http://localhost"
    poller = Poller(client, token)
    frames = poller.ask(words("One"), words("Two"), words("Three"), words("Four"))
    refused = [frame for frame in frames if frame["type"] == "error"]
    assert [(frame["code"], "client_id" in frame) for frame in refused] == [("too_many", True)] * 2
    assert (refused[0]["retry_after"] > 1, refused[1]["retry_after"]) == (True, 1)
    assert [m["body"] for m in Poller(client, token).ask()[0]["messages"]] == ["One", "Two"]


def test_a_customer_whose_socket_was_one_too_many_is_served(
    make_app: Callable[..., Flask],
    serve: Callable[[Flask], str],
    open_chat: Callable[..., Chat],
    token: str,
    issue: Callable[[Customer], str],
) -> None:
    wait_until(lambda: len(open_sockets) == 0, seconds=10)  # those of earlier tests
    app = make_app(SOCKET_LIMIT=1)
    url = serve(app)
    first = open_chat(url)
    first.join(token)
    upgrade = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13", "Origin": url}
    with closing(HTTPConnection(url.removeprefix("http://"), timeout=10)) as second:
        second.request(
            "GET", "/support/widget/socket", headers={**upgrade, "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA=="}
        )
        assert second.getresponse().status == 503
    client = app.test_client()
    client.environ_base["HTTP_ORIGIN"] = "http://localhost"
    assert Poller(client, issue(Customer("one-too-many"))).ask(words("Hello"))[1]["cursor"] == 1
    first.close()
    wait_until(lambda: len(open_sockets) == 0, seconds=10)
    open_chat(url).join(token)


@pytest.mark.parametrize("bad", ["", "rubbish", "x" * 8000])
def test_a_token_nobody_vouches_for_is_refused(client: FlaskClient, bad: str) -> None:
    answer = Poller(client, bad).post(words("Hello"))
    assert answer.status_code == 401
    assert [(frame["type"], frame["code"]) for frame in answer.json] == [("error", "unauthorized")]


def test_a_host_that_cannot_say_who_it_is_asks_for_patience(make_app: Callable[..., Flask]) -> None:
    def away(_token: str) -> Customer:
        raise ConnectionError

    client = make_app(CUSTOMER_VERIFIER=away).test_client()
    client.environ_base["HTTP_ORIGIN"] = "http://localhost"
    answer = Poller(client, "t").post(words("Hello"))
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
    assert [(frame["type"], frame["code"]) for frame in answer.json] == [("error", "try_later")]


def test_a_lost_database_asks_for_patience(poller: Poller, cut_the_database: Callable[[], None]) -> None:
    poller.ask(words("Hello"))
    cut_the_database()
    answer = poller.post(words("Are you there?"))
    assert (answer.status_code, answer.json[-1]["code"]) == (503, "try_later")
    assert poller.ask(words("Are you there?"))[1]["cursor"] == 2


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"{}",
        b"[]",
        b"null",
        b"[1]",
        b"[[]]",
        b"\xff",
        b'[{"type": "ping"}]',
        b'[{"type": "message"}, {"type": "join", "token": "t"}]',
        b'[{"type": "join"}]',
        b'[{"type": "join", "token": 7}]',
        b'[{"type": "join", "token": "\\ud800"}]',
        b"[" * 100_000,
        json.dumps([{"type": "join", "token": "t"}, *[{"type": "ping"}] * MOST_FRAMES]).encode(),
    ],
)
def test_what_makes_no_sense_gets_an_error(client: FlaskClient, body: bytes) -> None:
    answer = client.post(PATH, data=body, content_type="application/json")
    assert answer.status_code == 400
    assert [(frame["type"], frame["code"]) for frame in answer.json] == [("error", "malformed")]


def test_too_much_at_once_is_refused_before_it_is_read(client: FlaskClient) -> None:
    answer = client.post(PATH, data=b" " * (MAX_BODY_BYTES + 1), content_type="application/json")
    assert answer.status_code == 413
    assert [(frame["type"], frame["code"]) for frame in answer.json] == [("error", "too_large")]


def test_it_is_a_matter_of_pages_of_this_site(app: Flask, token: str) -> None:
    client = app.test_client()
    join = [{"type": "join", "token": token}]
    for headers in ({}, {"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "same-site"}):
        assert client.post(PATH, json=join, headers=headers).status_code == 403
    answer = client.post(PATH, json=join, headers={"Origin": "http://localhost"})
    assert (answer.status_code, answer.headers["Cache-Control"]) == (200, "no-store")
    assert client.get(PATH).status_code == 405
