"""gunicorn's side of a clean stop: ``gunicorn --config python:flask_cairnloop.realtime.gunicorn …``.

A host with a configuration file of its own imports the hook there instead::

    from flask_cairnloop.realtime.gunicorn import post_worker_init
"""

from __future__ import annotations

import _thread
import signal
from types import FrameType
from typing import Any

from flask_cairnloop.realtime.sockets import close_all, open_sockets

HTTP_THREADS = 4  # of a threaded worker's, kept free of sockets


def post_worker_init(worker: Any) -> None:
    """Close this worker's WebSockets when it is told to stop, and cap them so that HTTP keeps its threads.

    Without it gunicorn waits out the whole graceful time-out for sockets that nobody ends.
    """
    if type(worker).__name__ == "ThreadWorker":
        open_sockets.limit = max(1, worker.cfg.threads - HTTP_THREADS)
    previous = signal.getsignal(signal.SIGTERM)

    def stop(number: int, frame: FrameType | None) -> None:
        # Elsewhere: a signal handler must not wait for a lock that the code it interrupted may hold. Not by
        # threading.Thread, whose start() waits, which gevent forbids where its signal handlers run.
        _thread.start_new_thread(close_all, ())
        if callable(previous):
            previous(number, frame)

    signal.signal(signal.SIGTERM, stop)
