"""What can be wrong with an install, asked of the real things, each with what to do about it.

One list for ``flask cairnloop doctor``, ``/ready`` and the console's settings. A finding holds names and numbers only:
never a secret, never a word of a customer.
"""

from __future__ import annotations

import re
import secrets as secrets_  # `secrets` is a check
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING

from flask import Flask
from redis import Redis, RedisError
from sqlalchemy import Connection, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from flask_cairnloop.clock import now
from flask_cairnloop.database import tables
from flask_cairnloop.database.base import schema_name
from flask_cairnloop.errors import HookFailed, NotFound, StorageUnavailable
from flask_cairnloop.files.storage import storage_of
from flask_cairnloop.jobs.models import JobState, WorkerKind
from flask_cairnloop.jobs.queries import queue_states, worker_states
from flask_cairnloop.outbound import queries as follow_ups
from flask_cairnloop.retrieval import indexing
from flask_cairnloop.retrieval.ann import NEEDED
from flask_cairnloop.retrieval.embedding import EmbeddingFailed, embed
from flask_cairnloop.retrieval.indexing import IndexState
from flask_cairnloop.retrieval.models import ModelState
from flask_cairnloop.retrieval.vector_lane import EXACT_LIMIT
from flask_cairnloop.service_levels.hours import after
from flask_cairnloop.service_levels.queries import failures
from flask_cairnloop.service_levels.service import newest, read
from flask_cairnloop.service_levels.types import Policy
from flask_cairnloop.upkeep.queries import uncounted

if TYPE_CHECKING:
    from flask_cairnloop.extension import Cairnloop

REDIS_NEEDED = (6, 2)
OLD_JOB_SECONDS = 60.0
CLOCK_SECONDS = 5.0
UNCOUNTED = timedelta(hours=1)
DATABASE_SECONDS = 3
MADE_UP_TOKEN = "doctor.asks.whether.anybody.is.let.in"  # noqa: S105 - nobody's


class Level(StrEnum):
    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Args:
        check: its stable name.
        message: what is, in one sentence.
        fix: what to do about it; empty where nothing is wrong.
    """

    check: str
    level: Level
    message: str
    fix: str = ""


Check = Callable[["Cairnloop"], Iterator[Finding]]
DatabaseCheck = Callable[["Cairnloop", Session], Iterator[Finding]]


def examine(cairnloop: Cairnloop, *, hooks: bool = True) -> list[Finding]:
    """Look at everything. Never raises: what cannot be looked at is a finding.

    Args:
        hooks: also call the host's hooks, load the embedding model, and write to the file storage, to see whether
            they answer.
    """
    with cairnloop.app.app_context():
        found = [*_guarded("redis", cairnloop, redis)]
        found += _database_findings(cairnloop)
        found += [*_guarded("secrets", cairnloop, secrets)]
        if hooks:
            found += [*_guarded("operators", cairnloop, operators), *_guarded("customers", cairnloop, customers)]
            found += [*_guarded("embedder", cairnloop, embedder), *_guarded("files", cairnloop, files)]
    return found


def readiness(cairnloop: Cairnloop) -> list[Finding]:
    """What decides whether this install can take traffic: database, tables, Redis, workers, queues."""
    with cairnloop.app.app_context():
        return [*_guarded("redis", cairnloop, redis), *_database_findings(cairnloop, (workers, queues))]


# --- the database -------------------------------------------------------------------------------------------------


def _database_findings(cairnloop: Cairnloop, further: tuple[DatabaseCheck, ...] | None = None) -> list[Finding]:
    """The database, and what stands in it. Without the first nothing else can be said."""
    found: list[Finding] = []
    try:
        with cairnloop.engine.connect() as connection:
            connection.execute(text(f"SET LOCAL statement_timeout = '{DATABASE_SECONDS}s'"))
            found += database(connection)
            missing = [*migrations(cairnloop, connection)]
            found += missing
            if any(finding.level is Level.ERROR for finding in missing):
                return found
            with Session(connection) as session:
                for check in (
                    (clocks, vectors, index, gaps, workers, queues, dead, service_levels, outbound)
                    if further is None
                    else further
                ):
                    found += check(cairnloop, session)
    except SQLAlchemyError as error:
        found.append(
            Finding(
                "database",
                Level.ERROR,
                f"The database does not answer ({type(error).__name__}).",
                "Check SQLALCHEMY_DATABASE_URI, that PostgreSQL runs, and that this host may connect.",
            )
        )
    return found


def database(connection: Connection) -> Iterator[Finding]:
    """PostgreSQL answers, and is new enough."""
    number = int(connection.execute(text("SELECT current_setting('server_version_num')")).scalar_one())
    if number < 140000:
        yield Finding(
            "database", Level.ERROR, f"PostgreSQL {number // 10000} is too old.", "Upgrade to PostgreSQL 14 or newer."
        )
    else:
        yield Finding("database", Level.OK, f"PostgreSQL {number // 10000} answers.")


def migrations(cairnloop: Cairnloop, connection: Connection) -> Iterator[Finding]:
    """Every table and column that this version of the library reads is there."""
    schema = schema_name(connection)
    rows = connection.execute(
        text("SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = :schema"),
        {"schema": schema},
    )
    there = {(row.table_name, row.column_name) for row in rows}
    optional = ("chunk_embeddings", "past_question_embeddings", "gap_question_embeddings")  # where pgvector is
    wanted = {
        (table.name, column.name)
        for table in tables.metadata.tables.values()
        if table.name not in optional
        for column in table.columns
    }
    missing = sorted({table for table, column in wanted - there})
    if not there:
        yield Finding(
            "migrations",
            Level.ERROR,
            f'The schema "{cairnloop.settings.schema}" has no tables.',
            "Run: flask cairnloop install, then flask db upgrade",
        )
    elif missing:
        yield Finding(
            "migrations",
            Level.ERROR,
            f"The tables are of an older version ({', '.join(missing)}).",
            "Run: flask cairnloop install, then flask db upgrade",
        )
    else:
        yield Finding("migrations", Level.OK, "The tables are those of this version.")


def clocks(_cairnloop: Cairnloop, session: Session) -> Iterator[Finding]:
    """This host's clock and the database's agree: leases and timers are compared with both."""
    theirs = session.execute(text("SELECT clock_timestamp()")).scalar_one()
    apart = abs((now() - theirs).total_seconds())
    if apart > CLOCK_SECONDS:
        yield Finding(
            "clock",
            Level.WARNING,
            f"This host's clock and the database's are {apart:,.0f} seconds apart.",
            "Synchronise both (NTP); until then jobs start early or late and times look odd.",
        )
    else:
        yield Finding("clock", Level.OK, "This host's clock agrees with the database's.")


def vectors(_cairnloop: Cairnloop, session: Session) -> Iterator[Finding]:
    """pgvector: there, new enough, and used by our tables."""
    row = session.execute(text("SELECT extversion FROM pg_extension WHERE extname = 'vector'")).one_or_none()
    if row is None:
        yield Finding(
            "pgvector",
            Level.WARNING,
            "pgvector is not installed in this database: search goes by words only.",
            "As a role that may: CREATE EXTENSION vector; then run: flask cairnloop index rebuild",
        )
        return
    table = session.execute(
        text("SELECT to_regclass(quote_ident(:schema) || '.chunk_embeddings') IS NOT NULL"),
        {"schema": schema_name(session)},
    ).scalar_one()
    version = tuple(int(part) for part in re.findall(r"\d+", row.extversion)[:3])
    if not table:
        yield Finding(
            "pgvector",
            Level.WARNING,
            f"pgvector {row.extversion} is there, but our table for vectors is not: it came after the install.",
            "Run: flask cairnloop index rebuild",
        )
    elif version < NEEDED:
        yield Finding(
            "pgvector",
            Level.WARNING,
            f"pgvector {row.extversion} can corrupt an HNSW index on vacuum: none is built, all vectors are compared.",
            "Upgrade to 0.8.4 or newer: ALTER EXTENSION vector UPDATE",
        )
    else:
        yield Finding("pgvector", Level.OK, f"pgvector {row.extversion} is in use.")


def index(_cairnloop: Cairnloop, session: Session) -> Iterator[Finding]:
    """Every published article can be found, by words and, where there is a model, by meaning."""
    status = indexing.status(session)
    failed = status.states[IndexState.FAILED]
    fix = "See that a worker runs, then: flask cairnloop index rebuild --stale"
    if not status.articles:
        yield Finding(
            "index",
            Level.WARNING,
            "No article is published: every question will be handed to a person.",
            "Run: flask cairnloop kb import FOLDER",
        )
    elif status.indexed < status.articles:
        missing = status.articles - status.indexed
        yield Finding(
            "index",
            Level.WARNING,
            f"{_many(missing, 'article is', 'articles are')} not found yet, of {status.articles}.",
            fix,
        )
    elif failed:
        yield Finding(
            "index",
            Level.WARNING,
            f"{_many(failed, 'article', 'articles')} could not be indexed, of {status.articles}. "
            f"{status.failed[0].reason if status.failed else ''}".rstrip(),
            "They are tried again by themselves. See: flask cairnloop index status",
        )
    elif status.model and status.vectors and status.with_vectors < status.articles:
        missing = status.articles - status.with_vectors
        yield Finding(
            "index",
            Level.WARNING,
            f"{_many(missing, 'article is', 'articles are')} found by words only, of {status.articles}.",
            fix,
        )
    else:
        yield Finding(
            "index", Level.OK, f"{_many(status.articles, 'published article is', 'published articles are')} found."
        )
    yield from _models(status)


def _models(status: indexing.Status) -> Iterator[Finding]:
    """What questions are compared with, and how."""
    live = next((model for model in status.models if model.state is ModelState.LIVE), None)
    building = next((model for model in status.models if model.state is ModelState.BUILDING), None)
    if building is not None:
        meanwhile = "with the earlier one" if status.building and live else "by words only"
        yield Finding(
            "embedding_model",
            Level.WARNING,
            f"{building.passages} of {status.passages} passages have a vector of the new embedding model; until all "
            f"have, questions are matched {meanwhile}.",
            "See that a worker runs, then: flask cairnloop index rebuild --stale --wait",
        )
    elif live is not None and live.ann_index is None and live.passages > EXACT_LIMIT:
        yield Finding(
            "embedding_model",
            Level.WARNING,
            f"All {live.passages} vectors are compared one by one: there is no HNSW index yet.",
            "See that a worker runs, with pgvector 0.8.4 or newer, as a role that owns our tables, then: "
            "flask cairnloop index rebuild --stale",
        )
    elif live is not None:
        way = "through an HNSW index" if live.ann_index else "one by one"
        yield Finding(
            "embedding_model", Level.OK, f"{_many(live.passages, 'vector is', 'vectors are')} compared {way}."
        )


# --- work ---------------------------------------------------------------------------------------------------------


def gaps(_: Cairnloop, session: Session) -> Iterator[Finding]:
    """Questions without an answer are gathered soon after they were kept."""
    late = uncounted(session, now() - UNCOUNTED)
    if late:
        yield Finding(
            "gaps",
            Level.WARNING,
            f"{late:,} questions without an answer wait to be gathered, for more than an hour.",
            "See that a worker takes the queue bulk, and look for failed jobs: flask cairnloop jobs list --state dead",
        )
    else:
        yield Finding("gaps", Level.OK, "No question without an answer waits to be gathered.")


def workers(_cairnloop: Cairnloop, session: Session) -> Iterator[Finding]:
    """A relay and a worker for every queue beat."""
    states = worker_states(session)
    missing = [state.kind for state in states if not state.alive]
    alive = sum(state.alive for state in states)
    fix = "Start one, and keep it running beside the web server: flask cairnloop worker"
    if not alive:
        yield Finding(
            "workers", Level.ERROR, "No worker is running: replies, drafts and messages to your app wait.", fix
        )
    elif missing:
        waits = " and ".join("the relay" if kind is WorkerKind.RELAY else f"queue {kind.value}" for kind in missing)
        yield Finding("workers", Level.WARNING, f"Nobody works for {waits}.", fix)
    else:
        yield Finding("workers", Level.OK, f"{_many(alive, 'worker process is', 'worker processes are')} alive.")


def queues(_cairnloop: Cairnloop, session: Session) -> Iterator[Finding]:
    """No due job waits for long."""
    late = [state for state in queue_states(session) if state.oldest > OLD_JOB_SECONDS]
    for state in late:
        waiting = _many(state.due, "job waits", "jobs wait")
        yield Finding(
            "queues",
            Level.WARNING,
            f"{waiting} in {state.queue.value}, the oldest for {state.oldest:,.0f} seconds.",
            f"Add workers: flask cairnloop worker --{state.queue.value} 2",
        )
    if not late:
        yield Finding("queues", Level.OK, "No job waits longer than a minute.")


def dead(_cairnloop: Cairnloop, session: Session) -> Iterator[Finding]:
    """No job has been given up."""
    count = sum(state.dead for state in queue_states(session))
    if count:
        yield Finding(
            "dead_jobs",
            Level.WARNING,
            f"{_many(count, 'job has', 'jobs have')} failed for good.",
            f"Look, then retry or discard: flask cairnloop jobs list --state {JobState.DEAD.value}",
        )
    else:
        yield Finding("dead_jobs", Level.OK, "No job has failed for good.")


def service_levels(cairnloop: Cairnloop, session: Session) -> Iterator[Finding]:
    """What is promised to customers can be reckoned, and the host's policy answers."""
    fix = "Write it anew in the console, under Settings, Service levels."
    row = newest(session)
    policy = read(row) if row is not None and row.in_force else None
    wrong = False
    if row is not None and row.in_force and policy is None:
        wrong = True
        yield Finding("service_levels", Level.ERROR, "The service policy cannot be used: nothing has a deadline.", fix)
    elif policy is not None and _never_due(policy):
        wrong = True
        yield Finding(
            "service_levels", Level.WARNING, "By the service policy some deadlines never come: nobody works.", fix
        )
    failed = failures(session, now() - timedelta(days=1)) if cairnloop.hooks.configured("SLA_POLICY") else 0
    if failed:
        wrong = True
        yield Finding(
            "service_levels",
            Level.WARNING,
            f"CAIRNLOOP_SLA_POLICY did not answer for {_many(failed, 'conversation', 'conversations')} within a day: "
            "the desk’s own policy stands in.",
            "Your app's log says why, where it raised. It has CAIRNLOOP_HOOK_TIMEOUT seconds, and answers with a "
            "ServiceLevel or None.",
        )
    if not wrong:
        promised = policy is not None or cairnloop.hooks.configured("SLA_POLICY")
        yield Finding("service_levels", Level.OK, f"Service levels are {'in force' if promised else 'not in use'}.")


def _never_due(policy: Policy) -> bool:
    amounts = [amount for found in policy.targets.values() for amount in found.values()]
    return any(after(policy.hours, now(), amount) is None for amount in amounts)


def outbound(cairnloop: Cairnloop, session: Session) -> Iterator[Finding]:
    """Follow-ups that wait leave the desk, and of none it is unknown how it ended."""
    unknown = follow_ups.uncertain(session)
    if unknown:
        yield Finding(
            "outbound",
            Level.WARNING,
            f"{_many(unknown, 'follow-up', 'follow-ups')} may have been sent, and nobody knows.",
            "Look at what delivers them, then say on their envelopes under Outbound how they ended.",
        )
    if not cairnloop.hooks.configured("ON_OUTBOUND") and follow_ups.waiting(session):
        yield Finding(
            "outbound",
            Level.WARNING,
            "Follow-ups wait, and CAIRNLOOP_ON_OUTBOUND is not set: they will stand in the chat only.",
            "Set CAIRNLOOP_ON_OUTBOUND, or leave it so if the chat is where your customers read.",
        )
    elif not unknown:
        yield Finding("outbound", Level.OK, "Of every follow-up it is known how it ended.")


def redis(cairnloop: Cairnloop) -> Iterator[Finding]:
    """Redis answers, is new enough, and does not throw our keys away."""
    client: Redis = cairnloop.redis
    fix = "Check CAIRNLOOP_REDIS_URL and that Redis or Valkey runs; jobs wait in the database until then."
    try:
        version = str(client.info("server")["redis_version"])
        policy = str(client.info("memory").get("maxmemory_policy", "noeviction"))
    except RedisError as error:
        yield Finding("redis", Level.ERROR, f"Redis does not answer ({type(error).__name__}).", fix)
        return
    if tuple(int(part) for part in re.findall(r"\d+", version)[:2]) < REDIS_NEEDED:
        yield Finding("redis", Level.ERROR, f"Redis {version} is too old.", "Upgrade to 6.2 or newer, or to Valkey.")
    elif policy.startswith("allkeys"):
        yield Finding(
            "redis",
            Level.WARNING,
            f"Redis evicts keys when memory is full ({policy}): queued jobs then start later than they could.",
            "Set maxmemory-policy to noeviction, or give the desk a Redis of its own.",
        )
    else:
        yield Finding("redis", Level.OK, f"Redis {version} answers.")


# --- who is let in ------------------------------------------------------------------------------------------------

_WELL_KNOWN = frozenset(
    {"dev", "development", "secret", "secretkey", "changeme", "change-me", "password", "test", "insecure", "key"}
)


def secrets(cairnloop: Cairnloop) -> Iterator[Finding]:
    """``SECRET_KEY`` signs customers' tokens and operators' sessions."""
    key = cairnloop.app.secret_key or ""
    plain = key.decode(errors="replace") if isinstance(key, bytes) else str(key)
    fix = 'Set one of at least 32 random characters: python -c "import secrets; print(secrets.token_hex(32))"'
    simple = re.sub(r"[^a-z-]", "", plain.lower())
    if not plain:
        yield Finding("secrets", Level.ERROR, "SECRET_KEY is not set.", fix)
    elif len(plain) < 16 or simple in _WELL_KNOWN or len(set(plain)) < 6:
        yield Finding("secrets", Level.ERROR, "SECRET_KEY can be guessed: tokens and sessions can be forged.", fix)
    else:
        yield Finding("secrets", Level.OK, "SECRET_KEY is set and not obvious.")


def operators(cairnloop: Cairnloop) -> Iterator[Finding]:
    """``OPERATOR_LOADER`` is there, answers, and lets nobody in who is not signed in."""
    if not cairnloop.hooks.configured("OPERATOR_LOADER"):
        yield Finding(
            "operators",
            Level.ERROR,
            "CAIRNLOOP_OPERATOR_LOADER is not set: the console lets nobody in.",
            "Set it to a function that answers who is signed in on this request.",
        )
        return
    try:
        with _anonymous_request(cairnloop.app):
            who = cairnloop.hooks.load_operator()
    except HookFailed as failure:
        yield Finding(
            "operators",
            Level.ERROR,
            f"CAIRNLOOP_OPERATOR_LOADER fails for a request without a session ({failure.detail}).",
            "It should answer None when nobody is signed in. The app's log has the exception.",
        )
        return
    if who is not None:
        yield Finding(
            "operators",
            Level.ERROR,
            "CAIRNLOOP_OPERATOR_LOADER lets in whoever asks, without a sign-in.",
            "It must answer None when nobody is signed in.",
        )
    else:
        yield Finding("operators", Level.OK, "CAIRNLOOP_OPERATOR_LOADER lets nobody in who is not signed in.")


def customers(cairnloop: Cairnloop) -> Iterator[Finding]:
    """``CUSTOMER_VERIFIER`` is there, answers, and believes no token that nobody issued."""
    if not cairnloop.hooks.configured("CUSTOMER_VERIFIER"):
        yield Finding(
            "customers",
            Level.WARNING,
            "CAIRNLOOP_CUSTOMER_VERIFIER is not set: the chat refuses everybody.",
            "Set it, for example to a SignedCustomerVerifier().",
        )
        return
    try:
        who = cairnloop.hooks.verify_customer(MADE_UP_TOKEN)
    except HookFailed as failure:
        yield Finding(
            "customers",
            Level.ERROR,
            f"CAIRNLOOP_CUSTOMER_VERIFIER fails for a token it does not know ({failure.detail}).",
            "It should answer None for such a token. The app's log has the exception.",
        )
        return
    if who is not None:
        yield Finding(
            "customers",
            Level.ERROR,
            "CAIRNLOOP_CUSTOMER_VERIFIER believes any token: everybody can read everybody's conversations.",
            "Use a verifier that checks a signature, for example SignedCustomerVerifier().",
        )
    else:
        yield Finding("customers", Level.OK, "CAIRNLOOP_CUSTOMER_VERIFIER refuses a token that nobody issued.")


def embedder(cairnloop: Cairnloop) -> Iterator[Finding]:
    """The embedding model loads and answers."""
    found = cairnloop.hooks.embedder()
    if found is None:
        yield Finding(
            "embedder",
            Level.WARNING,
            "There is no embedding model: search goes by words only.",
            "Install flask-cairnloop[local], or set CAIRNLOOP_EMBEDDER.",
        )
        return
    try:
        embed(found, ["Is anybody there?"], "query")
    except EmbeddingFailed as failure:
        yield Finding(
            "embedder",
            Level.ERROR,
            f"The embedding model does not work. {failure}",
            "Until it does, questions are matched by words only. The app's log has the exception.",
        )
    else:
        yield Finding("embedder", Level.OK, f"The embedding model {found.model} answers.")


# --- shared -------------------------------------------------------------------------------------------------------


def files(cairnloop: Cairnloop) -> Iterator[Finding]:
    """The file storage takes a file, gives it back and deletes it."""
    storage = storage_of(cairnloop)
    if storage is None:
        yield Finding("files", Level.OK, "CAIRNLOOP_FILE_STORAGE is not set: articles hold no images or files.")
        return
    key, words = f"doctor/{secrets_.token_hex(8)}", b"flask cairnloop doctor"
    try:
        storage.write(key, words)
        same = storage.read(key) == words
        storage.delete(key)
    except (StorageUnavailable, NotFound) as error:
        step, detail = (error.step, error.detail) if isinstance(error, StorageUnavailable) else ("read", "NotFound")
        yield Finding(
            "files",
            Level.ERROR,
            f"The file storage cannot {step} ({detail}).",
            "Check CAIRNLOOP_FILE_STORAGE and CAIRNLOOP_FILE_STORAGE_OPTIONS, that this process may write there, and "
            "that fsspec's package for it (e.g. s3fs) is installed.",
        )
        return
    if same:
        yield Finding("files", Level.OK, "The file storage writes, reads and deletes.")
    else:
        yield Finding(
            "files",
            Level.ERROR,
            "The file storage gave back other bytes than it was given.",
            "Nothing else may write to CAIRNLOOP_FILE_STORAGE.",
        )


def _anonymous_request(app: Flask) -> AbstractContextManager[object]:
    return app.test_request_context("/", headers={"User-Agent": "flask cairnloop doctor"})


def _many(count: int, one: str, more: str) -> str:
    return f"{count} {one if count == 1 else more}"


def _guarded(name: str, cairnloop: Cairnloop, check: Check) -> list[Finding]:
    try:
        return [*check(cairnloop)]
    except Exception as error:
        cairnloop.app.logger.exception("the check %s failed", name)
        return [
            Finding(name, Level.ERROR, f"This could not be checked ({type(error).__name__}).", "See the app's log.")
        ]
