"""After forgetting, no table of the schema and nothing in Redis holds any of the person's words.

The person has come through the doors that people use: the chat's socket, the console's forms, a worker.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask import Flask
from redis import Redis
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from flask_cairnloop import Customer
from flask_cairnloop.actors import Actor, ActorKind
from flask_cairnloop.audit.models import AuditEntry
from flask_cairnloop.conversations.models import Conversation, CustomerRecord, Message, MessageKind
from flask_cairnloop.drafting.models import Draft, DraftState
from flask_cairnloop.knowledge.service import publish, save_article
from flask_cairnloop.privacy.service import forget
from flask_cairnloop.testing import run_jobs
from tests.conftest import close
from tests.faults.clients import Operator
from tests.support import traces
from tests.support.articles import GAUGE
from tests.support.host import OPERATORS, make_host
from tests.support.processes import Process, wait_until
from tests.support.websocket import Chat

REF = "xylocarp-9917"
ZEPHYRINE = Customer(REF, "Zephyrine Quillfeather", "zq7731@velvetmoss.example", "Oddmentorium")
QUESTION = "How do I reset the brass gauge after a power cut? My wumpelgauge is at Gnarlwood Mews."
MORE = "And does the snickerlatch need it too?"
EDITED = "Hold the brass button for ten seconds, dear Frobnicelle."
REPLY = "You wrote of a snickerlatch: no, but grundlewax helps."
NOTE = "She sounds blusterpated, ask her about the crumbleport."
COMMENT = "Splendiferous help!"
WORDS = (
    f"{REF} zephyrine quillfeather zq7731 velvetmoss oddmentorium wumpelgauge gnarlwood "
    "snickerlatch frobnicelle grundlewax blusterpated crumbleport splendiferous"
).split()
MINA = Actor.operator(OPERATORS["mina"])


@pytest.fixture(scope="module")
def config(config: dict[str, Any]) -> dict[str, Any]:
    """With a host that is told of resolved conversations, so that there is a job about a message as well."""
    return {**config, "ON_CONVERSATION_RESOLVED": "tests.support.host:note_who_was_told"}


@pytest.fixture(scope="module", autouse=True)
def _knowledge(database_url: str, redis_url: str, config: dict[str, Any]) -> None:
    app = make_host(database_url, redis_url, **config)
    with app.app_context():
        session = app.extensions["sqlalchemy"].session
        article = save_article(session, slug="brass-gauge", title="Resetting the brass gauge", body=GAUGE, actor=MINA)
        publish(session, article.id, actor=MINA)
        session.commit()
        session.remove()
    run_jobs(app)
    close(app)


@pytest.fixture
def chat(live_server: Process) -> Iterator[Chat]:
    with Chat(live_server.url) as chat:
        yield chat


@pytest.fixture
def desk(live_server: Process) -> Iterator[Operator]:
    desk = Operator(live_server.url)
    yield desk
    desk.leave()


@pytest.fixture
def conversation_id(
    session: Session, chat: Chat, desk: Operator, worker: Process, issue: Callable[[Customer], str]
) -> int:
    """What they and the team have said, with a draft that waits for a decision; their chat is still open."""
    chat.join(issue(ZEPHYRINE))
    number: int = chat.say(QUESTION)["conversation"]
    draft = wait_until(lambda: ready(session, number), worker)
    path = f"/conversations/{number}"
    assert desk.post(f"{path}/drafts/{draft}/approve", seen=str(2**40), body=EDITED).status_code == 200
    chat.expect("message", kind="reply")
    chat.say(MORE)
    assert desk.reply(number, REPLY).status_code == 200
    assert desk.post(f"{path}/note", body=NOTE, client_id=str(uuid.uuid4())).status_code == 200
    assert desk.post(f"{path}/resolve", seen=str(2**40)).status_code == 200
    chat.expect("message", kind="event")
    chat.send("rate", rating=5, comment=COMMENT)
    chat.expect("status", rating=5)
    chat.say(QUESTION)
    wait_until(lambda: ready(session, number), worker)
    chat.quiet()
    session.rollback()
    return number


def ready(session: Session, conversation_id: int) -> int | None:
    session.rollback()
    newest = select(Draft).where(Draft.conversation_id == conversation_id).order_by(Draft.id.desc()).limit(1)
    draft = session.scalars(newest).one_or_none()
    return draft.id if draft is not None and draft.state is DraftState.READY else None


def shape(session: Session, conversation_id: int) -> list[Any]:
    """What has to survive: the order, kind and time of messages and drafts, who of the team it was, and the rating."""
    session.rollback()
    messages = session.execute(
        select(Message.sequence, Message.kind, Message.event, Message.author_kind, Message.automatic, Message.draft_id)
        .add_columns(Message.created_at)
        .where(Message.conversation_id == conversation_id)
        .order_by(Message.sequence)
    ).all()
    team = session.scalars(
        select(Message.author_name)
        .where(Message.conversation_id == conversation_id, Message.author_kind == ActorKind.OPERATOR)
        .order_by(Message.sequence)
    ).all()
    drafts = session.execute(
        select(Draft.id, Draft.kind, Draft.grounding, Draft.grounding_numbers, Draft.decided_by, Draft.created_at)
        .where(Draft.conversation_id == conversation_id)
        .order_by(Draft.id)
    ).all()
    row = session.get_one(Conversation, conversation_id, populate_existing=True)
    return [[tuple(one) for one in messages], list(team), [tuple(one) for one in drafts], row.rating, row.created_at]


def trail(session: Session) -> list[tuple[Any, ...]]:
    columns = (AuditEntry.id, AuditEntry.occurred_at, AuditEntry.actor_kind, AuditEntry.actor_id, AuditEntry.action)
    rows = select(*columns, AuditEntry.subject_type, AuditEntry.subject_id, AuditEntry.data).order_by(AuditEntry.id)
    return [tuple(row) for row in session.execute(rows).all()]


def test_nothing_of_the_person_is_left(
    app: Flask, session: Session, redis: Redis, chat: Chat, conversation_id: int
) -> None:
    before = traces.found(session, redis, WORDS)
    assert {place.partition(" in ")[0] for place in before} == set(WORDS)  # the looking itself works
    tables = {place.rpartition(" in ")[2] for place in before}
    assert tables >= {"customers", "conversations", "messages", "drafts"}
    shape_before, trail_before = shape(session, conversation_id), trail(session)
    session.rollback()

    done = app.test_cli_runner().invoke(args=["cairnloop", "customers", "forget", REF, "--yes", "--json"])

    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told["erased"]["conversations"] == 1
    assert told["erased"]["drafts"] == len(shape_before[2]) >= 2
    assert told["erased"]["messages"] == len(shape_before[0]) + 1  # with the one that says it was closed
    session.rollback()
    assert traces.found(session, redis, WORDS) == set()

    shape_after = shape(session, conversation_id)
    assert shape_after[0][:-1] == shape_before[0]
    assert shape_after[0][-1][1] is MessageKind.EVENT
    assert shape_after[1:] == shape_before[1:]
    kept = session.scalars(
        select(Message.body).where(Message.conversation_id == conversation_id, Message.kind != MessageKind.EVENT)
    ).all()
    assert set(kept) == {"[erased]"}
    states = session.scalars(select(Draft.state).where(Draft.conversation_id == conversation_id)).all()
    assert DraftState.READY not in states
    assert states.count(DraftState.SUPERSEDED) >= 1

    # The trail is what it was, and goes on; it says that a customer did it, and nothing says which.
    trail_after = trail(session)
    assert trail_after[: len(trail_before)] == trail_before
    assert [entry[4] for entry in trail_after[len(trail_before) :]][-1] == "customer.forget"
    theirs = {entry[3] for entry in trail_after if entry[2] is ActorKind.CUSTOMER}
    assert len(theirs) == 1
    known = select(func.count()).where(CustomerRecord.pseudonym.in_(theirs) | CustomerRecord.ref.in_(theirs))
    assert session.scalar(known) == 0

    # The open chat was cut, and its page would not be let back into that conversation.
    assert chat.expect("error", code="disconnected")["message"] == "This chat was closed."
    assert chat.closed() == 1008


def test_the_console_shows_what_is_left_and_takes_no_more(
    session: Session, desk: Operator, redis: Redis, conversation_id: int
) -> None:
    forget(session, REF, actor=MINA)
    session.commit()
    page = desk.get(f"/conversations/{conversation_id}")
    assert page.status_code == 200
    assert page.text.count("[erased]") >= 5
    assert "Forgotten customer" in page.text
    assert "Forgotten customer" in desk.get("/inbox?view=all").text
    for act, fields in (
        ("reply", {"body": "Dear Zephyrine"}),
        ("note", {"body": "It was Zephyrine"}),
        ("reopen", {}),
        ("draft", {}),
    ):
        form = {**fields, "client_id": str(uuid.uuid4())}
        answer = desk.post(f"/conversations/{conversation_id}/{act}", target="", **form)
        assert answer.status_code == 409, act
        assert "The customer was forgotten" in answer.text
    assert traces.found(session, redis, WORDS) == set()


def test_writing_again_makes_a_new_customer(
    session: Session, live_server: Process, issue: Callable[[Customer], str], conversation_id: int
) -> None:
    old = session.get_one(CustomerRecord, forget(session, REF, actor=MINA).customer_id)
    session.commit()
    with Chat(live_server.url) as again:
        again.send("join", token=issue(ZEPHYRINE), conversation=conversation_id, after=None)
        assert again.expect("error")["code"] == "not_found"
        assert again.join(issue(ZEPHYRINE))["conversation"] is None
        number = again.say("Hello, have we met?")["conversation"]
    session.rollback()
    new = session.scalars(select(CustomerRecord).where(CustomerRecord.ref == REF)).one()
    assert number != conversation_id
    assert (new.id != old.id, new.pseudonym != old.pseudonym, new.name) == (True, True, "Zephyrine Quillfeather")
