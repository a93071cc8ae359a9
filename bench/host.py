"""The host of the benchmarks: the tests' own, with a job that does nothing."""

from __future__ import annotations

from typing import Any

from flask import Flask

from flask_cairnloop.jobs import JobContext, job
from tests.support import host

NOTHING = "bench.nothing"


def nothing() -> None:
    """A job for RQ alone."""


@job(NOTHING)
def durable_nothing(_context: JobContext, **_arguments: Any) -> None:
    """The same as a durable job."""


def create_app() -> Flask:
    return host.create_app()
