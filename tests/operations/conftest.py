"""An install in good health, to be broken."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import text

from flask_cairnloop.actors import Actor
from flask_cairnloop.jobs.models import WorkerKind
from flask_cairnloop.knowledge.service import publish, save_article
from flask_cairnloop.testing import run_jobs
from tests.support.host import HostNote  # noqa: F401 - its table is part of the host

ACTOR = Actor.system("test")
BEAT = "INSERT INTO cairnloop.workers (name, kind, started_at, beat_at) VALUES (:kind, :kind, now(), now())"


def run_sql(app: Flask, statement: str, **values: Any) -> None:
    with app.app_context(), app.extensions["sqlalchemy"].engine.begin() as connection:
        connection.execute(text(statement), values)


def publish_article(app: Flask, slug: str) -> None:
    with app.app_context():
        session = app.extensions["sqlalchemy"].session
        article = save_article(session, slug=slug, title="Opening hours", body="We open at nine.", actor=ACTOR)
        publish(session, article.id, actor=ACTOR)
        session.commit()


@pytest.fixture
def healthy(make_app: Callable[..., Flask], fresh_database_url: str) -> Callable[..., Flask]:
    """``healthy(**keys)`` is an app on a database of its own: tables, an article in the index, workers that beat."""

    def make(**keys: Any) -> Flask:
        app = make_app(database_url=fresh_database_url)
        publish_article(app, "hours")
        run_jobs(app)
        for kind in WorkerKind:
            run_sql(app, BEAT, kind=kind.value)
        return make_app(**{"database_url": fresh_database_url, **keys})

    return make
