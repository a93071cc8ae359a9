"""How many durable jobs a second a worker does, beside RQ alone with the same kind of worker."""

from __future__ import annotations

import os
import subprocess
import sys
import time

from flask import Flask
from redis import Redis
from rq import Queue
from sqlalchemy import func, select

from bench.host import NOTHING, nothing
from bench.setting import ROOT, Place, place, report, table
from flask_cairnloop.jobs import Job, JobState, enqueue
from tests.support.processes import environment, worker

JOBS = 3_000
BATCH = 500

BURST = """
import os, time
from redis import Redis
from rq import Queue, SimpleWorker
redis = Redis.from_url(os.environ["URL"])
worker = SimpleWorker([Queue("bare", connection=redis)], connection=redis)
started = time.perf_counter()
worker.work(burst=True, logging_level="ERROR")
print(time.perf_counter() - started)
"""


def bare(here: Place) -> float:
    """RQ alone: one ``SimpleWorker`` in burst mode on a full queue."""
    with Redis.from_url(here.redis_url) as redis:
        queue = Queue("bare", connection=redis)
        for _ in range(JOBS // BATCH):
            queue.enqueue_many([Queue.prepare_data(nothing, result_ttl=0) for _ in range(BATCH)])
    done = subprocess.run(
        [sys.executable, "-c", BURST],
        cwd=ROOT,
        env={**os.environ, "URL": here.redis_url},
        check=True,
        timeout=300,
        capture_output=True,
        text=True,
    )
    return JOBS / float(done.stdout.splitlines()[-1])


def durable(here: Place) -> float:
    """Ours: the same number of rows in the outbox, one worker process for their queue."""
    app = here.app()
    with app.app_context():
        session = app.extensions["sqlalchemy"].session
        for start in range(0, JOBS, BATCH):
            for _ in range(start, start + BATCH):
                enqueue(session, NOTHING, {})
            session.commit()
    env = environment(here.database_url, here.redis_url)
    with worker(env, "--interactive", "0", "--bulk", "0", app="bench.host:create_app"):
        started, before = _until(app, 1)
        ended, after = _until(app, JOBS)
    return (after - before) / (ended - started)


def _until(app: Flask, count: int) -> tuple[float, int]:
    """The moment at which so many jobs are done, and how many were then."""
    deadline = time.monotonic() + 300
    done = 0
    counted = select(func.count()).where(Job.name == NOTHING, Job.state == JobState.SUCCEEDED)
    with app.app_context():
        session = app.extensions["sqlalchemy"].session
        while time.monotonic() < deadline:
            done = session.scalar(counted)
            session.rollback()
            if done >= count:
                return time.perf_counter(), done
            time.sleep(0.02)
    raise SystemExit(f"Only {done} of {count} jobs were done.")


def run(*, write: bool) -> None:
    """Measure both, one after the other."""
    with place() as here:
        plain = bare(here)
        ours = durable(here)
    rows = [["RQ alone, SimpleWorker", f"{plain:,.0f}", ""], ["durable jobs", f"{ours:,.0f}", f"{ours / plain:.0%}"]]
    report("jobs", table(["One worker process", "a second", "of bare"], rows), write=write)
