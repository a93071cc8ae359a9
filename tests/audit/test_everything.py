"""Nothing is decided or changed without an entry and an actor. The console's forms are walked with its routes."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from flask import Flask
from sqlalchemy import text

from flask_cairnloop import Actor, Customer, Operator, propose_action, receive
from flask_cairnloop.cli import group
from flask_cairnloop.jobs import registry
from flask_cairnloop.knowledge.service import publish, save_article
from flask_cairnloop.testing import run_jobs
from flask_cairnloop.tokens import service as tokens
from tests.retrieval.conftest import LIBRARY
from tests.support.host import OPERATORS

# What a command or a job only shows, measures, or derives from what was decided before.
ONLY_SHOWS = frozenset(
    {
        *("doctor", "worker", "jobs list", "kb export", "index status", "audit verify", "tokens list"),
        *("eval retrieval", "eval drafts", "eval clusters"),
        "install",  # writes a file of the host's, and nothing of ours
    }
)
DERIVES = frozenset(
    {
        *(
            "conversations.tell_resolved",
            "conversations.tell_unseen",
            "drafting.learn",
            "drafting.learn_case",
            "drafting.learn_discard",
        ),
        *("retrieval.embed_questions", "retrieval.fold_terms", "retrieval.index", "retrieval.remove"),
        *("retrieval.start", "retrieval.tend"),
        *("service_levels.apply", "service_levels.tell_breached"),
        *("upkeep.join", "upkeep.tend"),
        "files.erase",  # what it does was decided, and is told, with the forgetting
        *("files.erase", "privacy.clear"),  # what they do was decided, and is told, with the forgetting
    }
)
COMMANDS = (
    *("jobs retry", "jobs discard", "kb import", "index rebuild", "eval grounding"),
    *("customers export", "customers forget", "tokens create", "tokens revoke"),
)
# Each with a test of its own beside its room: conversations.* in tests/conversations, files.sweep in tests/files,
# governance.wake in tests/governance, governance.stop_token in tests/mcp, knowledge.publish in tests/knowledge,
# service_levels.reckon in tests/service_levels, upkeep.* in tests/upkeep.
JOBS = {
    "conversations.auto_assign": "conversation.assign",
    "conversations.deliver": "message.reply",  # under the name of the operator who wrote it
    "conversations.wake": "conversation.wake",
    "drafting.draft": "draft.",
    "governance.run": "action.succeeded",
    "governance.stop_token": "action.withdrawn",
    "governance.wake": "action.",
    "knowledge.publish": "article.publish",
    "outbound.deliver": "outbound.deliver",
    "files.sweep": "file.delete",
    "service_levels.reckon": "service_level.breach",
    "upkeep.ask_again": "suggestion.ask_again",
    "upkeep.suggest": "suggestion.write",
}
DEAD = """
    INSERT INTO cairnloop.jobs
        (queue, name, arguments, state, run_at, attempt, max_attempts, created_at, finished_at)
    VALUES ('default', 'conversations.tell_resolved', '{"message_id": 0}', 'dead', now(), 8, 8, now(), now())
    RETURNING id"""
SINCE = "SELECT action, actor_kind, actor_id FROM cairnloop.audit_entries WHERE id > :id ORDER BY id"


@pytest.fixture(scope="module")
def config(config: dict[str, Any]) -> dict[str, Any]:
    return {**config, "OPERATOR_RESOLVER": OPERATORS.get}


@pytest.fixture
def entries(app: Flask) -> Callable[[], list[tuple[str, str, str]]]:
    """What has been written since it was asked last."""
    seen = 0

    def since() -> list[tuple[str, str, str]]:
        nonlocal seen
        with app.app_context(), app.extensions["sqlalchemy"].engine.connect() as connection:
            found = [(action, kind, who) for action, kind, who in connection.execute(text(SINCE), {"id": seen})]
            seen = connection.execute(text("SELECT coalesce(max(id), 0) FROM cairnloop.audit_entries")).scalar_one()
        return found

    since()
    return since


def commands(of: click.Group, before: str = "") -> Iterator[str]:
    for name, command in of.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, f"{before}{name} ")
        else:
            yield before + name


def test_every_command_and_every_job_is_known_here() -> None:
    assert set(commands(group)) == ONLY_SHOWS | set(COMMANDS)
    registry.at_start()  # has the rooms register theirs
    ours = {name for name in registry._definitions if name.partition(".")[0] in registry.ROOMS}
    assert ours == DERIVES | JOBS.keys()


def test_every_command_that_changes_something_is_in_the_log(
    app: Flask,
    entries: Callable[[], list[tuple[str, str, str]]],
    at_the_desk: Callable[..., Any],
    customer: Customer,
    tmp_path: Path,
) -> None:
    at_the_desk(lambda s: receive(s, customer=customer, body="Anybody?", channel="host"))
    (tmp_path / "bells.md").write_text("---\ntitle: Bells\n---\n\nWe sell bells.\n")
    someone = Actor.system("test")
    a_token = at_the_desk(lambda s: tokens.create(s, "Another", actor=someone, scopes=["knowledge.read"]))[0].id
    dead = str(at_the_desk(lambda s: s.execute(text(DEAD)).scalar_one()))
    arguments = {
        "jobs retry": [dead],
        "jobs discard": [dead],
        "kb import": [str(tmp_path)],
        "eval grounding": [str(LIBRARY / "grounding.jsonl"), "--kb", str(LIBRARY), "--fit"],
        "customers export": [customer.ref],
        "customers forget": [customer.ref, "--yes"],
        "tokens create": ["Machine"],
        "tokens revoke": [str(a_token)],
    }
    silent = []
    entries()
    for name in COMMANDS:
        done = app.test_cli_runner().invoke(args=["cairnloop", *name.split(), *arguments.get(name, [])])
        assert done.exit_code == 0, (name, done.output)
        told = entries()
        if not told or not all(kind == "system" and who.startswith("system:") for _, kind, who in told):
            silent.append((name, told))
    assert silent == []


def test_what_jobs_decide_is_in_the_log_under_the_jobs_name(
    app: Flask,
    entries: Callable[[], list[tuple[str, str, str]]],
    at_the_desk: Callable[..., Any],
    customer: Customer,
    operator: Operator,
) -> None:
    def article(session: Any) -> None:
        made = save_article(
            session, slug=f"a-{uuid.uuid4().hex[:8]}", title="Bells", body="We sell bells.", actor=Actor.system("test")
        )
        publish(session, made.id, actor=Actor.system("test"))

    at_the_desk(article)
    said = at_the_desk(lambda s: receive(s, customer=customer, body="Do you sell bells?", channel="host"))
    at_the_desk(
        lambda s: propose_action(
            s, "search_knowledge", {"question": "bells"}, actor=operator, conversation_id=said.conversation_id
        )
    )
    entries()
    run_jobs(app)
    told = entries()
    assert {kind for _, kind, _ in told} == {"system"}
    for name in ("drafting.draft", "governance.run"):
        assert any(action.startswith(JOBS[name]) for action, _, _ in told), (name, json.dumps(told))
