"""The web server's process is killed in the middle of a request: before its commit, and between commit and answer."""

from __future__ import annotations

import os
import signal
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import httpx
import psycopg
import pytest
from redis import Redis
from sqlalchemy import func, select
from sqlalchemy.engine import make_url
from sqlalchemy.orm import Session

from flask_cairnloop import Customer
from flask_cairnloop.audit.models import AuditEntry
from flask_cairnloop.conversations import service
from flask_cairnloop.conversations.models import Message
from flask_cairnloop.drafting.models import Draft, DraftState
from flask_cairnloop.jobs import Job
from tests.faults.clients import Operator, Patient
from tests.faults.conftest import Desk
from tests.faults.host import AFTER_COMMIT, Place
from tests.support.databases import blocked
from tests.support.processes import Process, children, wait_until


@dataclass(frozen=True)
class Kept:
    """What the database holds of a conversation, and of everything that was asked for with it.

    Args:
        answering: up to which message the drafts answer that are being made.
    """

    words: tuple[str, ...]
    answering: tuple[int, ...]
    audited: int
    jobs: int


def kept(conversation_id: int) -> Callable[[Session], Kept]:
    def read(session: Session) -> Kept:
        words = select(Message.body).where(Message.conversation_id == conversation_id).order_by(Message.sequence)
        audited = select(func.count()).where(
            AuditEntry.subject_type == "conversation", AuditEntry.subject_id == conversation_id
        )
        answering = select(Draft.answers_sequence).where(
            Draft.conversation_id == conversation_id, Draft.state == DraftState.GENERATING
        )
        counts = (session.scalar(count) or 0 for count in (audited, select(func.count()).select_from(Job)))
        return Kept(tuple(session.scalars(words)), tuple(session.scalars(answering)), *counts)

    return read


def kill(pid: int, server: Process) -> None:
    """gunicorn starts another one by itself."""
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: pid not in children(server.popen.pid) and children(server.popen.pid), server)


@contextmanager
def held(database_url: str, conversation_id: int) -> Iterator[None]:
    """Whoever writes into this conversation waits, until the block ends and their transactions with it."""
    plain = make_url(database_url).set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(plain) as connection:
        connection.execute("SELECT FROM cairnloop.conversations WHERE id = %s FOR UPDATE", (conversation_id,))
        yield
        connection.rollback()
        connection.autocommit = True
        busy = (
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
            " AND pid <> pg_backend_pid() AND state <> 'idle'"
        )
        wait_until(lambda: connection.execute(busy).fetchone() == (0,))


@pytest.fixture
def place(redis: Redis) -> Place:
    """A customer for whom the web server stops after each commit."""
    return Place(redis, AFTER_COMMIT)


@pytest.fixture
def chat(open_chat: Callable[[Customer], Patient], place: Place) -> Patient:
    """Their client; one message is said already."""
    chat = open_chat(place.customer)
    place.go_on()
    chat.say("Hello")
    chat.settle()
    place.reached()
    return chat


def test_a_message_whose_server_is_killed_before_the_commit_is_stored_by_the_resend_alone(
    live_server: Process, database_url: str, chat: Patient, place: Place, at_the_desk: Desk
) -> None:
    read = kept(chat.conversation or 0)
    before = at_the_desk(read)
    (process,) = children(live_server.popen.pid)
    with held(database_url, chat.conversation or 0):
        chat.say("Is anybody there?")
        wait_until(lambda: blocked(database_url), live_server)
        kill(process, live_server)
    assert at_the_desk(read) == before

    place.go_on()
    chat.settle()
    after = at_the_desk(read)
    assert after.words == (*before.words, "Is anybody there?") == tuple(chat.transcript.values())
    assert (before.answering, after.answering) == ((1,), (2,))


def test_a_message_whose_server_is_killed_after_the_commit_is_accepted_again_and_stored_once(
    live_server: Process, open_chat: Callable[[Customer], Patient], place: Place, at_the_desk: Desk
) -> None:
    chat = open_chat(place.customer)
    chat.say("Hello")
    process = place.reached()

    def find(session: Session) -> int:
        found = service.resumable(session, place.customer.ref)
        assert found is not None
        return found.id

    read = kept(at_the_desk(find))
    once = at_the_desk(read)
    assert (once.words, once.answering) == (("Hello",), (1,))
    kill(process, live_server)
    chat.settle()
    assert chat.transcript == {1: "Hello"}
    assert chat.doubles == []
    assert at_the_desk(read) == once


def reply(console: Operator, conversation_id: int, client_id: str) -> httpx.Response:
    return console.reply(conversation_id, "I am.", client_id)


def test_a_reply_whose_server_is_killed_before_the_commit_is_stored_by_the_resend_alone(
    live_server: Process, database_url: str, chat: Patient, place: Place, console: Operator, at_the_desk: Desk
) -> None:
    conversation_id, client_id = chat.conversation or 0, str(uuid.uuid4())
    read = kept(conversation_id)
    before = at_the_desk(read)
    (process,) = children(live_server.popen.pid)
    with ThreadPoolExecutor(1) as pool:
        with held(database_url, conversation_id):
            sending = pool.submit(reply, console, conversation_id, client_id)
            wait_until(lambda: blocked(database_url), live_server)
            kill(process, live_server)
        with pytest.raises(httpx.TransportError):
            sending.result(30)
    assert at_the_desk(read) == before

    place.go_on()
    assert reply(console, conversation_id, client_id).status_code == 200
    assert at_the_desk(read).words == (*before.words, "I am.")


def test_a_reply_whose_server_is_killed_after_the_commit_is_stored_once_however_often_it_is_sent(
    live_server: Process, chat: Patient, place: Place, console: Operator, at_the_desk: Desk
) -> None:
    conversation_id, client_id = chat.conversation or 0, str(uuid.uuid4())
    read = kept(conversation_id)
    with ThreadPoolExecutor(1) as pool:
        sending = pool.submit(reply, console, conversation_id, client_id)
        process = place.reached()
        once = at_the_desk(read)
        kill(process, live_server)
        with pytest.raises(httpx.TransportError):
            sending.result(30)
    assert once.words[-1] == "I am."
    assert reply(console, conversation_id, client_id).status_code == 200
    assert at_the_desk(read) == once
    chat.settle()
    assert tuple(chat.transcript.values()) == once.words
    assert chat.doubles == []
