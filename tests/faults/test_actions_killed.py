"""A worker is killed before, in the middle of and after an action's effect; Redis loses what waited in it.

Each test ends with the rows that prove what happened: the effect, the action, its events.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from redis import Redis
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from flask_cairnloop import ActionProposal, Customer, propose_action, receive
from flask_cairnloop.governance import service
from flask_cairnloop.governance.models import ActionEvent
from flask_cairnloop.governance.types import ProposalState
from flask_cairnloop.jobs import Job, JobState
from flask_cairnloop.jobs.models import QueueName
from flask_cairnloop.jobs.outbox import Push, push
from tests.faults.conftest import Desk
from tests.faults.host import Place
from tests.faults.tools import AFTER, BEFORE, DURING
from tests.support import processes
from tests.support.host import OPERATORS, HostNote
from tests.support.processes import Process, wait_until

MINA, OMAR = OPERATORS["mina"], OPERATORS["omar"]
S = ProposalState
AT_WORK = 3  # processes that run actions


@pytest.fixture(scope="module")
def config(config: dict[str, Any]) -> dict[str, Any]:
    return {
        **config,
        "TOOLS": ["tests.faults.tools:Booking", "tests.faults.tools:Call", "tests.faults.tools:SafeCall"],
        "OPERATOR_RESOLVER": "tests.faults.tools:resolve",
    }


@pytest.fixture(scope="module")
def worker(database_url: str, redis_url: str, config: dict[str, Any]) -> Iterator[Process]:
    environment = processes.environment(database_url, redis_url, **config)
    # A process that is killed again and again is started later each time: so there are some.
    with processes.worker(environment, "--interactive", str(AT_WORK), app="tests.faults.tools:create_app") as process:
        yield process


def approved(at_the_desk: Desk, tool: str, customer: Customer) -> int:
    """An action that Mina proposed and Omar approved."""

    def propose(session: Session) -> int:
        conversation = receive(session, customer=customer, body="Hello", channel="widget").conversation_id
        session.commit()
        return propose_action(session, tool, {}, actor=MINA, conversation_id=conversation).id

    action = at_the_desk(propose)
    at_the_desk(lambda session: service.approve(session, action, actor=OMAR))
    return int(action)


def job_of(session: Session, action: int) -> Job:
    mine = Job.arguments["proposal_id"].as_integer() == action
    return session.scalars(select(Job).where(Job.name == service.RUN, mine).order_by(Job.id.desc())).first()  # type: ignore[return-value]


def kill(pid: int, worker: Process, at_the_desk: Desk, action: int) -> None:
    """End the process that runs an action, and let its lease run out, as time would."""
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not Path(f"/proc/{pid}").exists(), worker)
    statement = text(
        "UPDATE cairnloop.jobs SET lease_until = clock_timestamp()"
        " WHERE name = 'governance.run' AND state = 'running' AND (arguments->>'proposal_id')::bigint = :id"
    )
    at_the_desk(lambda session: session.execute(statement, {"id": action}))


def seen(session: Session, action: int, customer: Customer) -> tuple[ProposalState, list[str], list[str]]:
    """What an action is, what happened to it, and its effects."""
    events = select(ActionEvent.kind).where(ActionEvent.proposal_id == action).order_by(ActionEvent.id)
    effects = select(HostNote.body).where(HostNote.body.startswith(customer.ref)).order_by(HostNote.id)
    return (
        session.get_one(ActionProposal, action).state,
        [kind.value for kind in session.scalars(events)][2:],  # proposed, approved
        [body.rsplit(":", 1)[1] for body in session.scalars(effects)],
    )


def becomes(state: ProposalState, at_the_desk: Desk, worker: Process, action: int) -> None:
    wait_until(lambda: at_the_desk(lambda s: s.get_one(ActionProposal, action).state) is state, worker)
    wait_until(lambda: at_the_desk(lambda s: job_of(s, action).state) is JobState.SUCCEEDED, worker)


@pytest.mark.parametrize("where", [BEFORE, DURING])
def test_a_transactional_action_whose_worker_is_killed_has_no_effect_until_it_has_one(
    worker: Process, redis: Redis, at_the_desk: Desk, where: str
) -> None:
    place = Place(redis, where)
    action = approved(at_the_desk, "booking", place.customer)
    first = place.reached()
    assert at_the_desk(lambda s: seen(s, action, place.customer)) == (S.APPROVED, [], [])
    kill(first, worker, at_the_desk, action)
    assert place.reached() != first
    place.go_on()
    becomes(S.SUCCEEDED, at_the_desk, worker, action)
    key = at_the_desk(lambda s: s.get_one(ActionProposal, action).run_key)
    assert at_the_desk(lambda s: seen(s, action, place.customer)) == (S.SUCCEEDED, ["succeeded"], [key])
    assert at_the_desk(lambda s: job_of(s, action).attempt) == 2


@pytest.mark.parametrize("tool", ["booking", "call"])
def test_an_action_whose_worker_is_killed_after_its_end_was_written_is_done_once(
    worker: Process, app: Flask, redis: Redis, at_the_desk: Desk, tool: str
) -> None:
    place = Place(redis, AFTER)
    action = approved(at_the_desk, tool, place.customer)
    pid = place.reached()
    before = at_the_desk(lambda s: seen(s, action, place.customer))
    assert (before[0], len(before[2])) == (S.SUCCEEDED, 1)
    job = at_the_desk(lambda s: job_of(s, action))
    assert job.state is JobState.SUCCEEDED
    kill(pid, worker, at_the_desk, action)
    push(app.extensions["cairnloop"], [Push(job.id, 2, QueueName.INTERACTIVE, 60)])  # RQ never heard of the end
    other = approved(at_the_desk, "booking", Customer(f"behind-it-{action}"))
    becomes(S.SUCCEEDED, at_the_desk, worker, other)
    assert at_the_desk(lambda s: seen(s, action, place.customer)) == before


@pytest.mark.parametrize(("where", "effects"), [(BEFORE, 0), (DURING, 1)])
def test_an_external_action_that_was_cut_off_is_uncertain_and_never_called_again(
    worker: Process, redis: Redis, at_the_desk: Desk, where: str, effects: int
) -> None:
    place = Place(redis, where)
    action = approved(at_the_desk, "call", place.customer)
    first = place.reached()
    state, events, done = at_the_desk(lambda s: seen(s, action, place.customer))
    assert (state, events, len(done)) == (S.RUNNING, ["started"], effects)
    kill(first, worker, at_the_desk, action)
    becomes(S.UNCERTAIN, at_the_desk, worker, action)
    state, events, done = at_the_desk(lambda s: seen(s, action, place.customer))
    assert (state, events, len(done)) == (S.UNCERTAIN, ["started", "became_uncertain"], effects)
    at_the_desk(lambda s: service.settle(s, action, actor=OMAR, happened=bool(effects), note="Looked at their log."))
    settled = S.SUCCEEDED if effects else S.FAILED
    assert at_the_desk(lambda s: seen(s, action, place.customer))[0] is settled


def test_an_external_action_that_may_be_called_twice_is_with_the_same_key(
    worker: Process, redis: Redis, at_the_desk: Desk
) -> None:
    place = Place(redis, DURING)
    action = approved(at_the_desk, "safe_call", place.customer)
    first = place.reached()
    kill(first, worker, at_the_desk, action)
    assert place.reached() != first
    place.go_on()
    becomes(S.SUCCEEDED, at_the_desk, worker, action)
    state, events, keys = at_the_desk(lambda s: seen(s, action, place.customer))
    assert (state, events) == (S.SUCCEEDED, ["started", "started", "succeeded"])
    assert len(keys) == 2
    assert len(set(keys)) == 1


def test_an_approved_action_outlives_redis_with_everything_in_it(
    worker: Process, redis: Redis, at_the_desk: Desk
) -> None:
    places = [Place(redis, BEFORE) for _ in range(AT_WORK)]
    busy = [approved(at_the_desk, "booking", place.customer) for place in places]
    for place in places:
        place.reached()
    customer = Customer(f"waits-{busy[0]}")
    action = approved(at_the_desk, "booking", customer)  # every worker of its queue is busy
    redis.flushdb()
    assert at_the_desk(lambda s: job_of(s, action).state) is JobState.QUEUED
    for place, one in zip(places, busy, strict=True):
        place.go_on()
        becomes(S.SUCCEEDED, at_the_desk, worker, one)
    late = text("UPDATE cairnloop.jobs SET lease_until = clock_timestamp() WHERE id = :id AND state = 'queued'")
    job = at_the_desk(lambda s: job_of(s, action).id)
    at_the_desk(lambda s: s.execute(late, {"id": job}))
    becomes(S.SUCCEEDED, at_the_desk, worker, action)
    state, events, keys = at_the_desk(lambda s: seen(s, action, customer))
    assert (state, events, len(keys)) == (S.SUCCEEDED, ["succeeded"], 1)
