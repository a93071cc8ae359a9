"""Set-ups broken on purpose: the doctor names each of them, says what to do, and tells it by its exit code."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Literal

import pytest
from flask import Flask
from redis import Redis

from flask_cairnloop import Customer, Operator, clock
from flask_cairnloop.testing import frozen, run_jobs
from tests.operations.conftest import publish_article, run_sql
from tests.support.embedders import Words
from tests.support.processes import free_port

NOBODY_LISTENS = free_port()
SECRET = "do-not-print-me"
JOB = """
    INSERT INTO cairnloop.jobs
        (queue, name, arguments, state, run_at, attempt, max_attempts, lease_until, created_at)
    VALUES ('interactive', 'drafting.draft', '{{}}', '{state}', now() - interval '1 hour', 0, 3, now(), now())"""

FOLLOW_UP = """
    WITH person AS (
        INSERT INTO cairnloop.customers (ref, created_at, last_seen_at) VALUES ('c-1', now(), now()) RETURNING id
    ), envelope AS (
        INSERT INTO cairnloop.outbound_envelopes
            (state, source, template_name, cancel_on_reply, chosen, eligible, cap, hooked, created_by_kind, created_by,
             created_by_name, created_at, submitted_by_kind, submitted_by, submitted_by_name, submitted_at)
        VALUES ('submitted', 'host', '', true, 1, 1, 25, false, 'operator', 'mina', 'Mina', now(), 'operator', 'mina',
                'Mina', now())
        RETURNING id
    )
    INSERT INTO cairnloop.outbound_deliveries
        (envelope_id, position, key, state, missing, customer_id, cancel_on_reply, subject, body, said, due_at, attempt,
         in_doubt, changed_at, created_at)
    SELECT envelope.id, 0, 'k', '{}', '[]', person.id, true, 'Hello', 'Words', 0, now(), 0, false, now(), now()
    FROM person, envelope"""


def let_everybody_in() -> Operator | None:
    return Operator("anybody", "Anybody")


def fall_over() -> Operator | None:
    raise RuntimeError(SECRET)


def believe_anything(token: str) -> Customer | None:
    return Customer(token[:100])


class BrokenEmbedder:
    model = "broken"
    dimensions = 3

    def embed(self, texts: Sequence[str], kind: Literal["query", "passage"] = "passage") -> Sequence[Sequence[float]]:
        raise RuntimeError(f"{SECRET}: {len(texts)} {kind}")


def refuse_passages(kind: str) -> None:
    if kind == "passage":
        raise RuntimeError(SECRET)


def fail_to_index(app: Flask) -> None:
    publish_article(app, "late")
    run_jobs(app)


@dataclass(frozen=True)
class Broken:
    """One thing that is wrong.

    Args:
        check: the finding that has to name it.
        keys: configuration that breaks it.
        sql: statements that break it.
        says: words of the message.
        advises: words of the fix.
    """

    check: str
    level: str
    says: str
    advises: str
    keys: dict[str, Any] = field(default_factory=dict)
    sql: tuple[str, ...] = ()
    act: Callable[[Flask], None] = lambda app: None


BROKEN = {
    "no database": Broken(
        "database",
        "error",
        "does not answer",
        "SQLALCHEMY_DATABASE_URI",
        {"database_url": f"postgresql+psycopg://u:{SECRET}@127.0.0.1:{NOBODY_LISTENS}/none"},
    ),
    "no tables": Broken(
        "migrations", "error", "has no tables", "flask db upgrade", sql=("DROP SCHEMA cairnloop CASCADE",)
    ),
    "tables of an older version": Broken(
        "migrations",
        "error",
        "older version (jobs)",
        "flask db upgrade",
        sql=("ALTER TABLE cairnloop.jobs DROP trace",),
    ),
    "no pgvector": Broken(
        "pgvector", "warning", "not installed", "CREATE EXTENSION vector", sql=("DROP EXTENSION vector CASCADE",)
    ),
    "pgvector that came late": Broken(
        "pgvector", "warning", "came after the install", "index rebuild", sql=("DROP TABLE cairnloop.chunk_embeddings",)
    ),
    "no Redis": Broken(
        "redis",
        "error",
        "does not answer",
        "CAIRNLOOP_REDIS_URL",
        {"REDIS_URL": f"redis://:{SECRET}@127.0.0.1:{NOBODY_LISTENS}/0"},
    ),
    "no worker": Broken(
        "workers",
        "error",
        "No worker is running",
        "flask cairnloop worker",
        sql=("UPDATE cairnloop.workers SET beat_at = now() - interval '31 seconds'",),
    ),
    "nobody for one queue": Broken(
        "workers",
        "warning",
        "queue bulk",
        "flask cairnloop worker",
        sql=("DELETE FROM cairnloop.workers WHERE kind = 'bulk'",),
    ),
    "a job that waits": Broken(
        "queues", "warning", "1 job waits", "--interactive 2", sql=(JOB.format(state="queued"),)
    ),
    "a dead job": Broken("dead_jobs", "warning", "1 job has failed", "jobs list", sql=(JOB.format(state="dead"),)),
    "a follow-up that only the chat will show": Broken(
        "outbound",
        "warning",
        "stand in the chat only",
        "CAIRNLOOP_ON_OUTBOUND",
        sql=(FOLLOW_UP.replace("{}", "scheduled"),),
    ),
    "a follow-up of which nobody knows": Broken(
        "outbound",
        "warning",
        "1 follow-up may have been sent",
        "under Outbound",
        sql=(FOLLOW_UP.replace("{}", "uncertain"),),
    ),
    "a question that was never gathered": Broken(
        "gaps",
        "warning",
        "wait to be gathered",
        "jobs list",
        sql=(
            "INSERT INTO cairnloop.gap_events (occurred_at, last_at, times, source, reason, question, fingerprint)"
            " VALUES (now() - interval '2 hours', now(), 1, 'draft', 'weak', 'Is this kept?', 'f')",
        ),
    ),
    "an article that is not found": Broken(
        "index",
        "warning",
        "1 article is not found yet, of 1",
        "index rebuild",
        sql=("DELETE FROM cairnloop.chunks",),
    ),
    "an article that waits for its vectors": Broken(
        "index",
        "warning",
        "1 article is found by words only, of 2",
        "index rebuild",
        act=lambda app: publish_article(app, "late"),
    ),
    "an article that could not be indexed": Broken(
        "index",
        "warning",
        "1 article could not be indexed, of 2. The embedder raised RuntimeError.",
        "index status",
        {"EMBEDDER": Words("passages", before=refuse_passages)},
        act=fail_to_index,
    ),
    "another embedding model": Broken(
        "embedding_model",
        "warning",
        "0 of 1 passages have a vector of the new embedding model; until all have, questions are matched by words",
        "index rebuild --stale --wait",
        {"EMBEDDER": Words("another")},
        act=lambda app: run_sql(
            app,
            "INSERT INTO cairnloop.embedding_models (model, dimensions, state, created_at)"
            " VALUES ('another', 64, 'building', now())",
        ),
    ),
    "no article": Broken(
        "index", "warning", "No article", "kb import", sql=("UPDATE cairnloop.articles SET state = 'archived'",)
    ),
    "nobody may enter": Broken("operators", "error", "not set", "signed in", {"OPERATOR_LOADER": None}),
    "an operator loader that raises": Broken(
        "operators", "error", "RuntimeError", "answer None", {"OPERATOR_LOADER": fall_over}
    ),
    "everybody is an operator": Broken(
        "operators", "error", "whoever asks", "answer None", {"OPERATOR_LOADER": let_everybody_in}
    ),
    "no customer may chat": Broken(
        "customers", "warning", "refuses everybody", "SignedCustomerVerifier", {"CUSTOMER_VERIFIER": None}
    ),
    "a demo verifier": Broken(
        "customers", "error", "believes any token", "signature", {"CUSTOMER_VERIFIER": believe_anything}
    ),
    "no secret": Broken("secrets", "error", "not set", "token_hex", {"FLASK_SECRET_KEY": None}),
    "a weak secret": Broken("secrets", "error", "can be guessed", "token_hex", {"FLASK_SECRET_KEY": "changeme"}),
    "an embedder that raises": Broken(
        "embedder", "error", "RuntimeError", "words only", {"EMBEDDER": BrokenEmbedder()}
    ),
    "a file storage that cannot be written": Broken(
        "files", "error", "cannot write", "CAIRNLOOP_FILE_STORAGE", {"FILE_STORAGE": f"file:///dev/null/{SECRET}"}
    ),
}


def ask(app: Flask, *options: str) -> tuple[int, dict[str, Any], str]:
    answer = app.test_cli_runner().invoke(args=["cairnloop", "doctor", "--json", *options])
    return answer.exit_code, json.loads(answer.stdout), answer.output


def test_a_healthy_install_is_told_so(healthy: Callable[..., Flask]) -> None:
    code, report, _ = ask(healthy(FILE_STORAGE="memory://doctor"), "--strict")
    assert {finding["level"] for finding in report["findings"]} == {"ok"}
    assert report["ok"] is True
    assert code == 0
    assert all(finding["fix"] == "" for finding in report["findings"])


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
def test_what_is_broken_is_named_with_a_fix(healthy: Callable[..., Flask], broken: Broken) -> None:
    app = healthy(**broken.keys)
    for statement in broken.sql:
        run_sql(app, statement)
    broken.act(app)

    code, report, output = ask(app)

    named = [finding for finding in report["findings"] if finding["check"] == broken.check]
    assert [finding["level"] for finding in named] == [broken.level]
    assert broken.says in named[0]["message"]
    assert broken.advises in named[0]["fix"]
    assert code == (1 if broken.level == "error" else 0)
    assert report["ok"] is (code == 0)
    assert ask(app, "--strict")[0] == 1
    assert SECRET not in output


def test_clocks_that_are_an_hour_apart_are_named(healthy: Callable[..., Flask]) -> None:
    app = healthy()
    with frozen(clock.now() + timedelta(hours=1)):
        _, report, _ = ask(app)
    named = next(finding for finding in report["findings"] if finding["check"] == "clock")
    assert named["level"] == "warning"
    assert "3,6" in named["message"]
    assert "NTP" in named["fix"]


def test_a_redis_that_throws_keys_away_is_named(healthy: Callable[..., Flask], redis: Redis) -> None:
    app = healthy()
    before = redis.config_get("maxmemory-policy")["maxmemory-policy"]
    redis.config_set("maxmemory-policy", "allkeys-lru")
    try:
        _, report, _ = ask(app)
    finally:
        redis.config_set("maxmemory-policy", before)
    named = next(finding for finding in report["findings"] if finding["check"] == "redis")
    assert (named["level"], "noeviction" in named["fix"]) == ("warning", True)


def test_in_words_it_ends_with_a_count(healthy: Callable[..., Flask]) -> None:
    answer = healthy(OPERATOR_LOADER=None).test_cli_runner().invoke(args=["cairnloop", "doctor"])
    assert answer.exit_code == 1
    assert "ERROR" in answer.output
    assert answer.output.rstrip().endswith("1 wrong.")
