"""Settings: is the desk well, who works, what waits, and what has failed for good. For the one on call."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from flask import Blueprint, redirect, request, url_for
from sqlalchemy.orm import Session
from werkzeug.wrappers import Response

from flask_cairnloop.console.access import actor, requires
from flask_cairnloop.console.rendering import is_fragment, outage, page, toast, wanted
from flask_cairnloop.context import current
from flask_cairnloop.hooks import Permission
from flask_cairnloop.jobs import service
from flask_cairnloop.jobs.models import Job, QueueName, WorkerKind
from flask_cairnloop.jobs.queries import QueueState, WorkerState, dead_jobs, queue_states, worker_states
from flask_cairnloop.operations.checks import Finding, Level, examine

PAGE_SIZE = 25
JOB = "<int(max=9223372036854775807):job_id>"
# What a job does, in words. A job without one is called by its own name.
TITLES = {
    "drafting.draft": "Write a draft",
    "conversations.deliver": "Send a reply",
    "conversations.tell_resolved": "Tell your app that a conversation was resolved",
    "conversations.tell_unseen": "Tell your app of a reply that the customer has not seen",
    "service_levels.reckon": "See to the deadlines of a conversation",
    "service_levels.apply": "Reckon all deadlines by the service policy",
    "service_levels.tell_breached": "Tell your app that a deadline has passed",
    "governance.stop_token": "Take back what a revoked token asked for",
    "retrieval.index": "Put an article into the index",
    "retrieval.start": "See to the vectors of the embedding model",
    "retrieval.tend": "Change over to the embedding model",
    "retrieval.remove": "Remove the vectors of an earlier embedding model",
}
QUEUES = {
    QueueName.INTERACTIVE: ("Interactive", "Replies and drafts: somebody waits for them"),
    QueueName.DEFAULT: ("Default", "Messages to your app"),
    QueueName.BULK: ("Bulk", "Imports and indexing"),
}


@dataclass(frozen=True, slots=True)
class QueueView:
    name: str
    meaning: str
    state: QueueState
    workers: int
    oldest: str


@dataclass(frozen=True, slots=True)
class DeadJobView:
    """A job that has failed for good.

    Args:
        conversation_id, article_id: what it was about, where it was about one.
    """

    id: int
    title: str
    error: str
    attempts: int
    moment: datetime
    conversation_id: int | None
    article_id: int | None


def register(blueprint: Blueprint) -> None:
    blueprint.add_url_rule("/settings", "settings", settings)
    blueprint.add_url_rule("/settings/outage", "outage", outage_line)
    blueprint.add_url_rule(f"/settings/jobs/{JOB}/retry", "retry_job", retry, methods=["POST"])
    blueprint.add_url_rule(f"/settings/jobs/{JOB}/discard", "discard_job", discard, methods=["POST"])


@requires(Permission.OPERATIONS_READ, Permission.OPERATIONS_MANAGE, Permission.TOKENS_MANAGE, Permission.POLICY_MANAGE)
def settings() -> Response:
    """The page, or its live part."""
    return _shown()


@requires(Permission.CONVERSATIONS_READ)
def outage_line() -> Response:
    """The line at the top of every page that says what stands still, if something does."""
    return page("_outage.html", lines=outage())


@requires(Permission.OPERATIONS_MANAGE)
def retry(job_id: int) -> Response:
    """Give a dead job a new series of attempts."""
    return _decide(service.retry, job_id, "It is tried again")


@requires(Permission.OPERATIONS_MANAGE)
def discard(job_id: int) -> Response:
    """Decide that a dead job shall not run."""
    return _decide(service.discard, job_id, "Discarded")


def _decide(verb: Callable[..., Job], job_id: int, words: str) -> Response:
    session = current().session()
    verb(session, job_id, actor=actor())
    session.commit()
    if not is_fragment():
        return redirect(url_for("cairnloop.settings"), code=303)
    return toast(_shown(), words)


def _shown() -> Response:
    cairnloop = current()
    findings = examine(cairnloop, hooks=False)
    session = cairnloop.session()
    before = request.args.get("before", "")
    jobs = dead_jobs(session, before=int(before) if re.fullmatch(r"\d{1,18}", before, re.ASCII) else None)
    states = worker_states(session)
    return page(
        "_settings.html" if wanted() == "settings" else "settings.html",
        findings=sorted(findings, key=_urgency),
        queues=_queues(session, states),
        relay=next(state for state in states if state.kind is WorkerKind.RELAY),
        dead=[dead_job(job) for job in jobs],
        more=jobs[-1].id if len(jobs) == PAGE_SIZE else None,
        paged=bool(before),
    )


def _urgency(finding: Finding) -> int:
    return [Level.ERROR, Level.WARNING, Level.OK].index(finding.level)


def _queues(session: Session, workers: tuple[WorkerState, ...]) -> list[QueueView]:
    alive = {state.kind.value: state.alive for state in workers}
    return [
        QueueView(*QUEUES[state.queue], state, alive[state.queue.value], duration(state.oldest))
        for state in queue_states(session)
    ]


def dead_job(job: Job) -> DeadJobView:
    """A job in words, whatever it was and wherever it came from."""

    def about(name: str) -> int | None:
        value: Any = job.arguments.get(name)
        return value if isinstance(value, int) and not isinstance(value, bool) else None

    return DeadJobView(
        job.id,
        TITLES.get(job.name, job.name),
        job.last_error or "No reason was kept.",
        job.attempt,
        job.finished_at or job.created_at,
        about("conversation_id"),
        about("article_id"),
    )


def duration(seconds: float) -> str:
    """``12s``, ``4m``, ``3h``, ``2d``."""
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "m")):
        if seconds >= size:
            return f"{int(seconds // size)}{unit}"
    return f"{int(seconds)}s"
