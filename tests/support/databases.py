"""One PostgreSQL and one Valkey a test run, and a migrated template database that every test module gets a clone of.

Append-only triggers refuse DELETE, so databases are cloned and dropped, never emptied. ``CAIRNLOOP_TEST_DATABASE_URL``
(a role that may create databases) and ``CAIRNLOOP_TEST_REDIS_URL`` point the run at servers that exist already.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg
from flask import Flask
from psycopg import sql
from sqlalchemy import text
from sqlalchemy.engine import URL, make_url

from example_app import servers
from tests.support.host import create_tables, make_host

RUN_DIR = "CAIRNLOOP_TEST_RUN_DIR"
PREFIX = "cairnloop-test-"
OWN = "own-"
# Nothing of a test cluster has to survive a crash.
FAST = {
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "max_connections": "200",
    "autovacuum": "off",
}


def start_run() -> None:
    """Sweep what killed runs left behind, and make this run's directory. Servers start when a test needs them."""
    sweep()
    run_dir = Path(tempfile.mkdtemp(prefix=PREFIX))
    (run_dir / "owner").write_text(str(os.getpid()))
    os.environ[RUN_DIR] = str(run_dir)


def end_run() -> None:
    """Stop this run's servers, drop its databases where the server is someone else's, remove its directory."""
    run_dir = Path(os.environ.pop(RUN_DIR))
    if url := os.environ.get("CAIRNLOOP_TEST_DATABASE_URL"):
        with admin(url) as connection:
            names = connection.execute(
                "SELECT datname FROM pg_database WHERE datname LIKE %s", (f"{_run_name(run_dir)}%",)
            ).fetchall()
            for (name,) in names:
                _drop(connection, name)
    _reset(run_dir)


def sweep() -> None:
    """Stop the servers of test runs whose process is gone."""
    for run_dir in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with suppress(OSError, servers.ServerError):
            if run_dir.stat().st_uid == os.getuid() and _abandoned(run_dir):
                _reset(run_dir)


@contextmanager
def own_folder() -> Iterator[Path]:
    """A data directory for servers that a test stops and starts as it likes."""
    folder = Path(tempfile.mkdtemp(prefix=OWN, dir=os.environ[RUN_DIR]))
    try:
        yield folder
    finally:
        servers.reset(folder)


def _reset(run_dir: Path) -> None:
    for folder in (*run_dir.glob(f"{OWN}*"), run_dir):
        servers.reset(folder)
    shutil.rmtree(run_dir, ignore_errors=True)


def _abandoned(run_dir: Path) -> bool:
    try:
        os.kill(int((run_dir / "owner").read_text()), 0)
    except ProcessLookupError:
        return True
    except (FileNotFoundError, ValueError):  # between two lines of start_run, unless it is old
        return time.time() - run_dir.stat().st_mtime > 3600
    return False


def test_servers() -> servers.Servers:
    """The servers of this run; the first process that asks starts them."""
    database_url = os.environ.get("CAIRNLOOP_TEST_DATABASE_URL")
    redis_url = os.environ.get("CAIRNLOOP_TEST_REDIS_URL")
    if database_url and redis_url:
        return servers.Servers(database_url, redis_url)
    embedded = servers.ensure(Path(os.environ[RUN_DIR]), postgres_settings=FAST)
    return servers.Servers(database_url or embedded.database_url, redis_url or embedded.redis_url)


test_servers.__test__ = False  # type: ignore[attr-defined]


def redis_url_for(url: str, number: int) -> str:
    """The same server's database of this number."""
    parsed = make_url(url)
    if parsed.drivername == "unix":
        return url.replace("db=0", f"db={number}")
    return parsed.set(database=str(number)).render_as_string(hide_password=False)


def _migrate(url: str) -> None:
    create_tables(make_host(url))


def template(url: str, kind: str = "template", fill: Callable[[str], None] = _migrate) -> str:
    """The name of one of this run's template databases, filled by the first process that asks.

    Args:
        kind: which one: by default, a migrated one with nothing in it.
        fill: is given its address, and leaves no connection to it open.
    """
    run_dir = Path(os.environ[RUN_DIR])
    name = f"{_run_name(run_dir)}_{kind}"
    with _locked(run_dir / f"{kind}.lock"), admin(url) as connection:
        known = connection.execute("SELECT datallowconn FROM pg_database WHERE datname = %s", (name,)).fetchone()
        if known == (False,):
            return name
        _drop(connection, name)  # a process that made it died on the way
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        fill(database_url(url, name))
        # An open connection, even an idle one, would block cloning.
        connection.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS false").format(sql.Identifier(name)))
    return name


@contextmanager
def database(url: str, suffix: str, *, of_template: bool = True, source: str | None = None) -> Iterator[str]:
    """A database of its own for as long as the block runs.

    Args:
        url: any database of the server.
        suffix: makes the name unique within the run.
        of_template: migrated already, or empty.
        source: another template, in its place.
    """
    name = f"{_run_name(Path(os.environ[RUN_DIR]))}_{suffix}"[:63]
    source = source or (template(url) if of_template else "template1")
    with admin(url) as connection:
        _drop(connection, name)
        connection.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY {}").format(
                sql.Identifier(name), sql.Identifier(source), sql.Identifier("file_copy")
            )
        )
    try:
        yield database_url(url, name)
    finally:
        with admin(url) as connection:
            _drop(connection, name)


def database_url(url: str, name: str) -> str:
    """The URL of another database of the same server."""
    parsed: URL = make_url(url).set(database=name)
    return parsed.render_as_string(hide_password=False)


@contextmanager
def role_of_rows(app: Flask, url: str) -> Iterator[str]:
    """The address of the same database for a role that may read and write our rows and owns nothing."""
    role = f"rows_only_{make_url(url).database}"[:63]
    with app.app_context():
        engine = app.extensions["sqlalchemy"].engine
    with engine.begin() as connection:
        connection.execute(text(f"CREATE ROLE {role} LOGIN"))
        connection.execute(text(f"GRANT USAGE ON SCHEMA cairnloop TO {role}"))
        connection.execute(text(f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA cairnloop TO {role}"))
    try:
        yield make_url(url).set(username=role).render_as_string(hide_password=False)
    finally:
        with engine.begin() as connection:
            connection.execute(text(f"DROP OWNED BY {role}"))
            connection.execute(text(f"DROP ROLE {role}"))


def blocked(url: str) -> bool:
    """Whether somebody in this database waits for what another transaction holds."""
    waits = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    with admin(url) as connection:
        return connection.execute(waits).fetchone() != (0,)


def idle_in_transaction(url: str) -> int:
    """How many connections to a database hold a transaction open and do nothing in it, as while host code runs."""
    plain = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(plain, autocommit=True) as connection:
        row = connection.execute(
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE datname = current_database() AND state LIKE 'idle in transaction%'"
        ).fetchone()
    assert row is not None
    return int(row[0])


def _run_name(run_dir: Path) -> str:
    return run_dir.name.replace("-", "_").lower()


def _drop(connection: psycopg.Connection, name: str) -> None:
    connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


@contextmanager
def admin(url: str) -> Iterator[psycopg.Connection]:
    """A connection outside of any transaction, as who may create databases."""
    plain = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(plain, autocommit=True) as connection:
        yield connection


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
