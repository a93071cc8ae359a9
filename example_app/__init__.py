"""Spokeshed: a small, invented web product for bike-hire shops that has a support desk inside itself.

Everything here is the host's: its users, plans, bookings and trackers, its sign-in, its pages. What it takes to put
flask_cairnloop into it is in :func:`create_app` (one object and a few keys) and in ``hooks.py`` (what those keys name).
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flask import Flask
from flask_migrate import Migrate

from example_app import seed, views
from example_app.models import db
from flask_cairnloop import Cairnloop

HERE = Path(__file__).resolve().parent


def create_app(config: Mapping[str, Any] | None = None) -> Flask:
    """The example host.

    Args:
        config: keys that win over everything below; tests point it at their own servers.
    """
    app = Flask(__name__)
    app.config.from_mapping(
        SESSION_COOKIE_NAME="spokeshed",
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Lax",
        CAIRNLOOP_PRODUCT_NAME="Spokeshed help",
        CAIRNLOOP_FILE_STORAGE=str(_data() / "files"),  # a folder does while there is one machine; see docs/articles.md
        CAIRNLOOP_LOGIN_URL="/login",
        CAIRNLOOP_HELP_URL_PREFIX="/help",
        CAIRNLOOP_HELP_CONTACT_URL="/chat",
        CAIRNLOOP_FRAME_ANCESTORS=["'self'"],  # the start page shows the console beside the chat
        CAIRNLOOP_OPERATOR_LOADER="example_app.hooks:signed_in_operator",
        CAIRNLOOP_CUSTOMER_VERIFIER="example_app.hooks:verify_customer",
        CAIRNLOOP_CONTEXT_PROVIDER="example_app.hooks:what_we_know",
        CAIRNLOOP_AUTOMATION_POLICY="example_app.hooks:house_rules",
        CAIRNLOOP_OPERATOR_RESOLVER="example_app.hooks:operator_by_id",
        CAIRNLOOP_OPERATORS="example_app.hooks:our_team",
        CAIRNLOOP_AUTO_ASSIGN="first_reply",
        CAIRNLOOP_ACTION_POLICY="example_app.hooks:action_rules",
        CAIRNLOOP_TOOLS=[f"example_app.tools:{name}" for name in ("RefundCharge", "RestartTracker", "CancelBookings")],
        CAIRNLOOP_ON_CONVERSATION_RESOLVED="example_app.hooks:note_in_activity",
        CAIRNLOOP_ON_REPLY_UNSEEN="example_app.hooks:note_what_was_not_seen",
        CAIRNLOOP_ON_SLA_BREACH="example_app.hooks:note_that_we_are_late",
        CAIRNLOOP_LOW_RATING_DOES="reopen",
        CAIRNLOOP_REPLY_UNSEEN_AFTER=20,  # so that it can be watched
        CAIRNLOOP_ON_OUTBOUND="example_app.hooks:deliver_letter",
        CAIRNLOOP_BULK_LIMIT=10,  # so that a list of the demo is too long
    )
    app.config.from_mapping(config or {})
    _find_servers(app)
    db.init_app(app)
    Migrate(app, db, directory=str(HERE / "migrations"))
    Cairnloop(app)
    views.init_app(app)
    if traces := os.environ.get("DEMO_TRACES"):
        from example_app.tracing import export_to  # needs the `demo` extra

        export_to(Path(traces))
    app.cli.add_command(seed.command)
    return app


def _data() -> Path:
    """Where the example keeps what is its own."""
    return Path(os.environ.get("DEMO_DATA_DIR") or HERE.parent / ".demo").resolve()


def _find_servers(app: Flask) -> None:
    """Fill in the database, Redis and the signing key: given, from the environment, or the demo's embedded ones."""
    database = app.config.get("SQLALCHEMY_DATABASE_URI") or os.environ.get("DATABASE_URL")
    redis = app.config.get("CAIRNLOOP_REDIS_URL") or os.environ.get("REDIS_URL")
    data = _data()
    if not database or not redis:
        from example_app.servers import ensure  # needs the `demo` extra, which a real host does without

        servers = ensure(data)
        database = database or servers.database_url
        redis = redis or servers.redis_url
    app.config["SQLALCHEMY_DATABASE_URI"] = _with_driver(database)
    app.config["CAIRNLOOP_REDIS_URL"] = redis
    if not app.config.get("SECRET_KEY"):
        app.config["SECRET_KEY"] = os.environ.get("SECRET_KEY") or _own_secret(data / "secret-key")


def _with_driver(url: str) -> str:
    """Hosting services say ``postgres://``; SQLAlchemy wants the driver named."""
    scheme, separator, rest = url.partition("://")
    return f"postgresql+psycopg://{rest}" if separator and scheme in ("postgres", "postgresql") else url


def _own_secret(file: Path) -> str:
    """One random key for this data folder: web server, worker and command line must agree on it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    try:
        handle = os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except FileExistsError:
        return file.read_text()
    key = secrets.token_hex(32)
    with os.fdopen(handle, "w") as opened:
        opened.write(key)
    return key
