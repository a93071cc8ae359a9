"""The outbox: work leaves with its transaction or not at all, and losing Redis or a worker loses nothing."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta, tzinfo

import pytest
from flask import Flask
from redis import Redis
from sqlalchemy import event, func, select, text, update
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from flask_cairnloop import Customer, clock, disconnect, receive, signals
from flask_cairnloop.actors import Actor
from flask_cairnloop.database.after_commit import after_commit
from flask_cairnloop.errors import Conflict, IllegalTransition
from flask_cairnloop.jobs import (
    GiveUp,
    Job,
    JobContext,
    JobState,
    QueueName,
    enqueue,
    job,
    publish,
    runner,
    send_signal,
    service,
)
from flask_cairnloop.jobs.outbox import queue_key
from flask_cairnloop.jobs.relay import do_chores, sweep
from flask_cairnloop.jobs.runner import run_row
from flask_cairnloop.realtime import Event, Refetch
from flask_cairnloop.testing import frozen, run_jobs
from tests.support.host import HostNote
from tests.support.processes import wait_until

ONCALL = Actor.system("test")


@job("test.note", queue=QueueName.DEFAULT, max_attempts=3)
def leave_note(context: JobContext, *, body: str) -> None:
    context.session.add(HostNote(body=body))


@job("test.fail", max_attempts=2)
def always_fails(context: JobContext, *, body: str) -> None:
    context.session.add(HostNote(body=body))
    context.session.flush()
    raise ValueError("no luck today")


@job("test.give_up", max_attempts=5)
def gives_up(context: JobContext) -> None:
    raise GiveUp("never will")


mourned: list[tuple[str, str | None, Actor | None]] = []


def mourn(context: JobContext, *, body: str) -> None:
    mourned.append((body, context.error, context.actor))


@job("test.mourned", max_attempts=2, on_dead=mourn)
def is_mourned(context: JobContext, *, body: str) -> None:
    raise ValueError("no luck today")


@job("test.outrun", max_attempts=3)
def is_outrun(context: JobContext, *, body: str, keeps: bool = False) -> None:
    """While it runs, the relay takes it for dead and somebody else finishes it."""
    context.session.add(HostNote(body=body))
    if keeps:
        context.keep()
        context.session.add(HostNote(body=body))
    with context.cairnloop.engine.begin() as other:
        other.execute(
            update(Job)
            .where(Job.name == "test.outrun", Job.state == JobState.RUNNING)
            .values(claimed_by="another", attempt=2)
        )
    if keeps:
        context.keep()
        context.session.add(HostNote(body=f"{body} goes on"))


def notes(session: Session, body: str) -> int:
    session.rollback()
    return len(session.scalars(select(HostNote).where(HostNote.body == body)).all())


def row(session: Session, job_id: int) -> Job:
    session.rollback()
    found = session.get(Job, job_id, populate_existing=True)
    assert found is not None
    return found


def waiting(redis: Redis, app: Flask, queue: QueueName = QueueName.DEFAULT) -> list[str]:
    namespace = app.config["CAIRNLOOP_REDIS_NAMESPACE"]
    return [item.decode() for item in redis.lrange(f"rq:queue:{queue_key(namespace, queue)}", 0, -1)]


@pytest.fixture(autouse=True)
def _clean(redis: Redis, session: Session) -> None:
    redis.flushdb()
    session.execute(text("DELETE FROM cairnloop.jobs"))
    session.commit()


def test_a_job_is_pushed_after_commit_and_not_before(app: Flask, session: Session, redis: Redis) -> None:
    job_id = enqueue(session, "test.note", {"body": "pushed"})
    assert waiting(redis, app) == []
    session.commit()
    assert waiting(redis, app) == [f"{app.config['CAIRNLOOP_REDIS_NAMESPACE']}-{job_id}-1"]


def test_a_rolled_back_savepoint_drops_its_own_jobs_and_only_those(app: Flask, session: Session, redis: Redis) -> None:
    kept = enqueue(session, "test.note", {"body": "outer"})
    inner = session.begin_nested()
    enqueue(session, "test.note", {"body": "inner"})
    inner.rollback()
    with session.begin_nested():
        released = enqueue(session, "test.note", {"body": "released"})
    assert waiting(redis, app) == []
    session.commit()
    assert [int(name.split("-")[1]) for name in waiting(redis, app)] == [kept, released]


def lose_the_connection(session: Session) -> None:
    mine = session.scalar(text("SELECT pg_backend_pid()"))
    with session.get_bind().connect() as other:  # type: ignore[union-attr]
        other.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": mine})
    with suppress(OperationalError):
        session.close()


@pytest.mark.parametrize(
    "end",
    [
        lambda session: session.rollback(),
        lambda session: session.close(),
        lambda session: (session.begin_nested(), enqueue(session, "test.note", {"body": "inner"}), session.close()),
        lose_the_connection,
    ],
)
def test_what_was_never_committed_does_not_leave_with_a_later_commit(
    app: Flask, session: Session, redis: Redis, end: Callable[[Session], object]
) -> None:
    heard: list[int] = []

    def listen(sender: Flask, **payload: int) -> None:
        heard.append(payload["article_id"])

    with redis.pubsub() as events, signals.article_published.connected_to(listen, app):
        events.subscribe(f"{app.config['CAIRNLOOP_REDIS_NAMESPACE']}:events")
        enqueue(session, "test.note", {"body": "dropped"})
        with session.begin_nested():
            publish(session, "console", "article", article_id=1)
            send_signal(session, signals.article_published, article_id=1, revision_id=1)
        end(session)

        publish(session, "console", "article", article_id=2)
        send_signal(session, signals.article_published, article_id=2, revision_id=2)
        session.commit()
        messages = iter(lambda: events.get_message(timeout=10), None)
        told = next(message["data"] for message in messages if message["type"] == "message")
    assert heard == [2]
    assert json.loads(told)["data"] == {"article_id": 2}
    assert waiting(redis, app) == []


def test_a_savepoint_released_inside_a_flush_keeps_what_was_added_in_it(session: Session) -> None:
    """A host may ask for work while its rows are written."""

    def ask(flushed: Session, *_: object) -> None:
        with flushed.begin_nested():
            after_commit(flushed, heard.extend, "asked")

    heard: list[str] = []
    event.listen(session.registry(), "after_flush", ask)  # type: ignore[attr-defined]
    session.add(HostNote(body="flushed"))
    session.commit()
    assert heard == ["asked"]


def test_a_job_of_a_session_of_the_hosts_own_leaves_by_the_same_door(
    app: Flask, session: Session, redis: Redis
) -> None:
    with Session(app.extensions["sqlalchemy"].engine) as own:
        enqueue(own, "test.note", {"body": "own"})
        own.commit()
    assert len(waiting(redis, app)) == 1


def test_effect_and_end_of_a_job_are_committed_together(app: Flask, session: Session) -> None:
    job_id = enqueue(session, "test.note", {"body": "once"})
    session.commit()
    assert run_row(app, job_id, "me") is True
    assert run_row(app, job_id, "me") is False  # pushed twice, claimed once
    assert row(session, job_id).state is JobState.SUCCEEDED
    assert notes(session, "once") == 1


def test_two_workers_on_one_row_make_one_effect(app: Flask, session: Session) -> None:
    job_id = enqueue(session, "test.note", {"body": "raced"})
    session.commit()
    threads = [threading.Thread(target=run_row, args=(app, job_id, f"worker-{n}")) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert notes(session, "raced") == 1
    assert row(session, job_id).attempt == 1


def test_a_worker_that_was_outrun_drops_its_effects(app: Flask, session: Session) -> None:
    job_id = enqueue(session, "test.outrun", {"body": "ghost"})
    session.commit()
    run_row(app, job_id, "me")
    assert notes(session, "ghost") == 0
    assert row(session, job_id).claimed_by == "another"


def test_what_a_job_keeps_in_its_middle_stands_only_while_the_job_is_its_own(app: Flask, session: Session) -> None:
    job_id = enqueue(session, "test.outrun", {"body": "halfway", "keeps": True})
    session.commit()
    run_row(app, job_id, "me")
    assert notes(session, "halfway") == 1
    assert notes(session, "halfway goes on") == 0
    assert (row(session, job_id).claimed_by, row(session, job_id).state) == ("another", JobState.RUNNING)


@job("test.slow", max_attempts=1)
def is_slow(context: JobContext, *, body: str) -> None:
    """Outlasts its lease, while the relay looks for lost rows."""
    context.session.add(HostNote(body=body))
    deadline = time.monotonic() + 3
    while time.monotonic() < deadline:
        time.sleep(0.2)
        with context.cairnloop.app.app_context():
            sweep(context.cairnloop)


def test_a_job_that_outlasts_its_lease_keeps_it(app: Flask, session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "RUN_LEASE", timedelta(seconds=1))
    monkeypatch.setattr(runner, "HEARTBEAT_SECONDS", 0.25)
    job_id = enqueue(session, "test.slow", {"body": "slow but alive"})
    session.commit()
    run_row(app, job_id, "me")
    assert row(session, job_id).state is JobState.SUCCEEDED
    assert notes(session, "slow but alive") == 1


def test_a_failing_job_leaves_no_effect_waits_longer_each_time_and_dies(app: Flask, session: Session) -> None:
    job_id = enqueue(session, "test.fail", {"body": "half"})
    session.commit()
    before = clock.now()
    run_row(app, job_id, "me")
    first = row(session, job_id)
    assert (first.state, first.attempt) == (JobState.RETRYING, 1)
    assert timedelta(seconds=1) < first.run_at - before < timedelta(seconds=5)
    assert first.last_error == "ValueError: no luck today"
    run_jobs(app)
    assert row(session, job_id).state is JobState.DEAD
    assert notes(session, "half") == 0


def test_giving_up_is_final_at_once(app: Flask, session: Session) -> None:
    job_id = enqueue(session, "test.give_up", {})
    session.commit()
    run_row(app, job_id, "me")
    assert (row(session, job_id).state, row(session, job_id).attempt) == (JobState.DEAD, 1)


def test_a_unique_key_keeps_one_waiting_job_and_a_running_one_gets_a_successor(app: Flask, session: Session) -> None:
    later = clock.now() + timedelta(hours=1)
    first = enqueue(session, "test.note", {"body": "a"}, unique_key="one", run_at=later)
    session.commit()
    moved = enqueue(session, "test.note", {"body": "b"}, unique_key="one", run_at=later + timedelta(hours=1))
    session.commit()
    assert moved == first
    assert row(session, first).arguments == {"body": "b"}
    assert row(session, first).run_at == later + timedelta(hours=1)

    session.execute(update(Job).values(state=JobState.RUNNING, claimed_by="me", lease_until=later))
    session.commit()
    successor = enqueue(session, "test.note", {"body": "c"}, unique_key="one")
    session.commit()
    assert successor != first


@pytest.mark.parametrize(("waits", "asked", "kept"), [(1, 2, "first"), (2, 1, "second")])
def test_a_request_that_may_wait_does_not_delay_an_earlier_one(
    session: Session, waits: int, asked: int, kept: str
) -> None:
    def ask(body: str, hours: int) -> int:
        when = start + timedelta(hours=hours)
        return enqueue(session, "test.note", {"body": body}, unique_key="five", run_at=when, keep_earlier=True)

    start = clock.now()
    job_id = ask("first", waits)
    assert ask("second", asked) == job_id
    session.commit()
    assert row(session, job_id).run_at == start + timedelta(hours=1)
    assert row(session, job_id).arguments == {"body": kept}


def test_a_new_request_gives_a_job_that_waits_to_retry_a_full_series(app: Flask, session: Session) -> None:
    job_id = enqueue(session, "test.fail", {"body": "first"}, unique_key="three")
    session.commit()
    run_row(app, job_id, "me")
    assert enqueue(session, "test.fail", {"body": "second"}, unique_key="three") == job_id
    session.commit()
    waiting_row = row(session, job_id)
    assert (waiting_row.state, waiting_row.attempt, waiting_row.max_attempts) == (JobState.QUEUED, 1, 3)


def test_a_failed_attempt_makes_way_for_its_successor(app: Flask, session: Session) -> None:
    job_id = enqueue(session, "test.fail", {"body": "x"}, unique_key="two")
    session.execute(update(Job).values(state=JobState.RUNNING, claimed_by="dead", lease_until=clock.now(), attempt=1))
    session.commit()
    successor = enqueue(session, "test.note", {"body": "successor"}, unique_key="two")
    session.commit()
    sweep(app.extensions["cairnloop"])
    assert row(session, job_id).state is JobState.DISCARDED
    assert row(session, successor).state is JobState.QUEUED


@pytest.mark.parametrize("attempt", [1, 2])
def test_a_failed_attempt_makes_way_for_a_successor_that_runs_already(
    app: Flask, session: Session, attempt: int
) -> None:
    mourned.clear()
    older = enqueue(session, "test.mourned", {"body": "older"}, unique_key="four")
    session.execute(update(Job).values(state=JobState.RUNNING, claimed_by="dead", lease_until=clock.now()))
    session.commit()
    newer = enqueue(session, "test.mourned", {"body": "newer"}, unique_key="four")
    session.execute(update(Job).where(Job.id == older).values(attempt=attempt))
    session.execute(
        update(Job)
        .where(Job.id == newer)
        .values(state=JobState.RUNNING, claimed_by="me", lease_until=clock.now() + timedelta(minutes=1), attempt=1)
    )
    session.commit()
    sweep(app.extensions["cairnloop"])
    assert row(session, older).state is (JobState.DISCARDED if attempt == 1 else JobState.DEAD)
    assert mourned == []

    session.execute(update(Job).where(Job.id == newer).values(lease_until=clock.now(), attempt=2))
    session.commit()
    sweep(app.extensions["cairnloop"])
    assert row(session, newer).state is JobState.DEAD
    assert mourned == [("newer", "The worker was lost while it ran.", None)]  # no newer one is there any more


def test_whoever_holds_a_job_is_not_waited_for(app: Flask, session: Session) -> None:
    mourned.clear()
    job_id = enqueue(session, "test.mourned", {"body": "held"})
    session.commit()
    with app.extensions["cairnloop"].engine.begin() as other:
        other.execute(select(Job.id).where(Job.id == job_id).with_for_update())
        session.execute(text("SET LOCAL lock_timeout = '5s'"))
        with pytest.raises(Conflict, match="changing"):
            service.discard(session, job_id, actor=ONCALL)
        session.commit()
    assert row(session, job_id).state is JobState.QUEUED
    service.discard(session, job_id, actor=ONCALL)
    session.commit()
    assert row(session, job_id).state is JobState.DISCARDED
    assert mourned[-1] == ("held", "Its job was discarded before it ran.", ONCALL)


def test_redis_emptied_between_commit_and_run_loses_nothing(app: Flask, session: Session, redis: Redis) -> None:
    job_id = enqueue(session, "test.note", {"body": "emptied"})
    session.commit()
    redis.flushdb()
    session.execute(update(Job).values(lease_until=clock.now() - timedelta(seconds=1)))
    session.commit()
    sweep(app.extensions["cairnloop"])
    assert len(waiting(redis, app)) == 1
    run_row(app, job_id, "me")
    assert notes(session, "emptied") == 1


def test_a_job_that_waits_its_turn_is_not_pushed_twice(app: Flask, session: Session, redis: Redis) -> None:
    enqueue(session, "test.note", {"body": "patient"})
    session.commit()
    session.execute(update(Job).values(lease_until=clock.now() - timedelta(seconds=1)))
    session.commit()
    sweep(app.extensions["cairnloop"])
    assert len(waiting(redis, app)) == 1


def test_a_commit_with_redis_away_succeeds_and_the_job_stays(make_app, customer) -> None:  # type: ignore[no-untyped-def]
    app = make_app(REDIS_URL="redis://127.0.0.1:1/0")
    with app.app_context():
        session = app.extensions["sqlalchemy"].session
        job_id = enqueue(session, "test.note", {"body": "without redis"})
        session.commit()
        assert session.get(Job, job_id).state is JobState.QUEUED
        session.remove()


def test_live_events_that_redis_did_not_take_are_made_up_for(
    app: Flask,
    make_app: Callable[..., Flask],
    late_redis: tuple[str, Callable[[], None]],
    customer: Customer,
) -> None:
    """The one who was cut off is the process that publishes: those who listen have heard Redis all the time."""
    url, let_in = late_redis
    cut_off = make_app(REDIS_URL=url)
    hub = app.extensions["cairnloop"].hub
    with hub.subscribe(["console"]) as desk:
        assert desk.get(5) == Refetch()  # it hears; whoever comes from now on has missed nothing
        chat = hub.subscribe(["customer:known"])
        with cut_off.app_context():
            session = cut_off.extensions["sqlalchemy"].session
            receive(session, customer=customer, body="Is anybody there?", channel="widget")
            session.commit()
            assert disconnect("known") is False
            session.remove()
        let_in()
        assert desk.get(10) == Refetch()
        with chat:
            assert chat.get(10) == Refetch()
            assert chat.get(10) == Event("customer:known", "disconnect", {})
        assert desk.get(0) is None


def test_a_lost_worker_gives_its_row_back_when_the_lease_ends(app: Flask, session: Session) -> None:
    job_id = enqueue(session, "test.note", {"body": "taken back"})
    session.execute(
        update(Job).values(
            state=JobState.RUNNING, claimed_by="killed", attempt=1, lease_until=clock.now() - timedelta(seconds=1)
        )
    )
    session.commit()
    sweep(app.extensions["cairnloop"])
    assert row(session, job_id).state is JobState.RETRYING
    run_jobs(app)
    assert notes(session, "taken back") == 1


def test_timers_are_pushed_when_they_are_due(app: Flask, session: Session, redis: Redis) -> None:
    enqueue(session, "test.note", {"body": "later"}, run_at=clock.now() + timedelta(minutes=5))
    session.commit()
    sweep(app.extensions["cairnloop"])
    assert waiting(redis, app) == []
    session.execute(update(Job).values(run_at=clock.now()))
    session.commit()
    sweep(app.extensions["cairnloop"])
    assert len(waiting(redis, app)) == 1


@pytest.mark.parametrize(
    ("job_id", "says"),
    [
        ("99999999999999999999", "not in the range"),
        ("0", "not in the range"),
        ("x", "not a valid int"),
        ("4711", "no such"),
    ],
)
@pytest.mark.parametrize("verb", ["retry", "discard"])
def test_a_number_that_is_no_job_is_a_clear_error(app: Flask, verb: str, job_id: str, says: str) -> None:
    result = app.test_cli_runner().invoke(args=["cairnloop", "jobs", verb, job_id])
    assert result.exit_code in (1, 2)
    assert isinstance(result.exception, SystemExit)  # said by the command, not raised by the database
    assert says in result.output


def test_the_one_on_call_retries_and_discards(app: Flask, session: Session) -> None:
    job_id = enqueue(session, "test.fail", {"body": "y"})
    session.commit()
    run_jobs(app)
    assert row(session, job_id).state is JobState.DEAD

    runner = app.test_cli_runner()
    assert f"{job_id}  dead" in runner.invoke(args=["cairnloop", "jobs", "list"]).output
    assert runner.invoke(args=["cairnloop", "jobs", "retry", str(job_id)]).exit_code == 0
    assert row(session, job_id).state is JobState.QUEUED
    run_jobs(app)
    assert row(session, job_id).state is JobState.DEAD
    assert row(session, job_id).attempt == 4  # a new series of two

    assert runner.invoke(args=["cairnloop", "jobs", "discard", str(job_id)]).exit_code == 0
    assert row(session, job_id).state is JobState.DISCARDED
    again = runner.invoke(args=["cairnloop", "jobs", "discard", str(job_id)])
    assert again.exit_code == 1
    assert "discarded" in again.output
    with pytest.raises(IllegalTransition):
        service.discard(session, job_id, actor=ONCALL)
    session.rollback()


def test_jobs_that_ended_well_are_deleted_after_a_while_and_dead_ones_stay(app: Flask, session: Session) -> None:
    kept = enqueue(session, "test.note", {"body": "kept"})
    dead = enqueue(session, "test.give_up", {})
    session.commit()
    run_jobs(app)

    def left() -> set[int]:
        session.rollback()
        return set(session.scalars(select(Job.id).where(Job.id.in_((kept, dead)))))

    do_chores(app.extensions["cairnloop"], {})
    assert left() == {kept, dead}
    with frozen(clock.now() + timedelta(days=8)):
        do_chores(app.extensions["cairnloop"], {})
    assert left() == {dead}


@pytest.mark.parametrize("hours", [-1, 1])
def test_a_host_whose_clock_is_an_hour_off_takes_no_job_from_others_and_delays_none(
    app: Flask, session: Session, monkeypatch: pytest.MonkeyPatch, hours: int
) -> None:
    class Wrong(datetime):
        """What a process sees where somebody has moved the clock."""

        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:
            return datetime.now(tz) + timedelta(hours=hours)

    monkeypatch.setattr(clock, "datetime", Wrong)
    cairnloop = app.extensions["cairnloop"]
    held = enqueue(session, "test.note", {"body": "held"})
    elsewhere = {"state": JobState.RUNNING, "claimed_by": "another host", "attempt": 1}
    session.execute(
        update(Job).where(Job.id == held).values(**elsewhere, lease_until=func.now() + timedelta(minutes=1))
    )
    soon = enqueue(session, "test.note", {"body": f"soon {hours}"}, delay=timedelta(seconds=0.5))
    session.commit()

    def stands(job_id: int) -> JobState:
        session.rollback()
        return session.scalars(select(Job.state).where(Job.id == job_id)).one()

    sweep(cairnloop)
    assert (stands(held), stands(soon)) == (JobState.RUNNING, JobState.SCHEDULED)
    wait_until(lambda: sweep(cairnloop), seconds=5)
    assert (stands(held), stands(soon)) == (JobState.RUNNING, JobState.QUEUED)
    assert run_row(app, soon, "me")
    assert notes(session, f"soon {hours}") == 1
