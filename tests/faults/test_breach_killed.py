"""A worker is killed when a deadline has passed: it is told of once by the desk, and to the host under one key."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from redis import Redis
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from flask_cairnloop import Actor, Customer, receive
from flask_cairnloop.audit.models import AuditEntry
from flask_cairnloop.conversations.models import Priority
from flask_cairnloop.jobs import Job, JobState
from flask_cairnloop.service_levels import service
from flask_cairnloop.service_levels.models import ServiceClock
from flask_cairnloop.service_levels.targets import Target
from flask_cairnloop.service_levels.types import Policy
from tests.faults.conftest import Desk
from tests.faults.host import AFTER_COMMIT, PAGED, Place
from tests.faults.test_worker_killed import job_of, kill, lose_the_lease
from tests.support.host import HostNote
from tests.support.processes import Process, wait_until

TELL = "service_levels.tell_breached"


@pytest.fixture(scope="module")
def config(config: dict[str, Any]) -> dict[str, Any]:
    return {**config, "ON_SLA_BREACH": "tests.faults.host:page", "HOOK_TIMEOUT": 60}


@pytest.fixture(autouse=True)
def _promise(at_the_desk: Desk) -> None:
    def write(session: Session) -> None:
        if service.newest(session) is None:
            promise = {Priority.NORMAL: {Target.FIRST_RESPONSE: timedelta(seconds=1)}}
            service.save(session, Policy(promise), in_force=True, seen=0, actor=Actor.system("test"))

    at_the_desk(write)


def ask(session: Session, customer: Customer) -> int:
    return receive(session, customer=customer, body="Anybody?", channel="host").conversation_id


def stands(session: Session, conversation_id: int) -> tuple[int, int, list[str]]:
    """How often it is breached, how often that was written down, and under which keys the host was told."""
    clocks = session.scalars(select(ServiceClock).where(ServiceClock.conversation_id == conversation_id)).all()
    entries = select(func.count()).where(
        AuditEntry.action == "service_level.breach", AuditEntry.subject_id == conversation_id
    )
    keys = [f"service_clock:{clock.id}:breached" for clock in clocks]
    notes = session.scalars(select(HostNote.body).where(HostNote.body.in_(keys))).all()
    return sum(clock.breached_at is not None for clock in clocks), session.scalar(entries) or 0, list(notes)


def test_a_worker_killed_between_the_breach_and_the_hook_leaves_the_hook_to_another(
    worker: Process, redis: Redis, at_the_desk: Desk
) -> None:
    place = Place(redis, AFTER_COMMIT)
    conversation_id = at_the_desk(lambda session: ask(session, place.customer))
    pid = place.reached()  # the breach is committed, and its signal is being sent
    assert at_the_desk(lambda session: stands(session, conversation_id))[:2] == (1, 1)
    kill(pid, worker)
    wait_until(lambda: at_the_desk(lambda session: stands(session, conversation_id))[2] != [], worker)
    breached, entries, notes = at_the_desk(lambda session: stands(session, conversation_id))
    assert (breached, entries, len(notes)) == (1, 1, 1)


def test_a_worker_killed_while_the_host_is_told_tells_again_under_the_same_key(
    worker: Process, redis: Redis, at_the_desk: Desk
) -> None:
    place = Place(redis, PAGED)
    conversation_id = at_the_desk(lambda session: ask(session, place.customer))
    pid = place.reached()
    job = at_the_desk(lambda session: job_of(session, TELL))
    kill(pid, worker)
    at_the_desk(lambda session: lose_the_lease(session, job.id))
    place.reached()
    place.go_on()
    done = lambda session: session.get_one(Job, job.id, populate_existing=True).state is JobState.SUCCEEDED  # noqa: E731
    wait_until(lambda: at_the_desk(done), worker)
    breached, entries, notes = at_the_desk(lambda session: stands(session, conversation_id))
    assert (breached, entries, len(notes), len(set(notes))) == (1, 1, 2, 1)
