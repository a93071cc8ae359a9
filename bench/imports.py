"""A folder of Markdown files through ``kb import`` and the index, as processes of their own, cut off on the way.

The import is ended once by Ctrl-C and once by SIGKILL and called again, a bulk worker is killed once. Meanwhile
customers ask, to see what the indexing costs them.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from flask import Flask
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from bench.setting import ROOT, Place, median, percentile, place, report, table
from flask_cairnloop import Customer, receive
from flask_cairnloop.drafting.models import Draft, DraftState
from flask_cairnloop.jobs.models import Job, JobState
from flask_cairnloop.knowledge.importer import find_files
from flask_cairnloop.knowledge.models import Article
from flask_cairnloop.retrieval import indexing
from tests.support.processes import children, environment, worker

QUESTION = "How do I add a shared mailbox to my account?"
PAUSE = 1.0
APP = "tests.support.host:create_app"
LOOK = 0.25


@dataclass
class Memory:
    """The most memory that each kind of process has held, in MB, by what the system counted."""

    peak: dict[str, float] = field(default_factory=dict)

    def look(self, name: str, pid: int) -> None:
        with suppress(OSError, ValueError):
            for line in Path(f"/proc/{pid}/status").read_text().splitlines():
                if line.startswith("VmHWM:"):
                    held = int(line.split()[1]) / 1024
                    self.peak[name] = max(self.peak.get(name, 0.0), held)

    @contextmanager
    def watch(self, name: str, pid: int, *, below: bool = False) -> Iterator[None]:
        """Follow a process, or those below it, until the end."""
        done = threading.Event()

        def run() -> None:
            while not done.wait(LOOK):
                for number in children(pid) if below else {pid}:
                    self.look(name, number)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()


def bring_in(
    here: Place,
    paths: list[Path],
    memory: Memory,
    *,
    until: Callable[[], bool] | None = None,
    by: signal.Signals = signal.SIGINT,
) -> float:
    """Run the import, or end it on the way. Returns its seconds.

    Args:
        until: when it is ended, if it is.
        by: how it is ended.
    """
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "flask", "--app", APP, "cairnloop", "kb", "import", *map(str, paths)],
        cwd=ROOT,
        env=environment(here.database_url, here.redis_url),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    with memory.watch("kb import", process.pid):
        if until is not None:
            while not until() and process.poll() is None:
                time.sleep(LOOK)
            process.send_signal(by)
        process.wait()
    return time.perf_counter() - began


def ask(app: Flask, until: threading.Event, found: list[float]) -> None:
    """Ask one question after another; note the seconds from each commit to its draft."""
    with app.app_context():
        session: Session = app.extensions["sqlalchemy"].session
        while not until.is_set():
            customer = Customer(f"bench-{uuid.uuid4().hex}")
            message = receive(session, customer=customer, body=QUESTION, channel="widget")
            ready = select(Draft.id).where(
                Draft.conversation_id == message.conversation_id, Draft.state == DraftState.READY
            )
            start = time.perf_counter()
            session.commit()
            while session.scalar(ready) is None and time.perf_counter() - start < 60:
                session.rollback()
                time.sleep(0.005)
            found.append(time.perf_counter() - start)
            session.rollback()


def articles(app: Flask) -> int:
    with app.app_context():
        return app.extensions["sqlalchemy"].session.scalar(select(func.count()).select_from(Article)) or 0


def done(app: Flask, enough: int | None) -> bool:
    """Whether nothing is left to index, or so many articles have their vectors."""
    with app.app_context():
        session = app.extensions["sqlalchemy"].session()
        if enough is not None:
            return indexing.status(session, in_full=False).with_vectors >= enough
        return not indexing.work(session).due


def lose_one(app: Flask, workers: int) -> None:
    """Kill the bulk worker that holds a job."""
    with app.app_context():
        held = select(Job.claimed_by).where(Job.state == JobState.RUNNING, Job.name == indexing.INDEX)
        name = app.extensions["sqlalchemy"].session.scalar(held)
    if name is not None:
        pid = int(name.split(":")[1])
        if pid in children(workers):
            os.kill(pid, signal.SIGKILL)


def run(folder: Path, limit: int | None, vectors: int | None, *, write: bool) -> None:
    # A shell that runs this in the background had Ctrl-C ignored, for the import too.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    files = [found.path for found in find_files([folder])][:limit]
    paths = [folder] if limit is None else files  # names of files alone may stand for several, those in a folder do not
    memory = Memory()
    with place() as here:
        app = here.app(DRAFT_DELAY=PAUSE)
        cut = bring_in(here, paths, memory, until=lambda: articles(app) > len(files) // 3)
        after_interrupt = articles(app)
        cut += bring_in(here, paths, memory, until=lambda: articles(app) > len(files) * 2 // 3, by=signal.SIGKILL)
        after_kill = articles(app)
        rest = bring_in(here, paths, memory)
        again = bring_in(here, paths, memory)
        print(f"articles after Ctrl-C {after_interrupt}, after SIGKILL {after_kill}, in the end {articles(app)}")
        quiet: list[float] = []
        busy: list[float] = []
        env = environment(here.database_url, here.redis_url, DRAFT_DELAY=PAUSE)
        with worker(env, "--bulk", "0") as process, memory.watch("worker for drafts", process.popen.pid, below=True):
            _ask_for(app, quiet, 30)
        began = time.perf_counter()
        with (
            worker(env) as process,
            memory.watch("worker with bulk", process.popen.pid, below=True),
        ):
            stop = threading.Event()
            asking = threading.Thread(target=ask, args=(app, stop, busy))
            asking.start()
            time.sleep(10)
            lose_one(app, process.popen.pid)
            while not done(app, vectors):
                time.sleep(1.0)
            indexed = time.perf_counter() - began
            stop.set()
            asking.join()
        with app.app_context():
            status = indexing.status(app.extensions["sqlalchemy"].session())
            embedded = sum(model.passages for model in status.models)
    print(dict(status.states), [(failure.title, failure.reason) for failure in status.failed])
    rows = [
        ["files", f"{len(files):,}"],
        ["articles", f"{status.articles:,}"],
        ["passages", f"{status.passages:,}"],
        ["import, cut off twice, s", f"{cut + rest:,.1f}"],
        ["the same again, nothing new, s", f"{again:,.1f}"],
        ["vectors made while customers ask", f"{embedded:,}"],
        ["of them a second", f"{embedded / indexed:,.1f}"],
        *([f"most memory, {name}, MB", f"{held:,.0f}"] for name, held in sorted(memory.peak.items())),
        ["message to draft, quiet: median, p95, ms", _cells(quiet)],
        ["message to draft, while indexing: median, p95, ms", _cells(busy)],
    ]
    report("imports", table(["", "figure"], rows), write=write)


def _ask_for(app: Flask, found: list[float], seconds: float) -> None:
    stop = threading.Event()
    asking = threading.Thread(target=ask, args=(app, stop, found))
    asking.start()
    time.sleep(seconds)
    stop.set()
    asking.join()


def _cells(values: list[float]) -> str:
    counted = values[1:] or values  # the first one loads the model
    return f"{median(counted) * 1000:,.0f}, {percentile(counted, 0.95) * 1000:,.0f}"
