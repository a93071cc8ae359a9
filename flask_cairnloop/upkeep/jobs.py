"""Gathering questions into candidates as durable work."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from sqlalchemy import select

from flask_cairnloop.config import LONGEST_HOOK
from flask_cairnloop.jobs import JobContext, job
from flask_cairnloop.jobs.models import QueueName
from flask_cairnloop.retrieval import vectors
from flask_cairnloop.retrieval.embedding import EmbeddingFailed, embed
from flask_cairnloop.upkeep import clustering
from flask_cairnloop.upkeep.likeness import Embedded
from flask_cairnloop.upkeep.models import GapEvent
from flask_cairnloop.upkeep.service import JOIN

if TYPE_CHECKING:
    from flask_cairnloop.hooks import Hooks

log = logging.getLogger(__name__)

TIMEOUT = LONGEST_HOOK + 120


@job(JOIN, queue=QueueName.BULK, timeout=TIMEOUT)
def join(context: JobContext, *, event_id: int) -> None:
    """Count an event to a candidate."""
    session = context.session
    words = session.scalar(select(GapEvent.question).where(GapEvent.id == event_id, GapEvent.question_id.is_(None)))
    if words is None:
        return
    home = vectors.home(session)
    context.release()
    clustering.join(session, event_id, embedded(context.cairnloop.hooks, home, words))


def embedded(hooks: Hooks, home: str | None, words: str) -> Embedded | None:
    """The vector of a question by the configured model; ``None`` where there is none, or it fails.

    Args:
        home: quoted name of the schema that pgvector lives in; ``None`` where it is missing.
    """
    embedder = hooks.embedder()
    if embedder is None or home is None:
        return None
    try:
        return Embedded(embedder.model, embed(embedder, [words], "query")[0], home)
    except EmbeddingFailed as fault:
        log.warning("A question without an answer is compared by its words for now: %s", fault)
        return None
