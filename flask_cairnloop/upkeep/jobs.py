"""Gathering questions into candidates as durable work, and what candidates need as time goes by."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from sqlalchemy import delete, exists, select
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.orm import Session

from flask_cairnloop.clock import now
from flask_cairnloop.config import LONGEST_HOOK
from flask_cairnloop.jobs import JobContext, enqueue, job
from flask_cairnloop.jobs.models import QueueName
from flask_cairnloop.jobs.registry import chore
from flask_cairnloop.retrieval import ann, vector_lane, vectors
from flask_cairnloop.retrieval.embedding import EmbeddingFailed, embed
from flask_cairnloop.upkeep import candidates, clustering, holdings, likeness
from flask_cairnloop.upkeep import suggesting as suggesting  # registers its jobs
from flask_cairnloop.upkeep.likeness import Embedded
from flask_cairnloop.upkeep.models import GapEvent, GapModel, GapQuestion, GapQuestionEmbedding
from flask_cairnloop.upkeep.service import JOIN

if TYPE_CHECKING:
    from flask_cairnloop.extension import Cairnloop
    from flask_cairnloop.hooks import Hooks

log = logging.getLogger(__name__)

TEND: Final = "upkeep.tend"
TIMEOUT: Final = LONGEST_HOOK + 120
AT_ONCE: Final = 32  # questions that get a vector in one job
BUILD_TIMEOUT: Final = 2 * 3600  # seconds; an index over many questions takes minutes
WAITING: Final = 500  # events that are asked for once more in one job
SOON: Final = timedelta(seconds=2)
LATER: Final = timedelta(minutes=10)


@job(JOIN, queue=QueueName.BULK, timeout=TIMEOUT)
def join(context: JobContext, *, event_id: int) -> None:
    """Count an event to a candidate."""
    session = context.session
    words = session.scalar(select(GapEvent.question).where(GapEvent.id == event_id, GapEvent.question_id.is_(None)))
    if words is None:
        return
    home = vectors.home(session)
    context.release()
    found = embedded(context.cairnloop.hooks, home, words)
    clustering.join(session, event_id, found)
    lacks = found is None and home is not None and context.cairnloop.hooks.embedder() is not None
    if lacks or (found is not None and likeness.outgrown(session, found.model)):
        enqueue(session, TEND, {}, delay=LATER if lacks else SOON, unique_key=TEND, keep_earlier=True)


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


@job(TEND, queue=QueueName.BULK, timeout=BUILD_TIMEOUT, at_start=True)
def tend(context: JobContext) -> None:
    """See to events that were never counted, to questions without a vector of the configured model, and to the index.

    Some at a time, until nothing is left; every worker asks for it once when it starts.
    """
    session, hooks = context.session, context.cairnloop.hooks
    waiting = session.scalars(
        select(GapEvent.id).where(GapEvent.question_id.is_(None)).order_by(GapEvent.id).limit(WAITING)
    ).all()
    for event_id in waiting:
        enqueue(session, JOIN, {"event_id": event_id}, unique_key=f"{JOIN}:{event_id}")
    context.keep()
    embedder, home = hooks.embedder(), vectors.home(session)
    if embedder is None or home is None:
        return
    lacking = _lacking(session, embedder.model)
    context.release()
    made = [(question_id, found) for question_id, words in lacking if (found := embedded(hooks, home, words))]
    for question_id, found in made:
        clustering.link_again(session, question_id, found)
        context.keep()
    if not lacking:
        _drop_old_models(session, embedder.model)
    if likeness.outgrown(session, embedder.model):
        _build_index(context, embedder.model, embedder.dimensions, home)
    if len(lacking) == AT_ONCE or len(made) < len(lacking) or len(waiting) == WAITING:
        wait = LATER if len(made) < len(lacking) else SOON
        enqueue(session, TEND, {}, delay=wait, unique_key=TEND, keep_earlier=True)


def _lacking(session: Session, model: str) -> list[tuple[int, str]]:
    """Questions without a vector of a model, with their words."""
    known = exists().where(GapQuestionEmbedding.question_id == GapQuestion.id, GapQuestionEmbedding.model == model)
    found = select(GapQuestion.id, GapQuestion.question).where(GapQuestion.question.is_not(None), ~known)
    rows = session.execute(found.order_by(GapQuestion.id).limit(AT_ONCE)).all()
    return [(row.id, row.question) for row in rows]


def _drop_old_models(session: Session, model: str) -> None:
    used = exists().where(GapQuestionEmbedding.model == GapModel.model)
    session.execute(delete(GapModel).where(GapModel.model != model, ~used).execution_options(synchronize_session=False))


def _build_index(context: JobContext, model: str, dimensions: int, home: str) -> None:
    """Build the index over the questions of a model; without it all are compared, which only takes longer."""
    session = context.session
    definition = vector_lane.index_definition(session, model, dimensions, home, likeness.TABLE)
    context.release()
    try:
        built = ann.build(
            context.cairnloop.engine, vector_lane.index_name(model, likeness.TABLE), definition, dimensions
        )
    except ProgrammingError as fault:
        if not ann.refused(fault):
            raise
        log.warning("This app's role may not build an HNSW index: all questions without an answer are compared")
        return
    if built:
        likeness.use_index(session, model)


@chore("upkeep.wake", every=60)
def wake(_: Cairnloop, session: Session) -> bool:
    """Bring back what was put off until now."""
    return candidates.wake(session)


@chore("upkeep.prune", every=600)
def prune(cairnloop: Cairnloop, session: Session) -> bool:
    """Remove questions that were last asked longer than ``RETENTION_GAPS`` ago."""
    seconds = cairnloop.settings.retention_gaps
    return seconds > 0 and holdings.prune(session, now() - timedelta(seconds=seconds))
