"""The operators' socket, against a real server: who gets in, what passes, and that no customer's words do."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import pytest
from flask import Flask, current_app
from simple_websocket import Client, ConnectionClosed

from flask_cairnloop import Customer, disconnect_operator, receive
from flask_cairnloop.console import live
from flask_cairnloop.realtime.publish import publish_now
from tests.support.host import SEALED
from tests.support.processes import Process, environment, web_server
from tests.support.websocket import BrowserClient, handshake


@contextmanager
def listening(url: str, operator: str) -> Iterator[Client]:
    address = url.replace("http", "ws", 1) + "/support/live"
    client = BrowserClient(address, headers={"Origin": url, "X-Operator": operator})
    try:
        yield client
    finally:
        with suppress(ConnectionClosed):
            client.close()
        client.thread.join(5)
        client.sock.close()


def frames(client: Client, until: Callable[[dict[str, Any]], bool], seconds: float = 10.0) -> list[dict[str, Any]]:
    """What arrives up to the frame that is waited for."""
    found: list[dict[str, Any]] = []
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        frame = client.receive(timeout=0.2)
        if frame is None:
            continue
        found.append(json.loads(frame))
        if until(found[-1]):
            return found
    raise AssertionError(f"It did not arrive; instead {found}")


def hears(client: Client) -> None:
    """Wait until the server has subscribed for this client: it says so by having everything read again."""
    frames(client, lambda frame: frame["type"] == "refetch")


@pytest.mark.parametrize(
    ("operator", "origin", "status"),
    [(None, None, 401), ("outsider", None, 403), ("mina", "https://evil.example", 403), ("mina", "", 403)],
)
def test_the_handshake_is_refused_to_whoever_may_not_see(
    live_server: Process, operator: str | None, origin: str | None, status: int
) -> None:
    headers = {} if origin == "" else {"Origin": origin or live_server.url}
    if operator:
        headers["X-Operator"] = operator
    assert handshake(live_server.url, "/support/live", headers) == status


def test_events_say_what_changed_and_never_what_was_said(live_server: Process, app: Flask) -> None:
    secret = f"very private words {uuid.uuid4().hex}"
    with listening(live_server.url, "mina") as client:
        hears(client)
        client.send("no json")
        client.send(json.dumps({"type": "typing"}))
        client.send(json.dumps([1, 2]))
        with app.app_context():
            session = app.extensions["sqlalchemy"].session
            customer = Customer("live-1", secret, f"{secret.split()[-1]}@x.example")
            message = receive(session, customer=customer, body=secret, channel="widget", subject=secret)
            session.commit()
            conversation_id = message.conversation_id
        seen = frames(client, lambda frame: frame["type"] == "draft")
    assert {"type": "message", "conversation_id": conversation_id, "sequence": 1, "kind": "customer"} in seen
    assert secret not in json.dumps(seen)
    assert secret.split()[-1] not in json.dumps(seen)


def test_twenty_operators_hear_every_change_once(live_server: Process, app: Flask) -> None:
    def told(client: Client) -> list[tuple[int, int]]:
        seen = frames(
            client, lambda frame: (frame["type"], frame.get("conversation_id")) == ("message", last), seconds=30
        )
        return [(frame["conversation_id"], frame["sequence"]) for frame in seen if frame["type"] == "message"]

    with ExitStack() as stack:
        desk = [stack.enter_context(listening(live_server.url, name)) for name in ("mina", "omar") * 10]
        for client in desk:
            hears(client)
        made = []
        for number in range(30):
            with app.app_context():
                session = app.extensions["sqlalchemy"].session
                customer = Customer(f"many-{number % 7}", "Somebody")
                message = receive(session, customer=customer, body="One more thing", channel="widget")
                session.commit()
                made.append((message.conversation_id, message.sequence))
        with app.app_context():
            session = app.extensions["sqlalchemy"].session
            last = receive(
                session, customer=Customer("the-last", "Somebody"), body="End", channel="widget"
            ).conversation_id
            session.commit()
        for client in desk:
            assert told(client)[:-1] == made


def test_typing_passes_between_those_who_look_at_the_same_conversation(live_server: Process, app: Flask) -> None:
    watch = json.dumps({"type": "watch", "conversation_id": 4711})
    with listening(live_server.url, "mina") as mina, listening(live_server.url, "omar") as omar:
        for client in (mina, omar):
            hears(client)
            client.send(watch)
            frames(client, lambda frame: frame == {"type": "watching", "conversation_id": 4711})
        mina.send(json.dumps({"type": "typing", "conversation_id": 4711}))
        seen = frames(omar, lambda frame: frame["type"] == "typing")
        assert seen[-1] == {"type": "typing", "conversation_id": 4711, "author": "operator", "name": "Mina Keller"}
        with app.app_context():
            cairnloop = app.extensions["cairnloop"]
            publish_now(
                cairnloop, "conversation:4711", "typing", conversation_id=4711, author="customer", name="Private Name"
            )
        seen = frames(mina, lambda frame: frame["type"] == "typing")
        seen = [frame for frame in seen if frame["type"] != "refetch"]
        assert seen == [{"type": "typing", "conversation_id": 4711, "author": "customer"}], "not her own, no name"


def test_a_page_hears_of_the_conversations_it_looked_at_last_however_many_there_were(
    live_server: Process,
) -> None:
    with listening(live_server.url, "mina") as mina, listening(live_server.url, "omar") as omar:
        for client in (mina, omar):
            hears(client)
        for number in (*range(1, live.WATCHED + 2), 2):  # the second once more, so that it is not the next to go
            mina.send(json.dumps({"type": "watch", "conversation_id": number}))
            frames(mina, lambda frame, number=number: frame == {"type": "watching", "conversation_id": number})
        for number in (1, live.WATCHED + 1):
            omar.send(json.dumps({"type": "watch", "conversation_id": number}))
            frames(omar, lambda frame, number=number: frame == {"type": "watching", "conversation_id": number})
            mina.send(json.dumps({"type": "look", "conversation_id": number}))
        seen = frames(mina, lambda frame: frame["type"] == "viewers")
        assert seen[-1]["conversation_id"] == live.WATCHED + 1, "and not of the first, which it left long ago"
        omar.send(json.dumps({"type": "typing", "conversation_id": 1}))
        time.sleep(live.TYPING_SECONDS)
        omar.send(json.dumps({"type": "typing", "conversation_id": live.WATCHED + 1}))
        heard = frames(mina, lambda frame: frame["type"] == "typing")
        assert heard[-1]["conversation_id"] == live.WATCHED + 1


def test_who_may_not_read_a_conversation_does_not_hear_who_types_in_it(
    database_url: str, redis_url: str, config: dict[str, Any], app: Flask
) -> None:
    keys = {**config, "AUTHORIZE": "tests.support.host:all_but_sealed"}
    opened = 4711
    with (
        web_server(environment(database_url, redis_url, **keys)) as server,
        listening(server.url, "mina") as mina,
        listening(server.url, "omar") as omar,
    ):
        for client in (mina, omar):
            hears(client)
            for conversation_id in (SEALED, opened):
                client.send(json.dumps({"type": "watch", "conversation_id": conversation_id}))

        def say() -> None:
            """What Omar and the customer type, first in the conversation that is kept from both operators."""
            for conversation_id in (SEALED, opened):
                omar.send(json.dumps({"type": "typing", "conversation_id": conversation_id}))
                topic = f"conversation:{conversation_id}"
                publish_now(
                    app.extensions["cairnloop"], topic, "typing", conversation_id=conversation_id, author="customer"
                )

        heard: set[tuple[int, str]] = set()
        expected = {(opened, "customer"), (opened, "operator")}
        deadline = time.monotonic() + 20
        while not heard >= expected and time.monotonic() < deadline:
            say()  # again until both watches have been read: nothing answers them
            while (frame := mina.receive(timeout=0.2)) is not None:
                words = json.loads(frame)
                if words["type"] == "typing":
                    heard.add((words["conversation_id"], words["author"]))
    assert heard == expected


def test_a_page_reads_again_every_minute_whatever_was_heard(
    app: Flask, serve: Callable[[Flask], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "RECHECK_SECONDS", 0.2)
    with listening(serve(app), "mina") as client:
        for _ in range(4):  # at the start, when the hub hears, and from then on by the clock alone
            hears(client)


def test_a_disconnected_operator_hears_nothing_more_and_colleagues_do(live_server: Process, app: Flask) -> None:
    with listening(live_server.url, "mina") as mina, listening(live_server.url, "omar") as omar:
        for client in (mina, omar):
            hears(client)
        with app.app_context():
            assert disconnect_operator("mina")
            receive(
                current_app.extensions["sqlalchemy"].session, customer=Customer("live-2"), body="Hi", channel="widget"
            )
            current_app.extensions["sqlalchemy"].session.commit()
        with pytest.raises(ConnectionClosed) as closed:
            frames(mina, lambda frame: frame["type"] == "message")
        assert closed.value.reason == 1008
        frames(omar, lambda frame: frame["type"] == "message")
