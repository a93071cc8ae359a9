"""The guides say only what runs: every block of every guide is executed, and what they say of the code is compared."""

from __future__ import annotations

import configparser
import importlib.util
import inspect
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from html import unescape
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import click
import pytest
from flask import Flask, redirect, request, session
from flask_wtf import CSRFProtect
from sqlalchemy import select, text
from sqlalchemy.engine import make_url
from sqlalchemy.orm import Session

from example_app.servers import Servers
from flask_cairnloop import (
    AnthropicDraftGenerator,
    ConversationInfo,
    Customer,
    OpenAIDraftGenerator,
    Permission,
    receive,
    signals,
    testing,
)
from flask_cairnloop.actors import Actor
from flask_cairnloop.cli.tokens import tokens as tokens_cli
from flask_cairnloop.config import KEYS, PREFIX, RATE_LIMITS, Settings
from flask_cairnloop.conversations import sending
from flask_cairnloop.conversations import service as conversations
from flask_cairnloop.conversations.models import Conversation
from flask_cairnloop.database import migrations, tables
from flask_cairnloop.drafting import model_letter
from flask_cairnloop.drafting import service as drafting
from flask_cairnloop.drafting.model_engine import PATIENCE
from flask_cairnloop.drafting.models import CallOutcome, ModelCall
from flask_cairnloop.drafting.types import DraftKind
from flask_cairnloop.errors import NotFound
from flask_cairnloop.hooks import ContextView
from flask_cairnloop.jobs import service as jobs
from flask_cairnloop.knowledge.service import publish, save_article
from flask_cairnloop.mcp.methods import METHODS
from flask_cairnloop.operations.metrics import METRICS
from flask_cairnloop.outbound.models import OutboundDelivery
from flask_cairnloop.privacy.redactor import KINDS
from flask_cairnloop.retrieval.indexing import IndexState
from flask_cairnloop.testing import frozen, run_jobs
from flask_cairnloop.tokens.service import SCOPES
from flask_cairnloop.upkeep.models import CandidateState, GapCandidate
from flask_cairnloop.upkeep.suggestion_models import SuggestionState
from tests.conftest import Client
from tests.console.conftest import Desk
from tests.example.configuration_table import table, written
from tests.example.guides import DOCS, Guide, Shop, sql
from tests.support import databases
from tests.support.host import OPERATORS, verifier
from tests.support.processes import ROOT, Process, wait_until
from tests.support.web import get, post
from tests.support.websocket import Chat, Line, handshake

LIBRARY = ROOT / "tests" / "retrieval" / "data" / "library"
MINA = Actor.operator(OPERATORS["mina"])
OTHERS_SAY = ("QueuePool limit", "reached")  # of SQLAlchemy


def about(name: str) -> pytest.MarkDecorator:
    """This test is about a guide, and takes every block of it."""
    return pytest.mark.parametrize("guide", [name], indirect=True)


@pytest.fixture
def guide(request: pytest.FixtureRequest) -> Iterator[Guide]:
    guide = Guide(request.param)
    yield guide
    assert guide.left == [], "these blocks are not tested"


def test_every_guide_is_run() -> None:
    tests = [value for name, value in globals().items() if name.startswith("test_")]
    marks = [mark for test in tests for mark in getattr(test, "pytestmark", ()) if mark.args[0] == "guide"]
    assert {name for mark in marks for name in mark.args[1]} == {path.name for path in DOCS.glob("*.md")}


def test_the_readme_lists_every_key_as_it_is() -> None:
    assert written() == table(), "run: python -m tests.example.configuration_table"


# --- hooks ---


def load(name: str, code: str, folder: Path) -> ModuleType:
    file = folder / f"{name}.py"
    file.write_text(code)
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def snippets(tmp_path: Path) -> Iterator[Any]:
    """The snippets of the hooks guide as one module."""
    yield load("hooks_guide", "\n".join(Guide("hooks.md").take("python")), tmp_path)
    del sys.modules["hooks_guide"]


@about("hooks.md")
def test_the_guide_shows_every_hook_and_every_permission(guide: Guide) -> None:
    hooks = [PREFIX + key.name for key in KEYS if key.kind in ("hook", "object")]
    assert [key for key in hooks if f"`{key}`" not in guide.text] == []
    listed = re.findall(r"^\| `([a-z.]+)` \|", guide.text.split("permissions: begin")[1], re.MULTILINE)
    assert listed[: len(Permission)] == [permission.value for permission in Permission]
    assert len(guide.take("python")) > 8  # run by the tests below


def test_the_guides_import_from_the_front_door_only() -> None:
    code = [
        block
        for name in ("hooks.md", "quickstart.md", "engines.md", "actions.md", "service-levels.md")
        for block in Guide(name).take("python")
    ]
    imported = re.findall(r"^from (flask_cairnloop\S*) import", "\n".join(code), re.MULTILINE)
    assert len(imported) > 8
    assert set(imported) == {"flask_cairnloop", "flask_cairnloop.testing"}


def test_the_hooks_of_the_guide_work(snippets: Any, make_app: Any) -> None:
    app: Flask = make_app(
        OPERATOR_LOADER=snippets.signed_in_operator,
        OPERATORS=snippets.find_operators,
        AUTHORIZE=snippets.may,
        CUSTOMER_VERIFIER=snippets.verify_customer,
        CONTEXT_PROVIDER="hooks_guide:about",
        AUTOMATION_POLICY=snippets.house_rules,
        ON_CONVERSATION_RESOLVED=snippets.tell_the_shop,
        ON_OUTBOUND=snippets.mail_the_follow_up,
        DRAFT_GENERATOR=snippets.write_draft,
        EMBEDDER=snippets.HashedWords(),
        AUDITOR=snippets.audited,
    )
    hooks = app.extensions["cairnloop"].hooks
    with app.test_request_context():
        assert hooks.load_operator() is None
        session["team_member"] = "8"
        omar = hooks.load_operator()
        assert omar.name == "Omar Siddiqui"
        assert omar in hooks.operators("omar")
        assert hooks.authorize(omar, Permission.CONVERSATIONS_REPLY)
        assert not hooks.authorize(omar, Permission.CONVERSATIONS_RESOLVE)
        customer = hooks.verify_customer(snippets.widget_token("41"))
        assert customer.organization == "Lockside Cycles"
    asked = ConversationInfo(1, "Lockers", "open", "widget", datetime(2026, 3, 10, tzinfo=UTC))
    with app.app_context():
        assert hooks.load_context(customer, asked).state == "loaded"
        assert hooks.load_context(Customer("42"), asked) == ContextView("empty")


def test_a_conversation_goes_through_the_hooks_of_the_guide(snippets: Any, make_app: Any) -> None:
    from flask_cairnloop import resolve
    from flask_cairnloop.drafting.service import open_draft

    app: Flask = make_app(
        AUTOMATION_POLICY=snippets.house_rules,
        ON_CONVERSATION_RESOLVED=snippets.tell_the_shop,
        DRAFT_GENERATOR=snippets.write_draft,
        EMBEDDER=snippets.HashedWords(),
        AUDITOR=snippets.audited,
    )
    mina = Actor.operator(snippets.Operator("7", "Mina Park"))
    with app.app_context():
        session = app.extensions["sqlalchemy"].session
        article = save_article(
            session, slug="lockers", title="Lockers", body="Orders wait in the lockers until ten.", actor=mina
        )
        publish(session, article.id, actor=mina)
        asked = receive(session, customer=Customer("41"), body="Where do orders wait?", channel="host")
        session.commit()
        testing.run_jobs(app)
        draft = open_draft(session, asked.conversation_id)
        assert draft is not None
        assert draft.kind in (DraftKind.REPLY, DraftKind.ESCALATION)
        assert draft.engine == "yours-1"
        resolve(session, asked.conversation_id, actor=mina)
        session.commit()
        testing.run_jobs(app)
    assert list(snippets.TOLD.values()) == ["Support answered “Where do orders wait?”"]
    assert ("7", "conversation.resolve") in snippets.LOG


# --- actions ---


@about("actions.md")
def test_the_tools_of_the_guide_do_what_it_says(guide: Guide, tmp_path: Path, make_app: Any) -> None:
    from flask_cairnloop.governance import service

    tools = load("actions_guide", "\n".join(guide.take("python")), tmp_path)
    app: Flask = make_app(
        OPERATOR_RESOLVER=tools.operator_by_id,
        TOOLS=[tools.GiveCredit, tools.CallWorkshop],
        ACTION_POLICY=tools.action_rules,
    )
    mina, omar = tools.operator_by_id("7"), tools.operator_by_id("8")
    with app.app_context():
        session = app.extensions["sqlalchemy"].session
        session.execute(text("CREATE TABLE credits (ref text, pence integer, key text UNIQUE)"))
        asked = receive(session, customer=Customer("41", "Lena"), body="Late again.", channel="host")
        number = asked.conversation_id
        session.commit()
        credit = tools.make_good(session, number, 900)
        session.commit()
        assert tools.make_good(session, number, 900).id == credit.id
        assert credit.consequence == "Gives 900 pence to Lena. It cannot be taken back from here."
        service.approve(session, credit.id, actor=mina)
        session.commit()
        assert tools.large_credits_are_refused(app, mina, number)
        large = {"pence": 3000}
        refused = tools.propose_action(session, "give_credit", large, actor=mina, conversation_id=number)
        assert (refused.state, refused.failure) == ("refused", "Your app’s policy refuses this action.")
        slot = tools.propose_action(session, "call_workshop", {"day": "Monday"}, actor=mina)
        closed = tools.propose_action(session, "call_workshop", {"day": "Sunday"}, actor=omar)
        session.commit()
        for action in (slot, closed):
            service.approve(session, action.id, actor=omar)
            session.commit()
        testing.run_jobs(app)
        testing.run_jobs(app)
        session.expire_all()
        assert (credit.state, credit.outcome) == ("succeeded", "The credit was given.")
        assert session.execute(text("SELECT ref, pence, key FROM credits")).all() == [("41", 900, credit.run_key)]
        assert (slot.state, slot.outcome, slot.attempt) == ("succeeded", "Booked on Monday.", 2)
        assert len(set(tools.CALLED)) == 1
        assert (closed.state, closed.failure) == ("failed", "The workshop is closed on Sundays.")
        session.execute(text("DROP TABLE credits"))
        session.commit()
    del sys.modules["actions_guide"]


@about("follow-ups.md")
def test_the_follow_ups_of_the_guide_leave_as_it_says(guide: Guide, tmp_path: Path, make_app: Any) -> None:
    ours = load("follow_ups_guide", "\n".join(guide.take("python")), tmp_path)
    Settings.load(ours.app.config)
    app: Flask = make_app(ON_OUTBOUND="follow_ups_guide:mail")
    with app.app_context():
        db = app.extensions["sqlalchemy"].session
        asked = receive(db, customer=Customer("41", "Lena", "lena@shop.example"), body="Where?", channel="host")
        nowhere = receive(db, customer=Customer("42", "Bo"), body="Where?", channel="host")
        numbers = asked.conversation_id, nowhere.conversation_id
        first = ours.remind(db, numbers[0]).id
        second = ours.remind(db, numbers[1]).id
        db.commit()
        assert ours.remind(db, numbers[0]).id == first
        db.commit()
        testing.run_jobs(app)
        (mail,) = ours.SENT.values()
        assert mail.startswith("Your order\n\nYour parcel waits")
        assert "https://shop.example/support/no-follow-ups/" in mail
        found = db.get(OutboundDelivery, first), db.get(OutboundDelivery, second)
        assert [(one.state, one.reference, one.failure) for one in found] == [
            ("delivered", "mail-1", None),
            ("failed", None, "No address is known."),
        ]
    assert ours.queue.idempotent
    del sys.modules["follow_ups_guide"]


# --- a shop for the guides that tell commands ---


@pytest.fixture(scope="module")
def empty_url(servers: Servers, worker_number: int) -> Iterator[str]:
    name = f"s{worker_number}_{uuid.uuid4().hex[:8]}"
    with databases.database(servers.database_url, name, of_template=False) as url:
        yield url


@pytest.fixture(scope="module")
def shop(empty_url: str, redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """An app of the README's lines, with its tables and an article."""
    shop = Shop(tmp_path_factory.mktemp("shop"), empty_url, redis_url)
    shop.make_ready()
    return shop


@pytest.fixture
def dead_jobs(shop: Shop) -> Iterator[None]:
    """Jobs 12 and 13, which have failed for good."""
    shop.sql("DELETE FROM cairnloop.jobs WHERE id IN (12, 13)")
    shop.sql(
        """INSERT INTO cairnloop.jobs (id, queue, name, arguments, state, run_at, attempt, max_attempts, created_at,
               finished_at, last_error)
           SELECT id, 'default', 'conversations.tell_resolved', '{"message_id": 0}', 'dead', now(), 8, 8, now(), now(),
               'The shop was closed.'
           FROM (VALUES (12), (13)) AS dead (id)"""
    )
    shop.sql(
        "SELECT setval(pg_get_serial_sequence('cairnloop.jobs', 'id'), greatest(100, max(id))) FROM cairnloop.jobs"
    )
    yield
    shop.sql("DELETE FROM cairnloop.jobs WHERE id IN (12, 13)")


def names_extras_that_exist(commands: str) -> None:
    """``pip install`` is not run: it would change the environment of the tests."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = re.findall(r"pip install[^\n]*\"\.\[([\w,]+)\]\"", commands)
    assert named
    assert {extra for names in named for extra in names.split(",")} <= set(project["optional-dependencies"])


def signed_in(server: Process, name: str) -> dict[str, str]:
    """The session of somebody of the shop who has just signed in."""
    found = re.search(r"session=[^;]+", get(server.url, f"/sign-in/{name}").headers["Set-Cookie"])
    assert found is not None
    return {"Cookie": found[0]}


def token(page: str) -> str:
    found = re.search(r'data-token="([^"]+)"', page)
    assert found is not None
    return unescape(found[1])


def question_is_answered(server: Process) -> None:
    """Lou asks, a worker drafts, Kim approves, Lou reads."""
    kim, lou = signed_in(server, "kim"), signed_in(server, "lou")
    with Line(server.url, "/support/live", headers=kim) as live, Chat(server.url) as chat:
        live.expect("refetch")
        chat.join(token(get(server.url, "/", lou).text))
        number = chat.say("Do you swap a saddle that does not fit me for another one?")["conversation"]
        live.until(lambda frame: frame["type"] == "draft" and frame.get("state") == "ready", seconds=40)
        page = get(server.url, f"/support/conversations/{number}", kim).text
        action = re.search(r'action="(/support/conversations/\d+/drafts/\d+/approve)"', page)
        assert action is not None
        assert post(server.url, action[1], {"seen": "99"}, kim).status == 303
        assert "within two weeks" in chat.expect("message", kind="reply")["body"]


@about("quickstart.md")
def test_the_quickstart_leads_to_a_draft(guide: Guide, tmp_path: Path, empty_database_url: str, redis_url: str) -> None:
    names_extras_that_exist("".join(guide.take("console", "1. Install")))
    shop = Shop(tmp_path, empty_database_url, redis_url, "\n".join(guide.take("python")))
    (shop.folder / "articles" / "saddles.md").unlink()
    (tables_,) = guide.take("console", "3. Tables")
    shop.type(tables_)
    (article,) = guide.take("markdown")
    (shop.folder / "articles" / "opening-hours.md").write_text(article)
    (bring_in,) = guide.take("console", "4. An article")
    shop.type(bring_in)
    worker_line, web_line = guide.take("console", "5. Run it")
    with shop.works(worker_line), shop.runs(web_line) as web:
        people = {}
        for person in ("bo", "ada"):
            cookie = re.search(r"session=[^;]+", post(web.url, "/", {"person": person}).headers["Set-Cookie"])
            assert cookie is not None
            people[person] = {"Cookie": cookie[0]}
        assert get(web.url, "/support/", people["bo"]).status == 302
        question = re.search(r'ask in the chat: "([^"]+)"', guide.text)
        assert question is not None
        with Line(web.url, "/support/live", headers=people["ada"]) as live, Chat(web.url) as chat:
            live.expect("refetch")
            chat.join(token(get(web.url, "/", people["bo"]).text))
            number = chat.say(question[1])["conversation"]
            live.until(lambda frame: frame["type"] == "draft" and frame.get("state") == "ready", seconds=40)
        page = get(web.url, f"/support/conversations/{number}", people["ada"]).text
        assert "lockers" in page
        assert "Approve and send" in page
    shop.type("python -c 'from app import *; app.app_context().push(); ask_about_order(\"12\")'")
    assert shop.sql("SELECT count(*) FROM cairnloop.messages WHERE body = 'Where is order 12?'") == [(1,)]


@about("install-by-hand.md")
def test_installing_by_hand_gives_a_desk_that_works_with_rows_alone(
    guide: Guide, tmp_path: Path, empty_database_url: str, redis_url: str
) -> None:
    roles = {role: f"{role}_{os.getpid()}" for role in ("shop_owner", "shop_web")}

    def here(words: str) -> str:
        return re.sub("|".join(roles), lambda role: roles[role[0]], words)

    def as_role(role: str) -> str:
        return make_url(empty_database_url).set(username=roles[role]).render_as_string(hide_password=False)

    shop = Shop(tmp_path, empty_database_url, redis_url)
    names_extras_that_exist("".join(guide.take("console", "1. The package")))
    new_revision, upgrade = guide.take("console", "2. The tables")
    revision, filters = guide.take("python", "2. The tables")
    schema, grants = guide.take("sql", "3. Who owns the schema")
    (extension,) = guide.take("sql", "4. pgvector")
    (rebuild,) = guide.take("console", "4. pgvector")
    try:
        for role in roles.values():
            shop.sql(f"CREATE ROLE {role} LOGIN")
        shop.sql(f'REVOKE CREATE ON DATABASE "{make_url(empty_database_url).database}" FROM PUBLIC')
        shop.sql(here("GRANT CREATE, USAGE ON SCHEMA public TO shop_owner"))
        shop.sql(here(schema))

        shop.connect_as(as_role("shop_owner"))
        shop.type("flask db init")
        shop.type(new_revision)
        (file,) = (shop.folder / "migrations" / "versions").glob("*.py")
        file.write_text(file.read_text().partition("def upgrade")[0] + revision)
        assert f"to={migrations.LATEST})" in revision
        assert "Nothing to do" in shop.type(upgrade)
        sql(as_role("shop_owner"), here(grants))
        assert shop.sql("SELECT to_regclass('cairnloop.chunk_embeddings') IS NULL") == [(True,)]
        shop.sql(extension)
        shop.type(f"flask cairnloop kb import articles/\n{rebuild}")

        shop.connect_as(as_role("shop_web"))
        worker, environment = guide.take("ini", "5. The worker")
        (web,) = guide.take("ini", "6. The web server")
        named = dict(line.split("=", 1) for line in environment.splitlines())
        assert set(named) == {"SECRET_KEY", "DATABASE_URL", "REDIS_URL"}
        with shop.works(starts(worker)), shop.serves(starts(web)) as server:
            question_is_answered(server)
            wait_until(lambda: shop.sql("SELECT count(*) FROM cairnloop.chunk_embeddings")[0][0] > 0)
            (doctor,) = guide.take("console", "8. Is it well?")
            shop.type(doctor)
            shop.type("flask cairnloop index rebuild")  # where the table for vectors is there, anybody may
    finally:
        for role in roles.values():
            shop.sql(f"DROP OWNED BY {role} CASCADE")
            shop.sql(f"DROP ROLE {role}")

    scope: dict[str, Any] = {}
    exec(filters, scope)  # noqa: S102 - the guide's own lines
    assert scope["include_name"]("cairnloop", "schema", {}) is False
    assert scope["include_name"]("public", "schema", {}) is True
    (started,) = guide.take("console", "6. The web server")
    assert set(re.findall(r"shop-\w+", started)) == {"shop-web", "shop-worker"}
    (proxy,) = guide.take("python", "7. The proxy")
    believes_its_proxy(proxy)
    (nginx,) = guide.take("nginx")
    passes_on(nginx)


def starts(unit: str) -> str:
    """The command of a systemd unit, here and not in ``/srv/shop``."""
    parser = configparser.ConfigParser(interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(unit)
    assert parser["Service"]["KillMode"] == "mixed"
    if "worker" in unit.splitlines()[0]:
        assert int(parser["Service"]["TimeoutStopSec"]) > 90
    return parser["Service"]["ExecStart"].replace("/srv/shop/.venv/bin/", "")


def believes_its_proxy(code: str) -> None:
    app = Flask("shop")
    exec(code, {"app": app})  # noqa: S102 - the guide's own lines
    app.add_url_rule("/where", view_func=lambda: request.url_root)
    forwarded = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "shop.example", "X-Forwarded-Prefix": "/shop"}
    assert app.test_client().get("/where", headers=forwarded).text == "https://shop.example/shop/"


def passes_on(configuration: str) -> None:
    """nginx itself checks it where there is one; its certificate is not here."""
    directives = {" ".join(line.split()) for line in re.findall(r"^\s*([^{}#;]+);", configuration, re.MULTILINE)}
    assert {
        "proxy_http_version 1.1",
        "proxy_set_header Upgrade $http_upgrade",
        "proxy_set_header Connection $connection_upgrade",
        "proxy_set_header X-Forwarded-For $remote_addr",
        "proxy_set_header X-Forwarded-Proto $scheme",
        "proxy_set_header X-Forwarded-Host $host",
    } <= directives
    (patience,) = (int(number) for number in re.findall(r"proxy_read_timeout (\d+)s", configuration))
    assert patience > 25


@about("operations.md")
def test_operations_tell_the_truth(guide: Guide, shop: Shop, dead_jobs: None, tmp_path: Path) -> None:
    assert set(re.findall(r"^\| `(cairnloop_\w+)", guide.text, re.MULTILINE)) == {metric.name for metric in METRICS}
    for metric in METRICS:
        shown = f"`{metric.name}" + (f"{{{','.join(metric.labels)}}}" if metric.labels else "") + "`"
        assert shown in guide.text, shown
    data = guide.section("Which data is where")
    assert set(re.findall(r"`(\w+)`(?=[,` \w]*\|)", data.partition("Redis or Valkey")[0])) >= {
        table.name for table in tables.metadata.sorted_tables
    }
    logs = guide.section("Logs")
    told = set(re.findall(r"`(flask_cairnloop[\w.]+)`", logs))
    told |= {f"flask_cairnloop.retrieval{name}" for name in re.findall(r"`(\.\w+)`", logs)}
    files = [path for path in (ROOT / "flask_cairnloop").rglob("*.py") if "getLogger(__name__)" in path.read_text()]
    assert told == {".".join(path.relative_to(ROOT).with_suffix("").parts) for path in files}

    assert set(re.findall(r"^\| `(\w+)` \|", guide.section("The index"), re.MULTILINE)) == set(IndexState)
    (keys,) = guide.take("python", "Another embedding model")
    app = Flask("shop")
    exec(keys, {"app": app})  # noqa: S102 - the guide's own lines
    Settings.load(app.config)

    (progress, rebuild) = guide.take("console", "The index")
    checks, listing = guide.take("console", "The doctor"), guide.take("console", "Jobs")
    assert shop.type(checks[0], ends_with=(1,)).count("No worker is running") == 3
    shop.type(listing[0])
    assert shop.sql("SELECT id, state FROM cairnloop.jobs WHERE id IN (12, 13) AND state = 'discarded'") == [
        (13, "discarded")
    ]
    one, many = guide.take("console", "The worker")[0].strip().splitlines()
    with shop.works(one) as worker:
        wait_until(lambda: kinds(shop) == {"relay": 1, "interactive": 1, "default": 1, "bulk": 1}, worker)
        wait_until(lambda: shop.sql("SELECT state FROM cairnloop.jobs WHERE id = 12") == [("succeeded",)], worker)
        shop.sql("DELETE FROM cairnloop.jobs WHERE state = 'discarded'")
        assert "1 of 1 articles are found by words, 1 by meaning." in shop.type(rebuild)
        assert '"indexed": 1' in shop.type(progress)
        found = json.loads(shop.type("flask cairnloop doctor --json"))
        assert found["ok"] is True
        shop.type(checks[0])
    with shop.works(many) as worker:
        wait_until(lambda: kinds(shop) == {"relay": 1, "interactive": 4, "default": 2}, worker)

    (backup,) = guide.take("console", "Backup and restore")
    restored = f"shop_restored_{os.getpid()}"
    try:
        shop.type(backup.replace("shop_restored", restored).replace("shop.dump", str(tmp_path / "shop.dump")))
        there = make_url(shop.database_url).set(database=restored).render_as_string(hide_password=False)
        rows = "SELECT count(*) FROM cairnloop.audit_entries"
        assert sql(there, rows) == shop.sql(rows)
    finally:
        shop.sql(f"DROP DATABASE IF EXISTS {restored}")

    (upgrade,) = guide.take("console", "Upgrade and downgrade")
    names_extras_that_exist(upgrade.replace("--upgrade ", ""))
    assert "Nothing to do" in shop.type(upgrade, ends_with=(0, 1))


def kinds(shop: Shop) -> dict[str, int]:
    alive = "SELECT kind, count(*) FROM cairnloop.workers WHERE beat_at > now() - interval '30 seconds' GROUP BY kind"
    return {str(kind): int(count) for kind, count in shop.sql(alive)}


def test_the_probes_answer_as_operations_say(shop: Shop) -> None:
    with shop.serves("gunicorn --worker-class gthread --threads 8 app:app") as server:
        assert get(server.url, "/support/health").status == 200
        ready = get(server.url, "/support/ready")
        assert (ready.status, json.loads(ready.text)["status"]) == (200, "degraded")
        assert "workers" in json.loads(ready.text)["degraded"]
        assert "cairnloop_up 1.0" in get(server.url, "/support/metrics").text


@about("service-levels.md")
def test_the_guide_to_service_levels_promises_and_tells(
    guide: Guide, make_app: Callable[..., Flask], fresh_database_url: str, tmp_path: Path
) -> None:
    snippets = load("service_levels_guide", "\n".join(guide.take("python")), tmp_path)
    hooks = {"SLA_POLICY": snippets.promised, "ON_SLA_BREACH": snippets.page_somebody}
    app = make_app(database_url=fresh_database_url, **hooks)
    friday = datetime(2026, 11, 27, 16, 50, tzinfo=UTC)  # ten minutes before the weekend
    for ref in ("41", "42"):
        with frozen(friday), app.app_context():
            receive(app.extensions["cairnloop"].session(), customer=Customer(ref), body="Anybody?", channel="widget")
            app.extensions["cairnloop"].session().commit()
    with frozen(friday):
        run_jobs(app, within=timedelta(0))
    with app.app_context():
        due = app.extensions["cairnloop"].session().scalars(select(Conversation.due_at).order_by(Conversation.id))
        assert list(due) == [datetime(2026, 11, 30, 13, 50, tzinfo=UTC), None]  # over lunch on Monday
    with frozen(datetime(2026, 11, 30, 14, tzinfo=UTC)):
        run_jobs(app, within=timedelta(0))
    assert list(snippets.PAGES.values()) == ["Anybody?: first_response was due at 13:50"]


@about("privacy.md")
def test_the_privacy_guide_hands_out_forgets_and_redacts(
    guide: Guide, shop: Shop, app: Flask, session: Session, tmp_path: Path
) -> None:
    def write_as_12() -> None:
        shop.type(
            "python -c 'from app import *; app.app_context().push(); from flask_cairnloop import *; "
            'receive(db.session, customer=Customer("12", "Ines Vogelsang"), body="Wo ist es?", channel="widget"); '
            "db.session.commit()'"
        )

    write_as_12()
    (shown, into_file, with_files) = guide.take("console", "Handing it out")[0].strip().splitlines()
    held = json.loads(shop.type(shown))
    assert held.keys() - {"exported_at"} == set(
        re.findall(r"^\| `(\w+)` \|", guide.section("Handing it out"), re.MULTILINE)
    )
    shop.type(into_file)
    assert json.loads((shop.folder / "customer-12.json").read_text())["customer"]["name"] == "Ines Vogelsang"
    shop.type(with_files)
    assert json.loads((shop.folder / "customer-12.json").read_text())["unsent_files"] == []
    (asks, told) = guide.take("console", "Forgetting")[0].strip().splitlines()
    assert "Erase them for good?" in shop.type(asks, ends_with=(1,))  # nobody is there to say yes
    assert json.loads(shop.type(told))["erased"]["messages"] == 2
    assert "No customer has this reference." in shop.type(told, ends_with=(1,))
    assert shop.sql("SELECT count(*) FROM cairnloop.messages WHERE body LIKE '%Wo ist es%'") == [(0,)]

    (from_your_app,) = guide.take("python", "From your app")
    snippet = load("delete_account", from_your_app, tmp_path)
    customer = Customer("13", "Ines Vogelsang")
    receive(session, customer=customer, body="Wo ist es?", channel="widget")
    assert snippet.delete_account(session, "13", OPERATORS["mina"])["customer"]["name"] == "Ines Vogelsang"
    with pytest.raises(NotFound):
        snippet.delete_account(session, "13", OPERATORS["mina"])

    (redacting,) = guide.take("python", "The redactor")
    scope: dict[str, Any] = {}
    exec(redacting, scope)  # noqa: S102 - the guide's own lines
    assert f"`{scope['text']}`" in guide.text
    tokens = set(re.findall(r"^\| (`.*?`) \|", guide.section("The redactor"), re.MULTILINE))
    assert set(re.findall(r"\w+", " ".join(tokens))) == {*KINDS, "redacted"}


@about("audit.md")
def test_the_log_verifies_as_its_guide_says(guide: Guide, shop: Shop) -> None:
    plain, expecting = guide.take("console")
    assert "The log is what it was." in shop.type(plain)
    said = json.loads(shop.type(f"{plain.strip()} --json"))
    assert said.keys() == set(re.findall(r"^\| `(\w+)` \|", guide.section("The chain"), re.MULTILINE))
    shop.env["HEAD"] = said["head"]
    shop.type(expecting)
    shop.env["HEAD"] = f"{10**6}:{'00' * 32}"
    assert "head you gave" in shop.type(expecting, ends_with=(1,))


@about("mcp.md")
def test_machines_get_in_as_their_guide_says(guide: Guide, shop: Shop, make_app: Any) -> None:
    made, listed = guide.take("console")[0].strip().splitlines()
    assert shop.type(made).startswith("cairnloop_1_")
    assert "Billing assistant" in shop.type(listed)
    said = json.loads(shop.type(f"{made.replace('Billing', 'Second')} --json"))
    assert {"id", "token", "name"} <= said.keys()
    assert "is revoked" in shop.type(f"flask cairnloop tokens revoke {said['id']}")
    options = set(re.findall(r"`(--[\w-]+)", guide.section("A token").split("| Scope")[0]))
    assert options >= {option for command in tokens_cli.commands.values() for option in _options(command)} - {"--help"}
    scopes = set(re.findall(r"^\| `([\w.]+)` \| (?:see|read|use)", guide.text, re.MULTILINE))
    assert scopes == {*SCOPES}
    methods = set(
        re.findall(r"`([a-z]+(?:/[a-z]+)*)`", "".join(re.findall(r"^\| (`.*?) \|", guide.text, re.MULTILINE)))
    )
    assert methods >= METHODS
    (exempt,) = guide.take("python")
    app = make_app()
    named = re.findall(r'"(.+)"', exempt)[0]
    view = app.view_functions["cairnloop_mcp.endpoint"]
    assert f"{view.__module__}.{view.__name__}" == named


def _options(command: click.Command) -> set[str]:
    return {option for one in command.params for option in one.opts if option.startswith("--")}


@about("help-centre.md")
def test_the_help_centre_stands_where_its_guide_says(guide: Guide, make_app: Any) -> None:
    (code,) = guide.take("python")
    keys: dict[str, Any] = {}
    exec(code, {"app": SimpleNamespace(config=keys)})  # noqa: S102 - the guide's own lines
    app = make_app(**{name.removeprefix("CAIRNLOOP_"): value for name, value in keys.items()})
    pages = {rule.rule for rule in app.url_map.iter_rules() if rule.endpoint.startswith("cairnloop_help.")}
    told = set(re.findall(r"^\| `(/help[^`?]*)", guide.text, re.MULTILINE))
    assert told == pages - {"/help/articles/<slug>/vote"}
    assert 'href="/chat"' in app.test_client().get("/help/").get_data(as_text=True)


@about("scaling.md")
def test_the_commands_for_more_of_everything(guide: Guide, shop: Shop) -> None:
    web = [*guide.take("console", "More web processes"), *guide.take("console", "Sockets, threads and gevent")]
    lines = [line for block in web for line in block.strip().splitlines()]
    assert lines.pop(1) == "pip install gevent"
    for line in lines:
        with shop.serves(line) as server:
            serves_sockets(server)
    for line in guide.take("console", "More workers")[0].strip().splitlines():
        wanted = {kind: int(count) for kind, count in re.findall(r"--(\w+) (\d+)", line) if int(count)}
        with shop.works(line) as worker:
            wait_until(lambda: kinds(shop) == {"relay": 1, **wanted}, worker)  # noqa: B023 - called at once
    assert (ROOT / "tests" / "hosts" / "test_scaling.py").exists()


def serves_sockets(server: Process) -> None:
    assert get(server.url, "/support/health").status == 200
    for path, who in (("/support/widget/socket", {}), ("/support/live", signed_in(server, "kim"))):
        assert handshake(server.url, path, {"Origin": server.url, **who}) == 101


@about("troubleshooting.md")
def test_troubleshooting_names_what_there_is(guide: Guide, shop: Shop, dead_jobs: None, tmp_path: Path) -> None:
    code = "\n".join(
        path.read_text()
        for folder, kind in (("flask_cairnloop", "*.py"), ("templates", "*.html"), ("static", "*.js"))
        for path in (ROOT / folder).rglob(kind)
    )
    plain = " ".join(re.sub(r'"\s*\n\s*f?"', "", code).split())
    quoted = re.findall(r'"([A-Z][^"/]+?)[.…]?"', re.sub(r"(?s)```.*?```", "", guide.text))
    said = re.findall(r"`([^`\n]+)`", re.sub(r"(?s)```.*?```", "", guide.text))
    said = [words for words in said if re.match(r"[A-Z…].* ", words)]
    pieces = {piece.strip() for words in said for piece in words.split("…")}
    ours = pieces - {
        "",
        "CREATE EXTENSION vector",
        "X-Frame-Options: DENY",
        "Referrer-Policy: no-referrer",
        *OTHERS_SAY,
    }
    assert len(quoted) > 12
    assert len(ours) > 5
    assert [words for words in (*quoted, *ours) if words not in plain] == []

    (headers,) = guide.take("python")
    app = Flask("shop")
    exec(headers, {"app": app, "request": request})  # noqa: S102 - the guide's own lines
    assert app.test_client().get("/").headers["X-Frame-Options"] == "DENY"

    merge, tables_again = guide.take("console", "refuses"), guide.take("console", "older version")
    for block in guide.take("console"):
        shop.type(block, ends_with=(0, 1) if "doctor" in block else (0,))
    assert shop.sql("SELECT count(*) FROM cairnloop.jobs WHERE state = 'dead'") == [(0,)]
    shop.type(tables_again[0])
    two_heads = Shop(tmp_path, shop.database_url, shop.redis_url)
    two_heads.type("flask db init\nflask db revision -m one --rev-id aaaa")
    two_heads.type("flask db revision -m two --rev-id bbbb --head base --splice")
    assert "flask db merge heads" in two_heads.type("flask cairnloop install", ends_with=(1,))
    two_heads.type(merge[0])
    assert "Wrote" in two_heads.type("flask cairnloop install")


def test_an_env_py_that_looks_at_everything_is_told_to_leave_the_desk_alone(shop: Shop, tmp_path: Path) -> None:
    """What troubleshooting says of ``flask db migrate``, before and after."""
    folder = tmp_path / "strict"
    shutil.copytree(shop.folder / "migrations", folder / "migrations")
    shutil.copy(shop.folder / "app.py", folder)
    env_py = folder / "migrations" / "env.py"
    given = env_py.read_text()
    assert "**conf_args" in given
    check = "flask db check"
    strict = Shop.__new__(Shop)
    strict.folder, strict.env = folder, shop.env
    env_py.write_text(given.replace("**conf_args", "include_schemas=True"))
    assert "remove_table" in strict.type(check, ends_with=(1,))
    (_, filters) = Guide("install-by-hand.md").take("python", "2. The tables")
    env_py.write_text(filters + given.replace("**conf_args", "include_schemas=True, include_name=include_name"))
    assert "No new upgrade operations" in strict.type(check)


@about("walkthrough.md")
def test_after_each_stage_of_the_walkthrough_there_is_what_it_says(
    guide: Guide, make_app: Any, fresh_database_url: str
) -> None:
    app: Flask = make_app(database_url=fresh_database_url, ON_CONVERSATION_RESOLVED=lambda event: None, UNDO_SEND=10)
    heard: list[str] = []
    for name in signals.SIGNALS:
        getattr(signals, name).connect(lambda _, name=name, **__: heard.append(name), sender=app, weak=False)
    before = contents(app)
    question = "How do I reset my password?"
    known: dict[str, int] = {}
    customer = Customer("walker", "Wanda")

    def knowledge(session: Any) -> None:
        article = save_article(session, slug="password", title="Reset your password", body=ARTICLE, actor=MINA)
        publish(session, article.id, actor=MINA)

    def ask(session: Any) -> None:
        message = receive(session, customer=customer, body=question, channel="widget")
        known["conversation"] = message.conversation_id

    def decide(session: Any) -> None:
        draft = drafting.open_draft(session, known["conversation"])
        assert draft is not None
        assert draft.kind is DraftKind.REPLY
        taken = sending.approve(session, draft.id, actor=MINA, seen=1)
        assert taken.pending is not None
        known["pending"] = taken.pending.id

    def deliver(session: Any) -> None:
        sending.deliver(session, known["conversation"], known["pending"])

    def resolve_and_rate(session: Any) -> None:
        conversations.resolve(session, known["conversation"], actor=MINA)
        conversations.rate(session, customer=customer, conversation_id=known["conversation"], rating=5)

    def breaks(session: Any) -> None:
        newest = "(SELECT max(id) FROM cairnloop.jobs)"
        session.execute(text(f"UPDATE cairnloop.jobs SET state = 'dead', finished_at = now() WHERE id = {newest}"))
        session.commit()
        before.update(contents(app))
        (dead,) = session.scalars(text("SELECT id FROM cairnloop.jobs WHERE state = 'dead'"))
        jobs.retry(session, dead, actor=MINA)

    def run(_: Any) -> None:
        testing.run_jobs(app, within=timedelta(minutes=2))  # also what comes a while after the rest

    stages: dict[str, tuple[Callable[[Any], None], ...]] = {
        "6. Knowledge": (knowledge, run),
        "1. Ask": (ask,),
        "2. Draft": (run,),
        "3. Decide": (decide, deliver),
        "4. Answer": (lambda session: conversations.mark_seen(session, "walker", known["conversation"], 2),),
        "5. Resolve and rate": (resolve_and_rate,),
        "7. When something breaks": (run, breaks),
    }
    assert set(re.findall(r"^## (\d\..*)$", guide.text, re.MULTILINE)) == set(stages)
    for heading, steps in stages.items():
        if "breaks" in heading:
            run(None)
        heard.clear()
        for step in steps:
            with app.app_context():
                session = app.extensions["sqlalchemy"].session
                step(session)
                session.commit()
        after = contents(app)
        changed = {name for name in after if after[name] != before[name]}
        before = after
        said = guide.section(heading)
        rows, told = (
            re.search(r"^- Rows: (.*)$", said, re.MULTILINE),
            re.search(r"^- Signals: (.*)$", said, re.MULTILINE),
        )
        assert rows is not None
        assert told is not None
        assert set(re.findall(r"`(\w+)`", rows[1])) == changed, heading
        assert set(re.findall(r"`(\w+)`", told[1])) == set(heard), heading


ARTICLE = "Open the sign-in page and choose **Forgot password**. We send a link. The link works for 30 minutes.\n"


def contents(app: Flask) -> dict[str, str]:
    """A mark of what is in each table but the audit log's chain, which follows all that happens."""
    mark = "SELECT md5(coalesce(string_agg(x::text, '|' ORDER BY x::text), '')) FROM cairnloop.{} x"
    with app.app_context(), app.extensions["sqlalchemy"].engine.connect() as connection:
        return {
            table.name: str(connection.execute(text(mark.format(table.name))).scalar_one())
            for table in tables.metadata.sorted_tables
            if table.name not in ("audit_unsealed", "audit_chain")
        }


# --- the others ---


@about("articles.md")
def test_articles_go_in_and_out_as_files(guide: Guide, shop: Shop) -> None:
    (commands,) = guide.take("console")
    (file,) = guide.take("markdown")
    folder = shop.folder / "help-articles"
    folder.mkdir()
    (folder / "money.md").write_text(file)
    assert "1 file: 1 created." in shop.type(commands)
    copy = (shop.folder / "help-copy" / "refunds.md").read_text()
    assert sorted(copy.split()) == sorted(file.replace("[refund, money]", "- refund - money").split())
    assert {line.split("`")[1] for line in guide.section("Import").splitlines() if line.startswith("| `")} == {
        line.split(":")[0] for line in file.split("---")[1].strip().splitlines()
    }


@about("evaluation.md")
def test_the_evaluations_run(guide: Guide, shop: Shop) -> None:
    questions = shop.folder / "questions.jsonl"
    questions.write_text('{"title": "Late fees", "body": "How do I pay a late fee?"}')
    labelled = shop.folder / "labelled.jsonl"
    labelled.write_text('{"text": "Can I pay late?", "label": "fees"}\n{"text": "Pay a late fee", "label": "fees"}')
    report = shop.folder / "report.md"
    measured, fitted, drafted = (
        shop.type(
            commands.replace("retrieval DIR", f"retrieval {LIBRARY}")
            .replace("clusters FILE", f"clusters {labelled}")
            .replace("FILE", str(LIBRARY / "grounding.jsonl"))
            .replace("--kb DIR", f"--kb {LIBRARY}")
            .replace("QUESTIONS", str(questions))
            .replace("REPORT", str(report))
        )
        for commands in guide.take("console")
    )
    assert "statements_without_source 0" in drafted
    assert "> How do I pay a late fee?" in report.read_text()
    assert "ndcg@10" in measured
    assert "auroc" in measured
    assert "adjusted_rand" in measured
    assert "fit-1" in fitted


def goes_by_post(app: Flask, customer: Customer, exempt: str) -> None:
    """The chat gets past a protection of the host's own, by the line that the guide has for it and not without."""
    csrf = CSRFProtect(app)
    client = app.test_client()
    with app.app_context():
        join = [{"type": "join", "token": verifier.issue(customer)}]
    ask = {"json": join, "headers": {"Origin": "http://localhost"}}
    assert client.post("/support/widget/messages", **ask).status_code == 400
    exec(exempt, {"csrf": csrf})  # noqa: S102 - the guide's own line
    assert client.post("/support/widget/messages", **ask).status_code == 200


def sends_files(app: Flask, customer: Customer, snippet: ModuleType) -> None:
    """A file goes with a reply by the guide's own lines."""
    with app.app_context():
        session = app.extensions["sqlalchemy"].session
        number = receive(session, customer=customer, body="My invoice?", channel="host").conversation_id
        session.commit()
        snippet.send_invoice(session, number, io.BytesIO(b"%PDF-1.7 invoice"), OPERATORS["mina"])
        session.commit()
        replied = conversations.customer_messages(session, customer.ref, number)[-1]
        assert [file["name"] for file in replied.data["files"]] == ["invoice.pdf"]


@about("widget.md")
def test_the_chat_is_served_as_its_guide_says(
    guide: Guide, shop: Shop, app: Flask, customer: Customer, make_app: Any, tmp_path: Path
) -> None:
    (tag,) = guide.take("html")
    (exempt,) = guide.take("python", "Where no WebSocket comes through")
    (limits,) = guide.take("python", "How much a customer may do")
    goes_by_post(app, customer, exempt)
    (sending,) = guide.take("python", "Files")
    sends_files(make_app(FILE_STORAGE=str(tmp_path / "files")), customer, load("send_invoice", sending, tmp_path))
    bare = Flask("shop")
    exec(limits, {"app": bare})  # noqa: S102 - the guide's own lines
    assert Settings.load(bare.config).rate_limits == {**RATE_LIMITS, "messages": "10/minute", "conversations": None}
    assert re.fullmatch(r'<script src="/support/widget\.js" data-token="\{\{ token \}\}" async></script>\n', tag)
    for line in guide.take("console"):
        with shop.serves(line.strip()) as server:
            assert get(server.url, "/support/widget.js").status == 200
            serves_sockets(server)


@about("console.md")
def test_signing_an_operator_out_is_as_the_guide_says(guide: Guide, app: Flask) -> None:
    (code,) = guide.take("python")
    exec(code, {"app": app, "session": session, "redirect": redirect})  # noqa: S102 - the guide's own lines
    app.test_client_class = Client
    client = app.test_client()
    with client.session_transaction() as kept:
        kept["team_member"] = "7"
    with app.extensions["cairnloop"].hub.subscribe(["operator:7"]) as heard:
        heard.get(5)
        assert client.post("/logout").status_code == 302
        event = heard.get(5)
    assert getattr(event, "type", None) == "disconnect"
    with client.session_transaction() as kept:
        assert "team_member" not in kept


@about("telemetry.md")
def test_the_snippets_about_telemetry_work(guide: Guide, app: Flask, caplog: pytest.LogCaptureFixture) -> None:
    receiver, provider = guide.take("python")
    scope: dict[str, Any] = {}
    exec(receiver, scope)  # noqa: S102 - the guide's own lines
    try:
        with app.app_context(), caplog.at_level("INFO"):
            session = app.extensions["sqlalchemy"].session
            asked = receive(session, customer=Customer("t-1"), body="Hello", channel="host")
            conversations.reply(session, asked.conversation_id, actor=MINA, body="Hello")
            session.commit()
    finally:
        signals.reply_sent.disconnect(scope["count_replies"])
    assert re.search(r"reply \d+ in conversation \d+", caplog.text)
    # In a process of its own: OpenTelemetry takes one provider for good.
    subprocess.run([sys.executable, "-c", provider], check=True, capture_output=True, timeout=60)


@about("gaps.md")
def test_a_gap_is_read_and_accepted_as_its_guide_says(guide: Guide, app: Flask, session: Session) -> None:
    scope = {"session": session, "candidate_id": Desk(app).gap(), "operator": OPERATORS["mina"]}
    exec(guide.take("python")[0], scope)  # noqa: S102 - the guide's own lines
    assert scope["found"].questions
    assert session.get_one(GapCandidate, scope["candidate_id"]).state is CandidateState.ACCEPTED
    session.rollback()


@about("suggestions.md")
def test_an_article_is_asked_for_as_its_guide_says(guide: Guide, app: Flask, session: Session) -> None:
    guide.take("")  # the way in a line
    scope = {"session": session, "gap_id": Desk(app).gap(), "operator": OPERATORS["mina"]}
    exec(guide.take("python")[0], scope)  # noqa: S102 - the guide's own lines
    assert scope["asked"].state is SuggestionState.GENERATING
    session.rollback()


@about("engines.md")
def test_the_engines_are_made_and_told_of_as_they_are(
    guide: Guide, make_app: Any, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "key-of-nobody")
    monkeypatch.setenv("OPENAI_API_KEY", "key-of-nobody")
    scope: dict[str, Any] = {}
    for code, kind in zip(
        guide.take("python"), (AnthropicDraftGenerator, OpenAIDraftGenerator, OpenAIDraftGenerator), strict=True
    ):
        exec(code, scope)  # noqa: S102 - the guide's own lines
        engine = scope["CAIRNLOOP_DRAFT_GENERATOR"]
        assert type(engine) is kind
        assert make_app(DRAFT_GENERATOR=engine).extensions["cairnloop"].hooks.configured("DRAFT_GENERATOR")
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    installed = [guide.take("console", heading)[0].strip() for heading in ("of Anthropic", "of OpenAI")]
    assert installed == ['pip install ".[anthropic]"', 'pip install ".[openai]"']
    assert {"anthropic", "openai"} <= set(extras)

    told = dict(re.findall(r"^\| `(\w+)` \|([^|]*)\|", guide.section("or of a server"), re.MULTILINE))
    arguments = inspect.signature(OpenAIDraftGenerator).parameters
    assert told.keys() == arguments.keys()
    for name in ("timeout", "retries", "max_tokens", "limit_name"):
        assert told[name].strip(" `") == str(arguments[name].default).removesuffix(".0")
    outcomes = re.findall(r"^\| `(\w+)` \|", guide.section("When there is no answer"), re.MULTILINE)
    assert outcomes == [outcome.value for outcome in CallOutcome]
    assert f"within {PATIENCE} seconds" in guide.text
    figures = re.findall(r"(\d+) of (\d+) \| (\d+) of (\d+)", guide.section("How well that works"))
    # The floors that tests/drafting/test_support.py holds.
    assert figures == [("26", "26", "32", "34"), ("24", "26", "23", "30"), ("23", "26", "22", "30")]

    (asked,) = guide.take("console", "Money")
    (statement,) = re.findall(r'psql -c "(.*)"', asked)
    session.add(ModelCall(engine="openai", model="m", outcome=CallOutcome.USED, cost_micros=2_500_000))
    session.flush()
    assert [tuple(row) for row in session.execute(text(statement))] == [("openai", "m", "used", 1, Decimal("2.5"))]
    sent = Guide("privacy.md").section("What a language model is sent")
    for figure in (model_letter.TURNS, model_letter.SOURCES, "2,000", "12,000"):
        assert str(figure) in sent
    assert (model_letter.TURN_CHARACTERS, model_letter.SOURCE_CHARACTERS) == (2_000, 12_000)


@about("performance.md")
def test_what_is_measured_can_be_measured(guide: Guide) -> None:
    from bench.__main__ import main

    named = set(re.findall(r"python -m bench (\w+)", guide.text)) - {"NAME"}
    assert named == set(main.commands)
