"""A worker is killed while a reply is due that could be taken back until now: it is sent, and once."""

from __future__ import annotations

import uuid
from contextlib import closing
from typing import Any

import psycopg
import pytest
from redis import Redis
from sqlalchemy import func, select
from sqlalchemy.engine import make_url
from sqlalchemy.orm import Session

from flask_cairnloop import Customer, open_conversation
from flask_cairnloop.audit.models import AuditEntry
from flask_cairnloop.conversations import sending
from flask_cairnloop.conversations.models import Message, MessageKind, PendingReply, PendingState
from flask_cairnloop.jobs import Job, JobState
from tests.faults.conftest import Desk
from tests.faults.host import AFTER_COMMIT, Place
from tests.faults.test_worker_killed import job_of, kill, lose_the_lease
from tests.support.host import OPERATORS
from tests.support.processes import Process, wait_until

MINA = OPERATORS["mina"]


@pytest.fixture(scope="module")
def config(config: dict[str, Any]) -> dict[str, Any]:
    return {**config, "UNDO_SEND": 0.5}


def hold(session: Session, customer: Customer) -> tuple[int, int]:
    """A first word of ours on its way, so that there is no draft; returns its conversation and its own id."""
    conversation_id = open_conversation(session, customer=customer, actor=MINA, subject="Your order").id
    taken = sending.send_reply(
        session, conversation_id, actor=MINA, body="On its way.", seen=0, shown=0, client_id=uuid.uuid4(), resolves=True
    )
    assert taken.pending is not None
    return conversation_id, taken.pending.id


def stands(session: Session, conversation_id: int, pending_id: int) -> tuple[PendingState, int, int]:
    """Where the reply stands, how often it went out, and how often that was written down."""
    replies = select(func.count()).where(Message.conversation_id == conversation_id, Message.kind == MessageKind.REPLY)
    entries = select(func.count()).where(AuditEntry.action == "message.reply", AuditEntry.subject_id == conversation_id)
    state = session.get_one(PendingReply, pending_id).state
    return state, session.scalar(replies) or 0, session.scalar(entries) or 0


def test_a_worker_killed_in_the_middle_of_sending_sends_once(
    worker: Process, database_url: str, redis: Redis, customer: Customer, at_the_desk: Desk
) -> None:
    conversation_id, pending_id = at_the_desk(lambda session: hold(session, customer))
    plain = make_url(database_url).set(drivername="postgresql").render_as_string(hide_password=False)
    with closing(psycopg.connect(plain)) as held:
        held.execute("SELECT FROM cairnloop.conversations WHERE id = %s FOR UPDATE", (conversation_id,))
        # It is due, and its job waits for the conversation: it cannot come to its end.
        due = lambda session: job_of(session, sending.JOB)  # noqa: E731
        wait_until(lambda: at_the_desk(due).state is JobState.RUNNING, worker)
        job = at_the_desk(due)
        kill(int(job.claimed_by.split(":")[1]), worker)
    assert at_the_desk(lambda s: stands(s, conversation_id, pending_id)) == (PendingState.PENDING, 0, 0)

    at_the_desk(lambda session: lose_the_lease(session, job.id))
    once = (PendingState.SENT, 1, 1)
    wait_until(lambda: at_the_desk(lambda s: stands(s, conversation_id, pending_id)) == once, worker)
    assert at_the_desk(lambda session: session.get_one(Job, job.id)).attempt == 2


def test_a_worker_killed_after_it_was_sent_sends_no_second(worker: Process, redis: Redis, at_the_desk: Desk) -> None:
    place = Place(redis, AFTER_COMMIT)
    conversation_id, pending_id = at_the_desk(lambda session: hold(session, place.customer))
    pid = place.reached()
    once = (PendingState.SENT, 1, 1)
    assert at_the_desk(lambda s: stands(s, conversation_id, pending_id)) == once
    kill(pid, worker)
    at_the_desk(lambda session: sending.deliver(session, conversation_id, pending_id))
    assert at_the_desk(lambda s: stands(s, conversation_id, pending_id)) == once


def test_what_is_due_while_no_worker_runs_is_sent_by_the_next_one(
    customer: Customer, at_the_desk: Desk, database_url: str, redis_url: str, config: dict[str, Any]
) -> None:
    from tests.support import processes

    conversation_id, pending_id = at_the_desk(lambda session: hold(session, customer))
    environment = processes.environment(database_url, redis_url, **config)
    with processes.worker(environment, app="tests.faults.host:create_app") as late:
        wait_until(
            lambda: at_the_desk(lambda s: stands(s, conversation_id, pending_id)) == (PendingState.SENT, 1, 1), late
        )
