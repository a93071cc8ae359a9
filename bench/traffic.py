"""Customers who write while something else is measured, from a process of their own."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.sharedctypes import Synchronized

from bench.messages import joined, send
from bench.setting import Place
from flask_cairnloop import Customer

CUSTOMERS = 100
# How far behind its pace it may fall before it says so.
SHARE = 0.9


@contextmanager
def traffic(here: Place, rate: int) -> Iterator[None]:
    """So many messages a second through the widget's own session, taken in by another process.

    Raises:
        SystemExit: fewer came in, so what was measured was measured under less.
    """
    spawn = multiprocessing.get_context("spawn")
    done: Synchronized[int] = spawn.Value("q", 0)
    process = spawn.Process(target=_write, args=(here, rate, done), daemon=True)
    process.start()
    try:
        while done.value < CUSTOMERS:  # each of them has a conversation
            if not process.is_alive():
                raise SystemExit("The customers' process ended before it had begun.")
            time.sleep(0.1)
        started, before = time.monotonic(), done.value
        yield
        came = (done.value - before) / (time.monotonic() - started)
    finally:
        process.terminate()
        process.join()
    if came < rate * SHARE:
        raise SystemExit(f"Only {came:.0f} of {rate} messages a second came in.")


def _write(here: Place, rate: int, done: Synchronized[int]) -> None:
    # Nobody drafts for them: their jobs would wait for a worker that is not there.
    app = here.app(DRAFT_DELAY=3600.0, RATE_LIMITS={"messages": "100000/minute", "frames": "100000/minute"})
    lines = [joined(app, Customer(f"traffic-{number}", f"Customer {number}")) for number in range(CUSTOMERS)]
    started, sent = time.monotonic(), 0
    while True:
        send(lines[sent % CUSTOMERS])
        sent += 1
        done.value = sent
        time.sleep(max(0.0, started + sent / rate - time.monotonic()))
