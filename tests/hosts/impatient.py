"""The harbour's office with a desk that asks after its operators three times a second, and not once a minute."""

from __future__ import annotations

from flask import Flask

from flask_cairnloop.console import live
from tests.hosts import harbour


def create_app() -> Flask:
    live.RECHECK_SECONDS = 0.3
    return harbour.create_app()
