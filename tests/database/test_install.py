"""Installing into a host, as its developer does it: the commands, on a real project, against a real database."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
from sqlalchemy.engine import make_url

from example_app.servers import Servers
from tests.support import databases, projects

APP = """
import os

from flask import Flask
from flask_migrate import Migrate
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from flask_cairnloop import Cairnloop


class Base(DeclarativeBase):
    pass


db = SQLAlchemy(model_class=Base)


class Invoice(db.Model):
    __tablename__ = "invoices"
    id: Mapped[int] = mapped_column(primary_key=True)
    amount: Mapped[int]


app = Flask(__name__)
app.config["SQLALCHEMY_DATABASE_URI"] = os.environ["HOST_DATABASE_URL"]
app.config["CAIRNLOOP_SCHEMA"] = os.environ.get("HOST_SCHEMA", "cairnloop")
if "HOST_SECOND_DATABASE_URL" in os.environ:
    app.config["SQLALCHEMY_BINDS"] = {"reports": os.environ["HOST_SECOND_DATABASE_URL"]}
db.init_app(app)
Cairnloop(app)
# After Cairnloop on purpose: the order must not matter.
Migrate(app, db, directory="migrations", include_schemas=bool(os.environ.get("HOST_ALL_SCHEMAS")))
"""


class Host:
    """A project folder with an app and the `flask` command in it."""

    def __init__(self, folder: Path, database_url: str) -> None:
        self.folder = folder
        self.url = database_url
        self.env: dict[str, str] = {}
        (folder / "app.py").write_text(APP, encoding="utf-8")

    def flask(self, *arguments: str, fails: bool = False) -> str:
        status, said = self._type("flask", "--app", "app", *arguments)
        assert (status != 0) == fails, said
        return said

    def python(self, code: str) -> str:
        """Run a script of the host beside its app, and return what it prints."""
        (self.folder / "script.py").write_text(code, encoding="utf-8")
        status, said = self._type(sys.executable, "script.py")
        assert status == 0, said
        return said

    def _type(self, *words: str) -> tuple[int, str]:
        env = projects.environment({"HOST_DATABASE_URL": self.url, **self.env})
        return projects.shell(list(words), self.folder, env)

    def sql(self, statement: str) -> list[tuple[object, ...]]:
        plain = make_url(self.url).set(drivername="postgresql").render_as_string(hide_password=False)
        with psycopg.connect(plain, autocommit=True) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def tables(self, schema: str) -> set[str]:
        rows = self.sql(f"SELECT tablename FROM pg_tables WHERE schemaname = '{schema}'")
        return {str(name) for (name,) in rows}

    def revisions(self) -> list[Path]:
        return sorted((self.folder / "migrations" / "versions").glob("*.py"))


@pytest.fixture
def host(tmp_path: Path, empty_database_url: str) -> Host:
    return Host(tmp_path, empty_database_url)


OURS = {"conversations", "messages", "drafts", "jobs", "articles", "revisions", "chunks", "audit_entries", "customers"}


def test_a_fresh_host_installs_upgrades_and_goes_back_to_nothing(host: Host) -> None:
    assert "flask db init" in host.flask("cairnloop", "install", fails=True)
    host.flask("db", "init")
    assert "flask db upgrade" in host.flask("cairnloop", "install")
    assert "Nothing to do" in host.flask("cairnloop", "install")
    assert len(host.revisions()) == 1

    host.flask("db", "upgrade")

    assert host.tables("cairnloop") >= OURS | {"chunk_embeddings"}
    assert len(host.flask("db", "heads").strip().splitlines()) == 1

    host.flask("db", "downgrade", "base")

    assert host.tables("public") == {"alembic_version"}
    assert host.sql("SELECT nspname FROM pg_namespace WHERE nspname = 'cairnloop'") == []
    # The extension is the database's, not ours.
    assert host.sql("SELECT extname FROM pg_extension WHERE extname = 'vector'") == [("vector",)]


def test_a_host_with_its_own_history_keeps_its_tables_rows_and_one_head(host: Host) -> None:
    host.flask("db", "init")
    host.flask("db", "migrate", "-m", "invoices")
    host.flask("db", "upgrade")
    host.sql("INSERT INTO invoices (amount) VALUES (42)")
    own = set(host.revisions())

    host.flask("cairnloop", "install")
    host.flask("db", "upgrade")

    (ours,) = set(host.revisions()) - own
    assert len(ours.read_text(encoding="utf-8").splitlines()) < 30
    assert len(host.flask("db", "heads").strip().splitlines()) == 1
    assert host.tables("cairnloop") >= OURS
    # The host's own tools see nothing of us, also where they look at every schema.
    for everywhere in ("", "1"):
        host.env["HOST_ALL_SCHEMAS"] = everywhere
        assert "No new upgrade operations detected" in host.flask("db", "check")
        assert "No changes in schema detected" in host.flask("db", "migrate", "-m", "nothing")

    host.flask("db", "downgrade")

    assert host.tables("cairnloop") == set()
    assert host.sql("SELECT amount FROM invoices") == [(42,)]


def test_another_schema_beside_decoys_of_the_same_names_in_public(host: Host) -> None:
    host.env.update(HOST_SCHEMA="Help Desk", HOST_ALL_SCHEMAS="1")
    for table in ("conversations", "messages", "jobs", "customers"):
        host.sql(f"CREATE TABLE public.{table} (id int PRIMARY KEY, note text)")
        host.sql(f"INSERT INTO public.{table} VALUES (1, 'the host''s own')")
    host.flask("db", "init")
    host.flask("cairnloop", "install")
    host.flask("db", "upgrade")
    host.python(
        "from app import app, db\n"
        "from flask_cairnloop import Customer, receive\n"
        "with app.app_context():\n"
        "    receive(db.session, customer=Customer('c-1'), body='Hello there', channel='widget')\n"
        "    db.session.commit()\n"
    )

    assert host.tables("Help Desk") >= OURS
    assert host.sql('SELECT body FROM "Help Desk".messages') == [("Hello there",)]
    for table in ("conversations", "messages", "jobs", "customers"):
        assert host.sql(f"SELECT note FROM public.{table}") == [("the host's own",)]

    host.flask("db", "downgrade", "base")

    assert host.tables("Help Desk") == set()
    assert host.tables("public") == {"conversations", "messages", "jobs", "customers", "alembic_version"}


def test_two_heads_are_refused_and_nothing_is_written(host: Host) -> None:
    host.flask("db", "init")
    host.flask("db", "revision", "-m", "one", "--rev-id", "aaaa")
    host.flask("db", "revision", "-m", "two", "--rev-id", "bbbb", "--head", "base", "--splice")
    before = host.revisions()

    assert "flask db merge heads" in host.flask("cairnloop", "install", fails=True)
    assert host.revisions() == before


def test_a_host_with_several_databases_gets_the_tables_in_its_default_one(
    host: Host, servers: Servers, worker_number: int
) -> None:
    with databases.database(servers.database_url, f"second{worker_number}", of_template=False) as second_url:
        host.env["HOST_SECOND_DATABASE_URL"] = second_url
        host.flask("db", "init", "--multidb")
        host.flask("cairnloop", "install")

        host.flask("db", "upgrade", "--sql")
        assert "articles" in (host.folder / ".sql").read_text()
        assert "articles" not in (host.folder / "reports.sql").read_text()

        host.flask("db", "upgrade")

        second = Host(host.folder, second_url)
        assert host.tables("cairnloop") >= OURS
        assert second.tables("cairnloop") == set()
        assert second.tables("public") == {"alembic_version"}

        host.flask("db", "downgrade", "base")

        assert host.tables("cairnloop") == set()


def test_offline_sql_is_complete(host: Host) -> None:
    host.flask("db", "init")
    host.flask("cairnloop", "install")

    script = host.flask("db", "upgrade", "--sql")

    for table in OURS:
        assert f'CREATE TABLE "cairnloop".{table}' in script
    assert "CREATE TRIGGER audit_entries_append_only" in script
    host.sql(script[script.index("BEGIN;") : script.rindex("COMMIT;") + 7].replace("INFO", "-- INFO"))
    assert host.tables("cairnloop") >= OURS


def guide(host: Host) -> str:
    """A file with one article."""
    text = "---\ntitle: Resetting the gauge\n---\nHold the brass button for ten seconds.\n"
    (host.folder / "guide.md").write_text(text, encoding="utf-8")
    return "guide.md"


SEARCH = """
from app import app, db
from flask_cairnloop import search
from flask_cairnloop.testing import run_jobs

run_jobs(app)
with app.app_context():
    found = search(db.session, "How do I reset the gauge?")
    print([passage.title for passage in found.passages])
    print([(lane.name, lane.state.value) for lane in found.lanes])
"""
# Vectors are written one by one, many at once, and changed; what is read is what was written.
COPY_VECTORS = """
from app import app, db
from flask_cairnloop.retrieval.models import ChunkEmbedding
from sqlalchemy import insert, select

with app.app_context():
    row = db.session.scalars(select(ChunkEmbedding)).one()
    many = [{"chunk_id": row.chunk_id, "model": f"many-{n}", "embedding": [n, 1.5]} for n in range(3)]
    returned = db.session.scalars(insert(ChunkEmbedding).returning(ChunkEmbedding.embedding), many).all()
    print([list(vector) for vector in returned])
    db.session.add(ChunkEmbedding(chunk_id=row.chunk_id, model="one", embedding=row.embedding))
    db.session.flush()
    db.session.expire_all()
    one = db.session.get(ChunkEmbedding, (row.chunk_id, "one"))
    print(len(one.embedding), list(one.embedding) == list(row.embedding))
    one.embedding = [2, 4]
    db.session.flush()
    db.session.expire_all()
    print(list(one.embedding))
"""


def test_pgvector_in_a_schema_that_is_on_nobodys_search_path(host: Host) -> None:
    host.sql('CREATE SCHEMA "Our Extensions"')
    host.sql('CREATE EXTENSION vector SCHEMA "Our Extensions"')
    host.flask("db", "init")
    host.flask("cairnloop", "install")
    host.flask("db", "upgrade")
    host.flask("cairnloop", "kb", "import", guide(host))

    seen = host.python(SEARCH)

    assert "Resetting the gauge" in seen
    assert "('keyword', 'ok')" in seen
    assert "('vector', 'ok')" in seen
    assert host.python(COPY_VECTORS).splitlines() == ["[[0.0, 1.5], [1.0, 1.5], [2.0, 1.5]]", "384 True", "[2.0, 4.0]"]


def test_without_pgvector_everything_is_installed_and_search_goes_by_keyword(
    host: Host, make_app: Callable[..., object]
) -> None:
    """A managed database: the role may create neither extensions nor schemas, its owner made our schema for it."""
    name = make_url(host.url).database
    role = f"app_{os.getpid()}"
    host.sql(f"CREATE ROLE {role} LOGIN")
    try:
        host.sql(f'REVOKE CREATE ON DATABASE "{name}" FROM PUBLIC')
        host.sql(f"GRANT CREATE, USAGE ON SCHEMA public TO {role}")
        host.sql(f"CREATE SCHEMA cairnloop AUTHORIZATION {role}")
        admin, host.url = host.url, make_url(host.url).set(username=role).render_as_string(hide_password=False)
        host.flask("db", "init")
        host.flask("cairnloop", "install")
        host.flask("db", "upgrade")
        assert host.tables("cairnloop") >= OURS
        assert "chunk_embeddings" not in host.tables("cairnloop")
        host.flask("cairnloop", "kb", "import", guide(host))
        seen = host.python(SEARCH)
        assert "Resetting the gauge" in seen
        assert "('keyword', 'ok')" in seen
        assert "('vector', 'off')" in seen
        host.flask("db", "downgrade", "base")
        host.url = admin
        assert host.tables("cairnloop") == set()
    finally:
        host.url = make_url(host.url).set(username="postgres").render_as_string(hide_password=False)
        host.sql(f"DROP OWNED BY {role}")
        host.sql(f"DROP ROLE {role}")
