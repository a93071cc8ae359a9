"""The guides say only what runs."""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from flask import Flask

from flask_cairnloop import ConversationInfo, Customer, Permission
from flask_cairnloop.config import KEYS, PREFIX
from flask_cairnloop.hooks import ContextView
from tests.example.configuration_table import table, written

ROOT = Path(__file__).resolve().parents[2]
HOOKS = (ROOT / "docs" / "hooks.md").read_text()
QUICKSTART = (ROOT / "docs" / "quickstart.md").read_text()


def python(document: str) -> list[str]:
    """The Python blocks of a Markdown text."""
    return re.findall(r"```python\n(.*?)```", document, re.DOTALL)


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
def guide(tmp_path: Path) -> Iterator[Any]:
    """The snippets of the hooks guide as one module."""
    yield load("hooks_guide", "\n".join(python(HOOKS)), tmp_path)
    del sys.modules["hooks_guide"]


def test_the_readme_lists_every_key_as_it_is() -> None:
    assert written() == table(), "run: python -m tests.example.configuration_table"


def test_the_guide_shows_every_hook_and_every_permission() -> None:
    hooks = [PREFIX + key.name for key in KEYS if key.kind in ("hook", "object")]
    assert [key for key in hooks if f"`{key}`" not in HOOKS] == []
    assert re.findall(r"^\| `([a-z.]+)` \|", HOOKS.split("permissions: begin")[1], re.MULTILINE)[: len(Permission)] == [
        permission.value for permission in Permission
    ]


def test_the_guides_import_from_the_front_door_only() -> None:
    imported = re.findall(
        r"^from (flask_cairnloop\S*) import", "\n".join(python(HOOKS) + python(QUICKSTART)), re.MULTILINE
    )
    assert len(imported) > 8
    assert set(imported) == {"flask_cairnloop"}


def test_the_hooks_of_the_guide_work(guide: Any, make_app: Any) -> None:
    app: Flask = make_app(
        OPERATOR_LOADER=guide.signed_in_operator,
        AUTHORIZE=guide.may,
        CUSTOMER_VERIFIER=guide.verify_customer,
        CONTEXT_PROVIDER="hooks_guide:about",
        AUTOMATION_POLICY=guide.house_rules,
        ON_CONVERSATION_RESOLVED=guide.tell_the_shop,
        DRAFT_GENERATOR=guide.write_draft,
        EMBEDDER=guide.HashedWords(),
        AUDITOR=guide.audited,
    )
    hooks = app.extensions["cairnloop"].hooks
    with app.test_request_context():
        from flask import session

        assert hooks.load_operator() is None
        session["team_member"] = "8"
        omar = hooks.load_operator()
        assert omar.name == "Omar Siddiqui"
        assert hooks.authorize(omar, Permission.CONVERSATIONS_REPLY)
        assert not hooks.authorize(omar, Permission.CONVERSATIONS_RESOLVE)
        customer = hooks.verify_customer(guide.widget_token("41"))
        assert customer.organization == "Lockside Cycles"
    asked = ConversationInfo(1, "Lockers", "open", "widget", datetime(2026, 3, 10, tzinfo=UTC))
    with app.app_context():
        assert hooks.load_context(customer, asked).state == "loaded"
        assert hooks.load_context(Customer("42"), asked) == ContextView("empty")


def test_a_conversation_goes_through_the_hooks_of_the_guide(guide: Any, make_app: Any) -> None:
    from flask_cairnloop import receive, resolve, testing
    from flask_cairnloop.actors import Actor
    from flask_cairnloop.drafting.service import open_draft
    from flask_cairnloop.drafting.types import DraftKind
    from flask_cairnloop.knowledge.service import publish, save_article

    app: Flask = make_app(
        AUTOMATION_POLICY=guide.house_rules,
        ON_CONVERSATION_RESOLVED=guide.tell_the_shop,
        DRAFT_GENERATOR=guide.write_draft,
        EMBEDDER=guide.HashedWords(),
        AUDITOR=guide.audited,
    )
    mina = Actor.operator(guide.Operator("7", "Mina Park"))
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
    assert list(guide.TOLD.values()) == ["Support answered “Where do orders wait?”"]
    assert ("7", "conversation.resolve") in guide.LOG


def test_the_app_of_the_quickstart_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fresh_database_url: str, redis_url: str
) -> None:
    from flask_cairnloop import testing
    from flask_cairnloop.drafting.service import open_draft
    from tests.conftest import Client, close

    for name, value in {
        "SECRET_KEY": "only for this test, not for you",
        "DATABASE_URL": fresh_database_url,
        "REDIS_URL": redis_url,
    }.items():
        monkeypatch.setenv(name, value)
    quickstart: Any = load("quickstart_app", "\n".join(python(QUICKSTART)), tmp_path)
    app = quickstart.app
    articles = tmp_path / "articles"
    articles.mkdir()
    found = re.search(r"```markdown\n(.*?)```", QUICKSTART, re.DOTALL)
    assert found is not None
    (articles / "opening-hours.md").write_text(found[1])
    assert app.test_cli_runner().invoke(args=["cairnloop", "kb", "import", str(articles)]).exit_code == 0
    testing.run_jobs(app)

    app.test_client_class = Client
    client = app.test_client()
    client.post("/", data={"person": "bo"})
    assert "/support/widget.js" in client.get("/").text
    assert client.get("/support/").status_code == 302
    client.post("/", data={"person": "ada"})
    assert client.get("/support/").status_code == 200

    question = re.search(r'ask in the chat: "([^"]+)"', QUICKSTART)
    assert question is not None
    with app.app_context():
        asked = quickstart.receive(
            quickstart.db.session(), customer=Customer("bo", "Bo"), body=question[1], channel="widget"
        )
        number = asked.conversation_id
        quickstart.db.session.commit()
        testing.run_jobs(app)
        draft = open_draft(quickstart.db.session(), number)
        assert draft is not None
        assert "lockers" in draft.body
    close(app)
    del sys.modules["quickstart_app"]
