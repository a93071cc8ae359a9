"""Two apps in one process, each with a desk of its own: one database, one Redis, nothing in common."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from playwright.sync_api import Page, expect
from redis import Redis
from sqlalchemy import func, select

from flask_cairnloop import Customer, receive, reply, resolve, signals
from flask_cairnloop.actors import Actor
from flask_cairnloop.conversations.models import Conversation
from flask_cairnloop.drafting.models import Draft, DraftState
from flask_cairnloop.jobs.models import Job, JobState, QueueName
from flask_cairnloop.jobs.outbox import queue_key
from flask_cairnloop.realtime.events import CONSOLE, Event, Refetch
from flask_cairnloop.testing import enqueued, run_jobs
from tests.conftest import Client
from tests.support import processes
from tests.support.host import OPERATORS, create_tables, verifier
from tests.support.processes import wait_until
from tests.support.websocket import Chat, Line

MINA = Actor.operator(OPERATORS["mina"])
SIGNALS = (
    signals.conversation_opened,
    signals.message_received,
    signals.reply_sent,
    signals.conversation_resolved,
    signals.draft_created,
    signals.draft_decided,
)


@pytest.fixture(scope="module")
def desks(config: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """What tells the two apart; everything else is the same, the operators, the secret and the customers included."""
    namespace = config["REDIS_NAMESPACE"]
    return {
        "ships": {**config, "REDIS_NAMESPACE": f"{namespace}-ships"},
        "trains": {
            **config,
            "REDIS_NAMESPACE": f"{namespace}-trains",
            "SCHEMA": "train desk",
            "URL_PREFIX": "/rail/help",
            "PRODUCT_NAME": "Trains",
        },
    }


@pytest.fixture
def apps(make_app: Callable[..., Flask], desks: dict[str, dict[str, Any]], database_url: str) -> dict[str, Flask]:
    apps = {name: make_app(**keys) for name, keys in desks.items()}
    with apps["trains"].app_context():
        from sqlalchemy import inspect

        there = "train desk" in inspect(apps["trains"].extensions["sqlalchemy"].engine).get_schema_names()
    if not there:
        create_tables(apps["trains"])
    return apps


@pytest.fixture
def ships(apps: dict[str, Flask]) -> Flask:
    return apps["ships"]


@pytest.fixture
def trains(apps: dict[str, Flask]) -> Flask:
    return apps["trains"]


def ask(app: Flask, words: str, ref: str = "bo") -> int:
    with app.app_context():
        session = app.extensions["sqlalchemy"].session
        message = receive(session, customer=Customer(ref, "Bo"), body=words, channel="widget")
        session.commit()
        return message.conversation_id


def counted(app: Flask, model: type) -> int:
    with app.app_context():
        return int(app.extensions["sqlalchemy"].session.scalar(select(func.count()).select_from(model)))


def signed_in(app: Flask) -> FlaskClient:
    app.test_client_class = Client
    client = app.test_client()
    client.environ_base.update(HTTP_ORIGIN="http://localhost", HTTP_X_OPERATOR="mina")
    return client


def test_each_conversation_is_on_one_desk_and_has_its_own_number(ships: Flask, trains: Flask) -> None:
    before = counted(trains, Conversation)
    at_sea = ask(ships, "When does the ferry leave?")
    assert counted(trains, Conversation) == before
    by_rail = ask(trains, "Which platform?")
    for app, number, words, prefix in (
        (ships, at_sea, "When does the ferry leave?", "/support"),
        (trains, by_rail, "Which platform?", "/rail/help"),
    ):
        page = signed_in(app).get(f"{prefix}/conversations/{number}")
        assert page.status_code == 200
        assert words in page.text
        others = {"When does the ferry leave?", "Which platform?"} - {words}
        assert not any(other in signed_in(app).get(f"{prefix}/inbox?view=all").text for other in others)
    assert signed_in(ships).get("/rail/help/inbox").status_code == 404
    assert signed_in(trains).get("/support/inbox").status_code == 404


def test_jobs_stay_in_their_own_table_and_queue(ships: Flask, trains: Flask, redis: Redis) -> None:
    for app in (ships, trains):
        run_jobs(app)
    redis.flushdb()
    number = ask(ships, "Is there a cabin left?")
    assert enqueued(trains) == []
    assert [arguments["conversation_id"] for _, arguments in enqueued(ships, "drafting.draft")] == [number]
    pushed = {app.name: _rq_ids(app, redis) for app in (ships, trains)}
    queues = {queue.decode() for queue in redis.smembers("rq:queues")}
    namespace = ships.extensions["cairnloop"].settings.redis_namespace
    assert queues == {f"rq:queue:{queue_key(namespace, QueueName.INTERACTIVE)}"}, pushed
    assert run_jobs(trains) == 0
    assert run_jobs(ships) == 2, "the draft, and its question to those without an answer"


def _rq_ids(app: Flask, redis: Redis) -> list[bytes]:
    key = queue_key(app.extensions["cairnloop"].settings.redis_namespace, QueueName.INTERACTIVE)
    return list(redis.lrange(f"rq:queue:{key}", 0, -1))


def test_a_worker_works_for_its_own_desk_only(
    ships: Flask, trains: Flask, desks: dict[str, dict[str, Any]], database_url: str, redis_url: str
) -> None:
    number_at_sea, number_by_rail = ask(ships, "What may I bring on board?"), ask(trains, "Is the dining car open?")
    env = processes.environment(database_url, redis_url, **desks["trains"])
    with processes.worker(env, "--bulk", "0", "--default", "0") as worker:
        wait_until(lambda: _state(trains, number_by_rail) is DraftState.READY, worker)
        assert _state(ships, number_at_sea) is DraftState.GENERATING
        with ships.app_context():
            states = ships.extensions["sqlalchemy"].session.scalars(
                select(Job.state).where(Job.arguments["conversation_id"].as_integer() == number_at_sea)
            )
            assert set(states) == {JobState.QUEUED}


def _state(app: Flask, conversation_id: int) -> DraftState | None:
    with app.app_context():
        found: DraftState | None = app.extensions["sqlalchemy"].session.scalar(
            select(Draft.state).where(Draft.conversation_id == conversation_id)
        )
        return found


def test_signals_go_to_who_listens_to_that_app(ships: Flask, trains: Flask) -> None:
    heard: dict[str, list[str]] = {"ships": [], "trains": [], "both": []}
    with ExitStack() as listening:
        for signal in SIGNALS:
            for name, app in (("ships", ships), ("trains", trains)):
                listening.enter_context(
                    signal.connected_to(
                        lambda _, name=name, signal=signal, **__: heard[name].append(signal.name), sender=app
                    )
                )
            listening.enter_context(signal.connected_to(lambda sender, **_: heard["both"].append(sender)))
        number = ask(trains, "Does the night train run?")
        run_jobs(trains)
        with trains.app_context():
            session = trains.extensions["sqlalchemy"].session
            reply(session, number, actor=MINA, body="Every night.")
            resolve(session, number, actor=MINA)
            session.commit()
    assert heard["ships"] == []
    assert set(heard["trains"]) >= {"message_received", "draft_created", "reply_sent", "conversation_resolved"}
    assert set(heard["both"]) == {trains}


def test_live_events_of_one_desk_are_not_heard_at_the_other(ships: Flask, trains: Flask) -> None:
    """Both have a conversation of this number, and a customer of this reference."""
    number = ask(ships, "Hello from the sea")
    while ask(trains, "Hello from the rails", ref=f"bo-{number}") < number:
        pass
    hubs = {name: app.extensions["cairnloop"].hub for name, app in (("ships", ships), ("trains", trains))}
    topics = [CONSOLE, f"conversation:{number}", "customer:bo"]
    with hubs["ships"].subscribe(topics) as at_sea, hubs["trains"].subscribe(topics) as by_rail:
        assert at_sea.get(5) == by_rail.get(5) == Refetch()
        with trains.app_context():
            session = trains.extensions["sqlalchemy"].session
            reply(session, number, actor=MINA, body="Hello")
            session.commit()
        event = by_rail.get(5)
        assert isinstance(event, Event)
        assert event.data["conversation_id"] == number
        assert at_sea.get(0.5) is None


# --- both in one server --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def station(database_url: str, redis_url: str, desks: dict[str, dict[str, Any]]) -> Iterator[processes.Process]:
    """Both apps in one gunicorn process, as a host with two products serves them."""
    env = {
        **processes.environment(database_url, redis_url),
        "STATION_DESKS": json.dumps(desks),
    }
    with processes.web_server(env, app="tests.hosts.station:create_app()") as process:
        yield process


def test_customers_and_operators_of_both_share_a_process_and_nothing_else(
    ships: Flask, trains: Flask, station: processes.Process
) -> None:
    headers = {"X-Operator": "mina"}
    with ships.app_context():
        token = verifier.issue(Customer("one-person", "Una"))
    with (
        Line(station.url, "/support/live", headers=headers) as sea_desk,
        Line(station.url, "/rail/help/live", headers=headers) as rail_desk,
        Chat(station.url) as sea_chat,
        Chat(station.url, path="/rail/help/widget/socket") as rail_chat,
    ):
        sea_desk.expect("refetch")
        rail_desk.expect("refetch")
        assert sea_chat.join(token)["conversation"] is None
        assert rail_chat.join(token)["title"] == "Trains"
        number = sea_chat.say("Is anybody on deck?")["conversation"]
        assert sea_desk.expect("message")["conversation_id"] == number
        assert rail_chat.join(token)["conversation"] is None, "the same person, but not the same desk"
        number = rail_chat.say("Is anybody on the train?")["conversation"]
        assert rail_desk.expect("message")["conversation_id"] == number
        with trains.app_context():
            session = trains.extensions["sqlalchemy"].session
            reply(session, number, actor=MINA, body="The guard is.")
            session.commit()
        assert rail_chat.expect("message", kind="reply")["body"] == "The guard is."
        assert [frame for frame in sea_chat.quiet() if frame["type"] == "message"] == []


@pytest.mark.browser
def test_unsent_words_stay_with_the_desk_they_were_typed_at(
    ships: Flask, trains: Flask, station: processes.Process, page: Page
) -> None:
    """One browser tab, one origin, and a conversation of the same number and customer at either desk."""
    number = ask(ships, "Typed at sea")
    while ask(trains, "Typed on the rails", ref=f"una-{number}") < number:
        pass
    page.goto(f"{station.url}/host/sign-in/mina")
    page.goto(f"{station.url}/support/conversations/{number}")
    page.locator(f"#reply-{number}").press_sequentially("The captain says")
    page.goto(f"{station.url}/rail/help/conversations/{number}")
    expect(page.locator(f"#reply-{number}")).to_have_value("")
    page.goto(f"{station.url}/support/conversations/{number}")
    expect(page.locator(f"#reply-{number}")).to_have_value("The captain says")

    for prefix, kept in (("/support", ""), ("/rail/help", ""), ("/support", "I have lost my")):
        page.goto(f"{station.url}/host/chat/una?prefix={prefix}")
        chat = page.frame_locator("iframe")
        expect(chat.locator("#state-word")).to_have_text("Connected")
        expect(chat.locator("#body")).to_have_value(kept)
        if prefix == "/support" and not kept:
            chat.locator("#body").press_sequentially("I have lost my")
