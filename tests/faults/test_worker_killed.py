"""A worker is killed between taking a job and its effect, and between the effect and everybody's knowing of it."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest
from flask import Flask
from redis import Redis
from sqlalchemy import func, select, text
from sqlalchemy.engine import make_url
from sqlalchemy.orm import Session

from flask_cairnloop import Actor, Operator, receive, resolve
from flask_cairnloop.audit.models import AuditEntry
from flask_cairnloop.conversations.models import Message, MessageKind
from flask_cairnloop.drafting.models import Draft, DraftState
from flask_cairnloop.jobs import Job, JobState, enqueue
from flask_cairnloop.jobs.models import QueueName
from flask_cairnloop.jobs.outbox import Push, push
from flask_cairnloop.knowledge.service import publish, save_article
from flask_cairnloop.testing import run_jobs
from tests.conftest import close
from tests.faults.conftest import Desk
from tests.faults.host import AFTER_COMMIT, AT_THE_POLICY, TOLD, Place
from tests.support.articles import GAUGE
from tests.support.databases import blocked
from tests.support.host import HostNote, make_host
from tests.support.processes import Process, wait_until

QUESTION = "How do I reset the brass gauge after a power cut?"


@pytest.fixture(scope="module")
def config(config: dict[str, Any]) -> dict[str, Any]:
    return {
        **config,
        "AUTOMATION_POLICY": "tests.faults.host:allow",
        "ON_CONVERSATION_RESOLVED": "tests.faults.host:tell",
        "HOOK_TIMEOUT": 60,
    }


@pytest.fixture(scope="module", autouse=True)
def _knowledge(database_url: str, redis_url: str, config: dict[str, Any]) -> None:
    app = make_host(database_url, redis_url, **config)
    with app.app_context():
        session = app.extensions["sqlalchemy"].session
        author = Actor.system("test")
        article = save_article(session, slug="brass-gauge", title="Resetting the brass gauge", body=GAUGE, actor=author)
        publish(session, article.id, actor=author)
        session.commit()
        session.remove()
    run_jobs(app)
    close(app)


def kill(pid: int, worker: Process) -> None:
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not Path(f"/proc/{pid}").exists(), worker)


def ask(place: Place) -> Callable[[Session], int]:
    return lambda session: receive(session, customer=place.customer, body=QUESTION, channel="widget").conversation_id


def lose_the_lease(session: Session, job_id: int) -> None:
    """What time does when nobody renews it."""
    statement = text("UPDATE cairnloop.jobs SET lease_until = clock_timestamp() WHERE id = :id AND state = 'running'")
    assert session.execute(statement, {"id": job_id}).rowcount == 1  # type: ignore[attr-defined]


def job_of(session: Session, name: str) -> Job:
    """The newest job of this name."""
    return session.scalars(select(Job).where(Job.name == name).order_by(Job.id.desc()).limit(1)).one()


def answers(session: Session, conversation_id: int) -> tuple[list[DraftState], int, int]:
    """States of the drafts, how many replies went out, and how often that was written down."""
    return (
        list(session.scalars(select(Draft.state).where(Draft.conversation_id == conversation_id))),
        session.scalar(
            select(func.count()).where(
                Message.conversation_id == conversation_id, Message.kind == MessageKind.REPLY, Message.automatic
            )
        )
        or 0,
        session.scalar(
            select(func.count()).where(AuditEntry.action == "message.reply", AuditEntry.subject_id == conversation_id)
        )
        or 0,
    )


def test_a_worker_killed_before_its_effect_takes_effect_once(worker: Process, redis: Redis, at_the_desk: Desk) -> None:
    place = Place(redis, AT_THE_POLICY)
    conversation_id = at_the_desk(ask(place))
    first = place.reached()
    job = at_the_desk(lambda session: job_of(session, "drafting.draft"))
    assert (job.state, job.attempt) == (JobState.RUNNING, 1)
    kill(first, worker)
    assert at_the_desk(lambda session: answers(session, conversation_id)) == ([DraftState.GENERATING], 0, 0)

    at_the_desk(lambda session: lose_the_lease(session, job.id))
    assert place.reached() != first
    place.go_on()
    once = ([DraftState.APPROVED], 1, 1)
    wait_until(lambda: at_the_desk(lambda session: answers(session, conversation_id)) == once, worker)
    job = at_the_desk(lambda session: session.get_one(Job, job.id))
    assert (job.state, job.attempt) == (JobState.SUCCEEDED, 2)


def test_a_worker_killed_after_its_effect_was_committed_takes_effect_once(
    worker: Process, app: Flask, redis: Redis, at_the_desk: Desk
) -> None:
    place = Place(redis, AFTER_COMMIT)
    conversation_id = at_the_desk(ask(place))
    pid = place.reached()
    once = ([DraftState.APPROVED], 1, 1)
    assert at_the_desk(lambda session: answers(session, conversation_id)) == once
    job = at_the_desk(lambda session: job_of(session, "drafting.draft"))
    assert job.state is JobState.SUCCEEDED
    kill(pid, worker)

    # RQ never heard of the end. Whoever hands the job out again, it has no effect; what comes after it has.
    push(app.extensions["cairnloop"], [Push(job.id, 2, QueueName.INTERACTIVE, 60)])
    marker = at_the_desk(lambda session: enqueue(session, "faults.note", {"body": "behind it"}))
    wait_until(lambda: at_the_desk(lambda session: session.get_one(Job, marker)).state is JobState.SUCCEEDED, worker)
    assert at_the_desk(lambda session: answers(session, conversation_id)) == once
    job = at_the_desk(lambda session: session.get_one(Job, job.id))
    assert (job.state, job.attempt) == (JobState.SUCCEEDED, 1)


def test_a_worker_killed_between_a_hook_and_its_record_calls_it_again_with_the_same_key(
    worker: Process, redis: Redis, database_url: str, at_the_desk: Desk, operator: Operator
) -> None:
    place = Place(redis, TOLD)
    conversation_id = at_the_desk(ask(place))
    at_the_desk(lambda session: resolve(session, conversation_id, actor=operator))
    first = place.reached()
    job = at_the_desk(lambda session: job_of(session, "conversations.tell_resolved"))

    def told(session: Session) -> list[str]:
        key = f"told conversation:{conversation_id}:%"
        return list(session.scalars(select(HostNote.body).where(HostNote.body.like(key))))

    plain = make_url(database_url).set(drivername="postgresql").render_as_string(hide_password=False)
    with closing(psycopg.connect(plain)) as held:
        held.execute("SELECT FROM cairnloop.jobs WHERE id = %s FOR UPDATE", (job.id,))
        place.go_on()
        wait_until(lambda: blocked(database_url), worker)  # the hook has answered; its end waits to be written down
        kill(first, worker)
    assert len(at_the_desk(told)) == 1
    assert at_the_desk(lambda session: session.get_one(Job, job.id)).state is JobState.RUNNING

    at_the_desk(lambda session: lose_the_lease(session, job.id))
    assert place.reached() != first
    place.go_on()
    wait_until(lambda: at_the_desk(lambda session: session.get_one(Job, job.id)).state is JobState.SUCCEEDED, worker)
    first_key, second_key = at_the_desk(told)
    assert first_key == second_key
