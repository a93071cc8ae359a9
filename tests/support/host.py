"""A minimal host app, as a host would write it: its own table, its own sign-in, Cairnloop wired by configuration.

``create_app`` builds it from the environment, for web servers, workers and commands in processes of their own.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import replace
from typing import Any

from alembic.migration import MigrationContext
from alembic.operations import Operations
from flask import Blueprint, Flask, Response, current_app, redirect, render_template_string, request, session
from flask_migrate import Migrate
from flask_sqlalchemy import SQLAlchemy
from redis import Redis
from sqlalchemy import select
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from flask_cairnloop import Cairnloop, Customer, Delivery, Operator, Permission, SignedCustomerVerifier, Subject
from flask_cairnloop.database import migrations
from flask_cairnloop.hooks import ResolvedEvent
from flask_cairnloop.jobs import JobContext, job

SECRET_KEY = "a secret for tests only"
OPERATORS = {
    "mina": Operator("mina", "Mina Keller", "mina@host.example"),
    "omar": Operator("omar", "Omar Reyes", "omar@host.example"),
    "reader": Operator("reader", "Rita Reader", permissions=frozenset({"conversations.read"})),
    "editor": Operator("editor", "Eda Editor", permissions=frozenset({"knowledge.read"})),
    "oncall": Operator("oncall", "Ona Call", permissions=frozenset({"operations.read", "conversations.read"})),
    "outsider": Operator("outsider", "Otto Outsider", permissions=frozenset()),
}
verifier = SignedCustomerVerifier()


def night_team(query: str) -> list[Operator]:
    """An ``OPERATORS`` of people who are in one team."""
    people = (replace(OPERATORS[one], teams=frozenset({"Night"})) for one in ("mina", "omar"))
    return [one for one in people if query.casefold() in one.name.casefold()]


pages = Blueprint("host", __name__)


class Base(DeclarativeBase):
    """Base of the host's own tables."""


class HostNote(Base):
    """A table of the host, to commit or roll back together with ours."""

    __tablename__ = "host_notes"

    id: Mapped[int] = mapped_column(primary_key=True)
    body: Mapped[str]


@job("host.patient", max_attempts=3)
def be_patient(context: JobContext, *, body: str) -> None:
    """Write a note, and end only when a test says so, which can then catch a worker in the middle of a job.

    It puts its process id into the Redis list ``<body>:started`` and waits for something in ``<body>:go``.
    """
    context.session.add(HostNote(body=body))
    context.session.flush()
    with Redis.from_url(context.cairnloop.settings.redis_url) as redis:
        redis.rpush(f"{body}:started", os.getpid())
        if redis.blpop([f"{body}:go"], timeout=60) is None:
            raise TimeoutError


def load_operator() -> Operator | None:
    """The operator named by the ``X-Operator`` header, or signed in by ``/host/sign-in/<id>``."""
    return OPERATORS.get(request.headers.get("X-Operator") or session.get("operator", ""))


def find_operators(query: str) -> list[Operator]:
    """An ``OPERATORS``: by the beginning of a name, or of a part of it."""
    wanted = query.casefold()
    return [one for one in OPERATORS.values() if any(f" {one.name}".casefold().partition(f" {wanted}")[1:])]


SEALED = 4712


def all_but_sealed(_operator: Operator, _permission: Permission, subject: Subject | None) -> bool:
    """An ``AUTHORIZE`` that keeps one conversation from everybody; it may ask for the request, as on a page."""
    return request.path.startswith("/support") and subject != Subject("conversation", SEALED)


def wait_for_a_word(event: ResolvedEvent) -> None:
    """An ``ON_CONVERSATION_RESOLVED`` that leaves a note when it begins and ends when it finds one to go on."""
    notes = current_app.extensions["sqlalchemy"].session
    notes.add(HostNote(body=f"begun {event.conversation_id}"))
    notes.commit()
    while notes.scalar(select(HostNote.id).where(HostNote.body == f"go on {event.conversation_id}")) is None:
        notes.rollback()
        time.sleep(0.05)


def deliver(delivery: Delivery) -> None:
    """An ``ON_OUTBOUND`` that keeps what it was given."""
    notes = current_app.extensions["sqlalchemy"].session
    notes.add(HostNote(body=delivery.body))
    notes.commit()


def note_who_was_told(event: ResolvedEvent) -> None:
    """An ``ON_CONVERSATION_RESOLVED`` that takes its time and notes the worker command whose process called it."""
    time.sleep(0.2)
    notes = current_app.extensions["sqlalchemy"].session
    notes.add(HostNote(body=f"told {event.key} {os.getppid()}"))
    notes.commit()


def make_host(database_url: str, redis_url: str = "redis://localhost:6379/0", **config: Any) -> Flask:
    """Build a host app.

    Args:
        config: ``CAIRNLOOP_`` keys without their prefix, e.g. ``SCHEMA="desk"``; other keys of Flask go in as they
            are when they start with ``FLASK_``, without that prefix.
    """
    app = Flask("host")
    app.config.update(
        TESTING=True,
        SECRET_KEY=SECRET_KEY,
        SQLALCHEMY_DATABASE_URI=database_url,
        CAIRNLOOP_REDIS_URL=redis_url,
        CAIRNLOOP_OPERATOR_LOADER=load_operator,
        CAIRNLOOP_OPERATORS=find_operators,
        CAIRNLOOP_CUSTOMER_VERIFIER=verifier,
        CAIRNLOOP_DRAFT_DELAY=0.0,
        CAIRNLOOP_UNDO_SEND=0.0,
    )
    for name, value in config.items():
        app.config[name.removeprefix("FLASK_") if name.startswith("FLASK_") else f"CAIRNLOOP_{name}"] = value
    db = SQLAlchemy(app, model_class=Base)
    Migrate(app, db)
    Cairnloop(app, db)
    app.register_blueprint(pages)
    return app


def create_app() -> Flask:
    """The host of ``TEST_DATABASE_URL``, ``TEST_REDIS_URL`` and the JSON object in ``TEST_CONFIG``."""
    return make_host(
        os.environ["TEST_DATABASE_URL"],
        os.environ["TEST_REDIS_URL"],
        **json.loads(os.environ.get("TEST_CONFIG", "{}")),
    )


def create_tables(app: Flask) -> None:
    """Bring an empty database to the newest version without a folder of migrations, and leave no connection open."""
    with app.app_context():
        engine = app.extensions["sqlalchemy"].engine
        with engine.begin() as connection, Operations.context(MigrationContext.configure(connection)) as op:
            migrations.upgrade(op, from_=0, to=migrations.LATEST)
        Base.metadata.create_all(engine)
        engine.dispose()


@pages.get("/host/sign-in/<operator_id>")
def sign_in(operator_id: str) -> Response:
    """Sign an operator in on this browser."""
    session["operator"] = operator_id
    return redirect("/support/")  # type: ignore[return-value]


@pages.get("/host/chat/<ref>")
def chat(ref: str) -> str:
    """A page of the host with the chat on it, for the customer of this reference; ``?prefix=`` is another desk's."""
    token = verifier.issue(Customer(ref, ref.title(), f"{ref}@customer.example"))
    return render_template_string(CHAT_PAGE, token=token, url_prefix=request.args.get("prefix", "/support"))


CHAT_PAGE = """<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>Host page</title><link rel="icon" href="data:,">
<meta name="viewport" content="width=device-width"></head>
<body><main><h1>Host page</h1></main>
<script src="{{ url_prefix }}/widget.js" data-token="{{ token }}" data-open></script></body></html>
"""
