"""Which worker processes are alive: each has a row and renews it.

All times are the database's, so that hosts whose clocks differ agree on who is alive.
"""

from __future__ import annotations

import logging
import threading
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING

from sqlalchemy import delete, func
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import SQLAlchemyError

from flask_cairnloop.jobs.models import WorkerKind, WorkerProcess

if TYPE_CHECKING:
    from flask_cairnloop.extension import Cairnloop

log = logging.getLogger(__name__)

BEAT_SECONDS = 5.0
ALIVE = timedelta(seconds=30)  # without a beat; a few may be late
FORGET = timedelta(days=1)  # rows of processes that were killed


class Heartbeat:
    """Renews the row of this process until it ends. A context manager; leaving it takes the row away.

    A thread of its own beats also while a long job runs: busy is not dead. Losing the database costs beats, not the
    process.

    Args:
        name: unique among all processes of all hosts.
    """

    def __init__(self, cairnloop: Cairnloop, name: str, kind: WorkerKind) -> None:
        with cairnloop.app.app_context():
            self._engine = cairnloop.engine  # the thread has no app context to ask for it
        self._name = name
        self._kind = kind
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="cairnloop-heartbeat", daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(2.0)
        with suppress(SQLAlchemyError), self._engine.begin() as connection:
            connection.execute(delete(WorkerProcess).where(WorkerProcess.name == self._name))

    def _run(self) -> None:
        while True:
            try:
                self._beat()
            except SQLAlchemyError as error:
                log.warning("The heartbeat of %s waits for the database (%s)", self._name, type(error).__name__)
            if self._stop.wait(BEAT_SECONDS):
                return

    def _beat(self) -> None:
        moment = func.clock_timestamp()
        row = insert(WorkerProcess).values(name=self._name, kind=self._kind, started_at=moment, beat_at=moment)
        with self._engine.begin() as connection:
            connection.execute(
                row.on_conflict_do_update(index_elements=[WorkerProcess.name], set_={"beat_at": row.excluded.beat_at})
            )
