"""`flask cairnloop worker` as a process: it does the work, survives its children, and stops cleanly."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from flask import Flask, current_app
from redis import Redis
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from flask_cairnloop import Customer, Operator, clock, receive, resolve
from flask_cairnloop.actors import Actor
from flask_cairnloop.drafting.models import Draft, DraftState
from flask_cairnloop.jobs import Job, JobState, enqueue
from flask_cairnloop.jobs.queries import worker_states
from tests.support import processes
from tests.support.host import HostNote
from tests.support.processes import children


def until(session: Session, met: Callable[[], bool], seconds: float = 30.0) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        session.rollback()
        if met():
            return True
        time.sleep(0.1)
    return False


def test_a_message_becomes_a_draft_without_anybody_asking(
    worker: processes.Process, session: Session, customer: Customer
) -> None:
    conversation_id = receive(session, customer=customer, body="Where is my parcel?", channel="widget").conversation_id
    session.commit()

    def ready() -> bool:
        state = session.scalar(select(Draft.state).where(Draft.conversation_id == conversation_id))
        return state is DraftState.READY

    assert until(session, ready)


def test_killed_children_are_replaced_and_work_goes_on(
    worker: processes.Process, session: Session, customer: Customer
) -> None:
    before = children(worker.popen.pid)
    assert len(before) == 4  # a relay and one worker a queue
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    conversation_id = receive(session, customer=customer, body="Is anybody there?", channel="widget").conversation_id
    session.commit()

    def ready() -> bool:
        state = session.scalar(select(Draft.state).where(Draft.conversation_id == conversation_id))
        return state is DraftState.READY

    assert until(session, ready, 45)
    assert children(worker.popen.pid).isdisjoint(before)


def outcome(session: Session, job_id: int, body: str) -> tuple[JobState, int, int]:
    """State and attempts of a job that writes a note, and how many notes there are of it."""
    session.rollback()
    job = session.get_one(Job, job_id, populate_existing=True)
    notes = session.scalars(select(HostNote.id).where(HostNote.body == body)).all()
    return job.state, job.attempt, len(notes)


def started(redis: Redis, body: str) -> int:
    """The process in which the job is in the middle of its work."""
    found = redis.blpop([f"{body}:started"], timeout=40)
    assert found is not None
    return int(found[1])


def test_a_job_whose_worker_is_killed_in_the_middle_takes_effect_once(
    worker: processes.Process, session: Session, redis: Redis
) -> None:
    job_id = enqueue(session, "host.patient", {"body": "killed"})
    session.commit()
    first = started(redis, "killed")
    os.kill(first, signal.SIGKILL)
    processes.wait_until(lambda: not Path(f"/proc/{first}").exists(), worker)
    assert outcome(session, job_id, "killed") == (JobState.RUNNING, 1, 0)

    session.execute(update(Job).where(Job.id == job_id).values(lease_until=clock.now()))  # in a minute's time
    session.commit()
    assert started(redis, "killed") != first
    redis.rpush("killed:go", 1)
    processes.wait_until(lambda: outcome(session, job_id, "killed") == (JobState.SUCCEEDED, 2, 1), worker)


def test_sigterm_lets_a_job_in_the_middle_finish(
    make_app: Callable[..., Flask], fresh_database_url: str, redis_url: str, redis: Redis, config: dict[str, object]
) -> None:
    names = {**config, "REDIS_NAMESPACE": f"{config['REDIS_NAMESPACE']}-finishes"}
    app = make_app(database_url=fresh_database_url, **names)
    with (
        app.app_context(),
        processes.worker(processes.environment(fresh_database_url, redis_url, **names)) as process,
    ):
        session = app.extensions["sqlalchemy"].session
        job_id = enqueue(session, "host.patient", {"body": "finished"})
        session.commit()
        busy = started(redis, "finished")
        process.popen.terminate()
        # The signal has arrived where nothing was to be done; who works goes on.
        processes.wait_until(lambda: children(process.popen.pid) == {busy}, process)
        assert outcome(session, job_id, "finished") == (JobState.RUNNING, 1, 0)
        redis.rpush("finished:go", 1)
        assert process.popen.wait(20) == 0
        assert outcome(session, job_id, "finished") == (JobState.SUCCEEDED, 1, 1)
        session.remove()


def test_sigterm_stops_everything_cleanly(database_url: str, redis_url: str, config: dict[str, object]) -> None:
    names = {**config, "REDIS_NAMESPACE": f"{config['REDIS_NAMESPACE']}-stops"}
    with processes.worker(processes.environment(database_url, redis_url, **names)) as process:
        mine = children(process.popen.pid)
        assert len(mine) == 4
        process.popen.terminate()
        assert process.popen.wait(20) == 0
    assert not any(Path(f"/proc/{pid}").exists() for pid in mine)


def test_every_process_beats_and_takes_its_row_away_at_the_end(
    fresh_database_url: str, redis_url: str, config: dict[str, object], make_app: Callable[..., Flask]
) -> None:
    names = {**config, "REDIS_NAMESPACE": f"{config['REDIS_NAMESPACE']}-beats"}
    app = make_app(database_url=fresh_database_url)

    def alive() -> dict[str, int]:
        with app.app_context():
            session = app.extensions["sqlalchemy"].session
            return {state.kind.value: state.alive for state in worker_states(session)}

    with processes.worker(processes.environment(fresh_database_url, redis_url, **names)) as process:
        processes.wait_until(lambda: set(alive().values()) == {1}, process)
        killed = next(iter(children(process.popen.pid)))
        os.kill(killed, signal.SIGKILL)
        processes.wait_until(lambda: 2 in alive().values(), process)  # the dead one's row, and its successor's
        process.popen.terminate()
        process.popen.wait(30)
    assert sum(alive().values()) == 1, "only the killed one could not say goodbye"


def test_ctrl_c_however_often_lets_a_running_job_finish(
    database_url: str,
    redis_url: str,
    config: dict[str, object],
    make_app: Callable[..., Flask],
    customer: Customer,
    operator: Operator,
) -> None:
    names = {
        **config,
        "REDIS_NAMESPACE": f"{config['REDIS_NAMESPACE']}-interrupted",
        "ON_CONVERSATION_RESOLVED": "tests.support.host:wait_for_a_word",
        "HOOK_TIMEOUT": 60,
    }
    with (
        processes.worker(processes.environment(database_url, redis_url, **names)) as process,
        make_app(**names).app_context(),
    ):
        session = current_app.extensions["sqlalchemy"].session
        number = receive(session, customer=customer, body="Thank you!", channel="widget").conversation_id
        resolve(session, number, actor=Actor.operator(operator))
        session.commit()
        job = select(Job).where(Job.name == "conversations.tell_resolved").order_by(Job.id.desc()).limit(1)
        assert until(session, lambda: session.scalar(select(HostNote).filter_by(body=f"begun {number}")) is not None)
        for _ in range(8):  # for two seconds: RQ takes what comes within one for the same key press
            os.killpg(process.popen.pid, signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                process.popen.wait(0.25)
        assert process.popen.poll() is None
        session.add(HostNote(body=f"go on {number}"))
        session.commit()
        assert process.popen.wait(30) == 0
        assert session.scalars(job).one().state is JobState.SUCCEEDED
        session.remove()


def test_no_row_is_left_running(worker: processes.Process, session: Session) -> None:
    def none_runs() -> bool:
        return session.scalar(select(Job.id).where(Job.state == JobState.RUNNING)) is None

    assert until(session, none_runs, 100.0)  # what a killed child held is taken back when its lease ends
