"""Fixtures of the whole suite: real servers, a database a module, a host app a test, real processes, a real browser.

| Fixture | Scope | Is |
|---|---|---|
| `servers` | session | the run's PostgreSQL and Valkey |
| `database_url`, `redis_url` | module | a migrated database, an emptied Redis database |
| `config` | module | `CAIRNLOOP_` keys (no prefix) of the module's host; override it in a module for variants |
| `app`, `session`, `client`, `operator_client` | function | the host app on them, in this process |
| `fresh_database_url`, `empty_database_url` | function | a database for one test: migrated, or with nothing in it |
| `redis` | function | a client of the module's Redis database |
| `late_redis` | function | an address of it that works only when the test says so |
| `operator`, `customer` | function | Mina; a customer nobody has seen before |
| `issue`, `at_the_desk` | function | tokens for customers; transactions of the test's own |
| `live_server`, `worker` | module | gunicorn and `flask cairnloop worker` as processes of their own |
| `serve` | function | an app of this process behind a real port, for tests that change what it waits for |
| `browser`, `new_page`, `page` | session, function | Chromium; contexts with a clean console are checked at the end |
"""

from __future__ import annotations

import os
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright
from redis import Redis
from sqlalchemy.orm import Session
from werkzeug.serving import BaseWSGIServer, make_server
from werkzeug.test import TestResponse

from example_app.servers import Servers
from flask_cairnloop import Customer, Operator
from tests.support import chromium, databases, processes
from tests.support.host import OPERATORS, make_host, verifier
from tests.support.tools import hosts_rules

PATIENCE = 20_000  # milliseconds: a worker that has just started loads its model before the first draft


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--no-browser", action="store_true", help="leave out the tests that drive a browser")


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):  # xdist's workers share the run of their controller
        databases.start_run()


def pytest_unconfigure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        databases.end_run()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--no-browser"):
        left_out = [item for item in items if item.get_closest_marker("browser")]
        items[:] = [item for item in items if item not in left_out]
        config.hook.pytest_deselected(items=left_out)


@pytest.fixture(scope="session")
def servers() -> Servers:
    return databases.test_servers()


@pytest.fixture(scope="session")
def worker_number(request: pytest.FixtureRequest) -> int:
    """0 without xdist, else 1, 2, ...: what keeps parallel test processes apart."""
    name = os.environ.get("PYTEST_XDIST_WORKER", "")
    return int(name.removeprefix("gw")) + 1 if name else 0


@pytest.fixture(scope="module")
def database_url(servers: Servers, worker_number: int) -> Iterator[str]:
    """A clone of the migrated template, shared by the tests of one module."""
    with databases.database(servers.database_url, f"m{worker_number}_{uuid.uuid4().hex[:8]}") as url:
        yield url


@pytest.fixture
def fresh_database_url(servers: Servers, worker_number: int) -> Iterator[str]:
    """A clone of the migrated template for one test."""
    with databases.database(servers.database_url, f"f{worker_number}_{uuid.uuid4().hex[:8]}") as url:
        yield url


@pytest.fixture
def empty_database_url(servers: Servers, worker_number: int) -> Iterator[str]:
    """A database with nothing in it, for one test."""
    name = f"e{worker_number}_{uuid.uuid4().hex[:8]}"
    with databases.database(servers.database_url, name, of_template=False) as url:
        yield url


@pytest.fixture(scope="module")
def redis_url(servers: Servers, worker_number: int) -> str:
    """A Redis database of this test process, emptied for the module."""
    url = databases.redis_url_for(servers.redis_url, worker_number)
    with Redis.from_url(url) as client:
        client.flushdb()
    return url


@pytest.fixture
def redis(redis_url: str) -> Iterator[Redis]:
    with Redis.from_url(redis_url) as client:
        yield client


@pytest.fixture
def late_redis(redis: Redis, redis_url: str) -> Iterator[tuple[str, Callable[[], None]]]:
    """``(url, let_in)``: an address of the same Redis that is refused until ``let_in()`` is called."""
    name = f"late-{uuid.uuid4().hex[:8]}"
    separator = "&" if "?" in redis_url else "?"
    yield (
        f"{redis_url}{separator}username={name}&password=secret",
        lambda: redis.acl_setuser(
            name, enabled=True, passwords=["+secret"], keys=["*"], channels=["*"], categories=["+@all"]
        ),
    )
    redis.acl_deluser(name)


@pytest.fixture(scope="module")
def config(worker_number: int) -> dict[str, Any]:
    """Keys of the module's host app. Pub/sub crosses database numbers, so every test process has its own names."""
    return {"REDIS_NAMESPACE": f"test{worker_number}"}


@pytest.fixture
def make_app(database_url: str, redis_url: str, config: dict[str, Any]) -> Iterator[Callable[..., Flask]]:
    """``make_app(**keys, database_url=...)`` builds variants of the host; they are closed at the end of the test."""
    built: list[Flask] = []

    def make(*, database_url: str = database_url, **keys: Any) -> Flask:
        app = make_host(database_url, redis_url, **{**config, **keys})
        built.append(app)
        return app

    yield make
    for app in built:
        close(app)


@pytest.fixture
def app(make_app: Callable[..., Flask]) -> Flask:
    return make_app()


def close(app: Flask) -> None:
    """Give back what an app holds: pooled connections, the Redis clients, the hub's thread."""
    with app.app_context():
        app.extensions["sqlalchemy"].engine.dispose()
    cairnloop = app.extensions["cairnloop"]
    cairnloop.hub.stop()
    cairnloop.publisher.stop()
    cairnloop.redis.close()


@pytest.fixture
def session(app: Flask) -> Iterator[Session]:
    """``db.session`` in an app context that is open during the test. What is not committed is rolled back."""
    with app.app_context():
        session = app.extensions["sqlalchemy"].session
        yield session
        session.remove()


class Client(FlaskClient):
    """A test client whose requests get an app context, and with it a database session, of their own.

    Flask would let a request reuse a context that the test has open, ``g`` and session included.
    """

    def open(self, *args: Any, **kwargs: Any) -> TestResponse:
        with self.application.app_context():
            return super().open(*args, **kwargs)


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    """A browser on the host's own pages: same origin, nobody signed in."""
    return _client(app)


@pytest.fixture
def operator_client(app: Flask, operator: Operator) -> FlaskClient:
    """The same with Mina signed in."""
    return _client(app, operator.id)


@pytest.fixture
def sign_in(app: Flask) -> Callable[[str], FlaskClient]:
    """``sign_in("omar")`` is another operator's client.

    There are mina, omar, reader (may only read), editor (knowledge only), oncall and outsider (may nothing).
    """
    return lambda operator_id: _client(app, operator_id)


def _client(app: Flask, operator_id: str | None = None) -> FlaskClient:
    app.test_client_class = Client
    client = app.test_client()
    client.environ_base.update(HTTP_ORIGIN="http://localhost", HTTP_SEC_FETCH_SITE="same-origin")
    if operator_id:
        client.environ_base["HTTP_X_OPERATOR"] = operator_id
    return client


@pytest.fixture
def operator() -> Operator:
    return OPERATORS["mina"]


@pytest.fixture
def customer() -> Customer:
    ref = f"customer-{uuid.uuid4().hex[:12]}"
    return Customer(ref, "Cleo Marsh", f"{ref}@customer.example", "Marsh Bakery")


@pytest.fixture
def issue(app: Flask) -> Callable[[Customer], str]:
    """A token for a customer, as the host's page would carry it."""

    def token(customer: Customer) -> str:
        with app.app_context():
            return verifier.issue(customer)

    return token


@pytest.fixture
def at_the_desk(app: Flask) -> Callable[[Callable[[Session], Any]], Any]:
    """``at_the_desk(lambda session: ...)`` runs something in a transaction of its own, and commits."""

    def run(work: Callable[[Session], Any]) -> Any:
        with app.app_context():
            session: Session = app.extensions["sqlalchemy"].session()
            session.expire_on_commit = False  # what is handed back is read after the end of its session
            result = work(session)
            session.commit()
            return result

    return run


@pytest.fixture(scope="module")
def live_server(database_url: str, redis_url: str, config: dict[str, Any]) -> Iterator[processes.Process]:
    with processes.web_server(processes.environment(database_url, redis_url, **config)) as process:
        yield process


@pytest.fixture(scope="module")
def worker(database_url: str, redis_url: str, config: dict[str, Any]) -> Iterator[processes.Process]:
    with processes.worker(processes.environment(database_url, redis_url, **config)) as process:
        yield process


@pytest.fixture
def house_rules() -> Iterator[None]:
    """What the hooks of ``tests.support.tools`` answer can be changed; after the test they answer as before."""
    with hosts_rules():
        yield


@pytest.fixture
def serve() -> Iterator[Callable[[Flask], str]]:
    """``serve(app)`` answers for an app from threads of this process; returns its URL."""
    servers: list[BaseWSGIServer] = []

    def start(app: Flask) -> str:
        server = make_server("127.0.0.1", 0, app, threaded=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        expect.set_options(timeout=PATIENCE)
        path = chromium.find(playwright)
        if path is None:
            pytest.fail("No Chromium here. Run bin/test --install-browser, or --no-browser to leave these tests out.")
        with closing(playwright.chromium.launch(executable_path=path, args=chromium.flags())) as browser:
            yield browser


@pytest.fixture
def new_page(browser: Browser) -> Iterator[Callable[..., Page]]:
    """``new_page(**context_options)`` opens a page in a context of its own, as another person's browser would.

    At the end no page may have logged an error, which includes every violation of the content security policy.
    """
    contexts, complaints = [], []

    def complains(said: ConsoleMessage) -> bool:
        # Chromium logs every refused request; these are answers that our pages expect and show.
        expected = any(f"status of {status}" in said.text for status in (401, 409, 422, 503))
        return said.type == "error" and not expected

    def open_page(**options: Any) -> Page:
        context = browser.new_context(**options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda said: complaints.append(said.text) if complains(said) else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.set_default_timeout(PATIENCE)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []


@pytest.fixture
def page(new_page: Callable[..., Page]) -> Page:
    return new_page()
