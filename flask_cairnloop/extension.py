"""The front door: one object that ties the desk to a Flask app."""

from __future__ import annotations

import threading
from typing import cast

from flask import Blueprint, Flask, Response, abort, request
from flask_sqlalchemy import SQLAlchemy
from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from rq import Queue
from sqlalchemy import Engine
from sqlalchemy.orm import Session, scoped_session

from flask_cairnloop.config import Settings
from flask_cairnloop.database.base import SCHEMA_TOKEN
from flask_cairnloop.errors import ConfigurationError
from flask_cairnloop.hooks import Hooks
from flask_cairnloop.jobs.breaker import Breaker
from flask_cairnloop.jobs.models import QueueName
from flask_cairnloop.jobs.outbox import queue_key
from flask_cairnloop.rate_limits import RateLimits
from flask_cairnloop.realtime.hub import Hub
from flask_cairnloop.realtime.publish import Publisher
from flask_cairnloop.realtime.sockets import Sockets
from flask_cairnloop.resources import folder

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


class Cairnloop:
    """A support desk inside a Flask app.

    Args:
        app: the app; or call :meth:`init_app` in a factory.
        db: the app's Flask-SQLAlchemy object; ``app.extensions["sqlalchemy"]`` when left out.

    What belongs to an app is kept in ``app.extensions["cairnloop"]``: one object may be given several apps.
    """

    app: Flask
    db: SQLAlchemy
    settings: Settings
    hooks: Hooks

    def __init__(self, app: Flask | None = None, db: SQLAlchemy | None = None) -> None:
        self._db = db
        self._redis: Redis | None = None
        self._hub: Hub | None = None
        self._reading: Engine | None = None
        self._rate_limits: RateLimits | None = None
        self._queues: dict[QueueName, Queue] = {}
        self._lock = threading.Lock()
        self.breaker = Breaker()
        self.publisher = Publisher(self)
        if app is not None:
            self.init_app(app, db)

    def init_app(self, app: Flask, db: SQLAlchemy | None = None) -> None:
        """Read the configuration, mount the blueprint, and translate our schema on the app's engine.

        Raises:
            ConfigurationError: a key is wrong, a hook cannot be imported, or there is no Flask-SQLAlchemy on the app.
        """
        if "cairnloop" in app.extensions:
            raise ConfigurationError("This app has a Cairnloop already.")
        if hasattr(self, "app"):  # one object at module level and a factory that makes many apps: each has its own
            Cairnloop(app, db or self._db)
            return
        self.settings = Settings.load(app.config)
        found: SQLAlchemy | None = db or self._db or app.extensions.get("sqlalchemy")
        if found is None:
            raise ConfigurationError(
                "Cairnloop needs Flask-SQLAlchemy: call SQLAlchemy(app), or db.init_app(app), before Cairnloop(app)."
            )
        if app.extensions.get("sqlalchemy") is not found:
            raise ConfigurationError(
                "Call db.init_app(app) before Cairnloop: the database has no engine for this app yet."
            )
        self.app = app
        self.db = cast("SQLAlchemy", found)
        self.hooks = Hooks(app, self.settings)
        self.hooks.resolve()
        self._translate_schema()
        app.extensions["cairnloop"] = self
        from flask_cairnloop import help_centre, mcp

        app.register_blueprint(self._blueprint(), url_prefix=self.settings.url_prefix)
        help_centre.mount(self)
        mcp.mount(self)
        from flask_cairnloop.cli import group
        from flask_cairnloop.database.autogenerate import leave_our_schema_alone

        app.cli.add_command(group)
        leave_our_schema_alone(app, self.settings.schema)

    def _translate_schema(self) -> None:
        with self.app.app_context():
            engine = self.db.engine
            if engine.dialect.name != "postgresql":
                raise ConfigurationError(
                    f"Cairnloop needs PostgreSQL; SQLALCHEMY_DATABASE_URI is for {engine.dialect.name}."
                )
            already = engine.get_execution_options().get("schema_translate_map") or {}
            engine.update_execution_options(schema_translate_map={**already, SCHEMA_TOKEN: self.settings.schema})

    # --- what the rooms use -----------------------------------------------------------------------

    @property
    def engine(self) -> Engine:
        """The host's default engine. Needs an app context."""
        return self.db.engine

    @property
    def reading(self) -> Engine:
        """The same for single statements that only read, without a transaction around each. Needs no app context."""
        with self._lock:
            if self._reading is None:
                with self.app.app_context():
                    self._reading = self.engine.execution_options(isolation_level="AUTOCOMMIT")
            return self._reading

    @property
    def session(self) -> scoped_session[Session]:
        """The host's ``db.session``. Needs an app context."""
        return cast("scoped_session[Session]", self.db.session)

    @property
    def redis(self) -> Redis:
        """A client for short commands: it fails within a second when Redis is away."""
        with self._lock:
            if self._redis is None:
                self._redis = Redis.from_url(
                    self.settings.redis_url,
                    socket_connect_timeout=0.25,
                    socket_timeout=0.5,
                    retry=Retry(NoBackoff(), 0),
                )
            return self._redis

    def rq_queue(self, queue: QueueName) -> Queue:
        """The RQ queue of this name."""
        if queue not in self._queues:
            name = queue_key(self.settings.redis_namespace, queue)
            self._queues[queue] = Queue(name, connection=self.redis)
        return self._queues[queue]

    @property
    def hub(self) -> Hub:
        """The process's one subscription to live events, started with the first subscriber."""
        with self._lock:
            if self._hub is None:
                self._hub = Hub(self.settings.redis_url, f"{self.settings.redis_namespace}:events")
            return self._hub

    @property
    def rate_limits(self) -> RateLimits:
        """What one customer may do in a time, counted over all processes."""
        if self._rate_limits is None:
            self._rate_limits = RateLimits(self)
        return self._rate_limits

    # --- the blueprint ----------------------------------------------------------------------------

    def _blueprint(self) -> Blueprint:
        from flask_cairnloop import console, operations
        from flask_cairnloop.channels import opt_out, rating, widget
        from flask_cairnloop.console import live

        blueprint = Blueprint(
            "cairnloop",
            "flask_cairnloop",
            template_folder=str(folder("templates")),
            static_folder=str(folder("static") / "cairnloop"),
            static_url_path="/static",
        )
        blueprint.before_request(self.guard_origin)
        blueprint.after_request(self._add_headers)
        sock = Sockets(blueprint, self.settings.socket_limit)
        console.register(blueprint)
        live.register(blueprint, sock)
        widget.register(blueprint, sock)
        opt_out.register(blueprint)
        rating.register(blueprint)
        operations.register(blueprint)
        return blueprint

    def guard_origin(self) -> None:
        """Refuse an unsafe request, or a socket, that another site made the browser send."""
        is_socket = request.headers.get("Upgrade", "").lower() == "websocket"
        if request.method in SAFE_METHODS and not is_socket:
            return
        origin = request.headers.get("Origin")
        site = request.headers.get("Sec-Fetch-Site")
        if origin is not None:
            allowed = origin in self.settings.trusted_origins or _same_origin(origin)
        else:
            # Browsers send Origin with unsafe requests and handshakes; without it Sec-Fetch-Site must say so.
            allowed = site == "same-origin"
        if not allowed:
            abort(403, description="This request did not come from a page of this site.")

    def _add_headers(self, response: Response) -> Response:
        widget_frame = (request.endpoint or "").startswith("cairnloop.widget")
        ancestors = ["'self'", *self.settings.widget_origins] if widget_frame else self.settings.frame_ancestors
        host = request.host
        policy = {
            "default-src": "'none'",
            "script-src": "'self'",
            "style-src": "'self'",
            "font-src": "'self'",
            # The chat shows a picture that is about to be sent, which no server has yet.
            "img-src": "'self' data: blob:" if widget_frame else "'self' data:",
            "connect-src": f"'self' ws://{host} wss://{host}",
            "form-action": "'self'",
            "base-uri": "'none'",
            "frame-ancestors": " ".join(ancestors) or "'none'",
        }
        headers = response.headers
        headers.setdefault("Content-Security-Policy", "; ".join(f"{name} {value}" for name, value in policy.items()))
        headers.setdefault("X-Content-Type-Options", "nosniff")
        headers.setdefault("Referrer-Policy", "same-origin")
        if request.endpoint != "cairnloop.static":
            headers.setdefault("Cache-Control", "no-store")
        return response


def _same_origin(origin: str) -> bool:
    # Compared as it is written, which browsers do in one way only: nothing that arrives has to be parsed for it.
    return origin == f"{request.scheme}://{request.host}"
