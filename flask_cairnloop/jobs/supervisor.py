"""``flask cairnloop worker``: one relay and a few RQ workers, each a process of its own, kept alive, stopped cleanly.

The parent opens neither the database nor the embedding model: a forked child must not share either.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from redis import Redis
from rq import SimpleWorker

from flask_cairnloop.jobs import runner
from flask_cairnloop.jobs.heartbeat import Heartbeat
from flask_cairnloop.jobs.models import QueueName, WorkerKind
from flask_cairnloop.jobs.outbox import queue_key
from flask_cairnloop.jobs.relay import run_relay

if TYPE_CHECKING:
    from flask_cairnloop.extension import Cairnloop

log = logging.getLogger(__name__)

GRACE_SECONDS = 90.0
BULK_NICENESS = 10  # embedding thousands of passages takes whole cores; drafts and pages on this machine come first
HEALTHY_SECONDS = 10.0


@dataclass(slots=True)
class Child:
    """One process to keep alive."""

    name: str
    work: Callable[[], None]
    pid: int = 0
    started: float = 0.0
    failures: int = 0
    not_before: float = field(default=0.0)


def supervise(cairnloop: Cairnloop, workers: dict[QueueName, int]) -> None:
    """Run until SIGTERM or SIGINT; then let running jobs finish, for at most 90 seconds."""
    children = [Child("relay", lambda: _relay(cairnloop))]
    for queue, count in workers.items():
        children += [
            Child(f"{queue.value}-{number}", lambda queue=queue: _worker(cairnloop, queue))  # type: ignore[misc]
            for number in range(1, count + 1)
        ]
    stop = threading.Event()
    previous = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        while not stop.is_set():
            for child in children:
                if not child.pid and time.monotonic() >= child.not_before:
                    _start(cairnloop, child)
            _reap(children)
            stop.wait(0.2)
    finally:
        _stop_all(children)
        for number, handler in previous.items():
            signal.signal(number, handler)


def _start(cairnloop: Cairnloop, child: Child) -> None:
    parent = os.getpid()
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        child.pid, child.started = pid, time.monotonic()
        return
    status = 1
    try:
        # Ctrl-C goes to the terminal's whole foreground group, and a second one makes an RQ worker drop its job. Out
        # of that group, the children hear of a stop from the parent alone, and once.
        os.setsid()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        with cairnloop.app.app_context():
            cairnloop.engine.dispose(close=False)
        _die_with(parent)
        child.work()
        status = 0
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _die_with(parent: int) -> None:
    """Stop this process when its parent is gone: an orphaned worker would go on unseen."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1.0)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="cairnloop-parent-watch", daemon=True).start()


def _reap(children: list[Child]) -> None:
    for child in children:
        if not child.pid:
            continue
        pid, status = os.waitpid(child.pid, os.WNOHANG)
        if not pid:
            continue
        lived = time.monotonic() - child.started
        child.failures = 0 if lived > HEALTHY_SECONDS else child.failures + 1
        child.not_before = time.monotonic() + min(30.0, 0.25 * 2**child.failures)
        child.pid = 0
        log.warning("%s ended with status %s; it is started again", child.name, os.waitstatus_to_exitcode(status))


def _stop_all(children: list[Child]) -> None:
    running = [child for child in children if child.pid]
    for child in running:
        os.kill(child.pid, signal.SIGTERM)
    deadline = time.monotonic() + GRACE_SECONDS
    while running and time.monotonic() < deadline:
        running = [child for child in running if os.waitpid(child.pid, os.WNOHANG)[0] == 0]
        time.sleep(0.05)
    for child in running:
        os.kill(child.pid, signal.SIGKILL)
        os.waitpid(child.pid, 0)


def _relay(cairnloop: Cairnloop) -> None:
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    with Heartbeat(cairnloop, runner.process_name(), WorkerKind.RELAY):
        run_relay(cairnloop, stop)


def _worker(cairnloop: Cairnloop, queue: QueueName) -> None:
    if queue is QueueName.BULK:
        os.nice(BULK_NICENESS)
    me = runner.serve(cairnloop.app)
    # A connection of its own: a worker blocks on the queue far longer than the web process may wait for Redis.
    redis = Redis.from_url(cairnloop.settings.redis_url)
    name = f"{queue_key(cairnloop.settings.redis_namespace, queue)}-{os.getpid()}-{int(time.time())}"
    worker = SimpleWorker(
        [queue_key(cairnloop.settings.redis_namespace, queue)],
        connection=redis,
        name=name,
        log_job_description=False,
    )
    with Heartbeat(cairnloop, me, WorkerKind(queue.value)):
        worker.work(with_scheduler=False, logging_level="WARNING")
