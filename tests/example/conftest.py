"""The example app on a database of its own: migrated by its own migrations and seeded once a run, then cloned."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import flask_migrate
import pytest
from flask import Flask
from flask.testing import FlaskClient

from example_app import create_app
from example_app.servers import Servers
from tests.conftest import Client, close
from tests.support import databases, processes

SECRET_KEY = "a key for tests only"


@pytest.fixture(scope="session")
def example(servers: Servers, worker_number: int) -> Iterator[Flask]:
    redis_url = databases.redis_url_for(servers.redis_url, worker_number)

    def fill(url: str) -> None:
        app = example_app(url, redis_url)
        with app.app_context():
            flask_migrate.upgrade()
        seed(app)
        close(app)

    seeded = databases.template(servers.database_url, "seeded", fill)
    with databases.database(servers.database_url, f"example{worker_number}", source=seeded) as url:
        app = example_app(url, redis_url)
        yield app
        close(app)


def example_app(url: str, redis_url: str) -> Flask:
    return create_app(
        {
            "TESTING": True,
            "SECRET_KEY": SECRET_KEY,
            "SQLALCHEMY_DATABASE_URI": url,
            "CAIRNLOOP_REDIS_URL": redis_url,
        }
    )


@pytest.fixture(scope="session")
def example_site(example: Flask) -> Iterator[str]:
    """The URL where a web server of its own serves the seeded app."""
    env = {
        **os.environ,
        "SECRET_KEY": SECRET_KEY,
        "DATABASE_URL": example.config["SQLALCHEMY_DATABASE_URI"],
        "REDIS_URL": example.config["CAIRNLOOP_REDIS_URL"],
    }
    with processes.web_server(env, app="example_app:create_app()") as process:
        yield process.url


def seed(app: Flask) -> str:
    """Run the command as a person would, and return what it said."""
    result = app.test_cli_runner().invoke(args=["seed"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture
def browse(example: Flask) -> Callable[..., FlaskClient]:
    """``browse("tess@demo.example")`` is a new browser in which these people have signed in."""

    def open_browser(*emails: str) -> FlaskClient:
        example.test_client_class = Client
        client = example.test_client()
        client.environ_base.update(HTTP_ORIGIN="http://localhost", HTTP_SEC_FETCH_SITE="same-origin")
        for email in emails:
            answer = client.post("/login", data={"email": email, "password": "demo"})
            assert answer.status_code == 303, email
        return client

    return open_browser
