"""Where a benchmark runs: embedded servers with durable settings, a host app on a database of its own."""

from __future__ import annotations

import os
import platform
import shutil
import statistics
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from flask import Flask
from psycopg import sql
from sqlalchemy.engine import make_url

from example_app import servers
from tests.support.host import create_tables, make_host

ROOT = Path(__file__).resolve().parents[1]
DOCUMENT = ROOT / "docs" / "performance.md"


@dataclass(frozen=True)
class Place:
    """The servers of a run."""

    database_url: str
    redis_url: str

    def app(self, **config: Any) -> Flask:
        """The host of the tests, as a host would run it, on this place."""
        return make_host(
            self.database_url,
            self.redis_url,
            **{"FLASK_TESTING": False, "FLASK_SQLALCHEMY_ENGINE_OPTIONS": {"pool_size": 20}, **config},
        )


@contextmanager
def place() -> Iterator[Place]:
    """PostgreSQL and Valkey for one run, with an empty, migrated database; everything is removed at the end.

    ``BENCH_DATABASE_URL`` and ``BENCH_REDIS_URL`` point it at servers that exist already.
    """
    folder = Path(tempfile.mkdtemp(prefix="cairnloop-bench-"))
    try:
        given = os.environ.get("BENCH_DATABASE_URL"), os.environ.get("BENCH_REDIS_URL")
        embedded = None if all(given) else servers.ensure(folder, postgres_settings=POSTGRES)
        database_url = given[0] or embedded.database_url  # type: ignore[union-attr]
        redis_url = given[1] or embedded.redis_url  # type: ignore[union-attr]
        with _database(database_url) as url:
            create_tables(make_host(url))
            yield Place(url, redis_url)
    finally:
        servers.reset(folder)
        shutil.rmtree(folder, ignore_errors=True)


# Durable, as a server in production is; only the memory is that of a small one instead of the wheel's 128 MB.
POSTGRES = {"shared_buffers": "1GB", "max_wal_size": "8GB", "maintenance_work_mem": "512MB", "max_connections": "200"}


@contextmanager
def _database(url: str) -> Iterator[str]:
    name = f"bench_{uuid.uuid4().hex[:8]}"
    plain = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(plain, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        try:
            yield make_url(url).set(database=name).render_as_string(hide_password=False)
        finally:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def timed(what: Callable[[], object], times: int, *, before: int = 3) -> list[float]:
    """Seconds of each of several runs, after a few that are not counted, fastest first."""
    for _ in range(before):
        what()
    found = []
    for _ in range(times):
        start = time.perf_counter()
        what()
        found.append(time.perf_counter() - start)
    return sorted(found)


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which this share lies."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def median(values: Sequence[float]) -> float:
    return statistics.median(values)


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table; the first column is text, the others are figures."""
    lines = ["| " + " | ".join(head) + " |", "|---|" + "---:|" * (len(head) - 1)]
    lines += ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def machine() -> str:
    """What a run was measured on, in one line."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    system = f"{platform.system()} {platform.machine()}, Python {platform.python_version()}"
    return f"{os.cpu_count()} cores, {memory:.0f} GB, {system}"


def report(name: str, body: str, *, write: bool) -> None:
    """Print a figure's table, and put it into the document between the marks that bear its name."""
    print(body)
    if not write:
        return
    text = DOCUMENT.read_text()
    begin, end = f"<!-- {name}: begin -->\n", f"<!-- {name}: end -->"
    if begin not in text:
        raise SystemExit(f"{DOCUMENT.name} has no place for {name}.")
    head, _, rest = text.partition(begin)
    _, _, tail = rest.partition(end)
    stamp = f"{time.strftime('%d %B %Y')}, {machine()}."
    DOCUMENT.write_text(f"{head}{begin}\n{body}\n\n{stamp}\n\n{end}{tail}")
