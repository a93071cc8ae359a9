"""Indexing as durable work: of an article, and of a change from one embedding model to another."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import TYPE_CHECKING

from sqlalchemy import delete, exists, select
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.orm import Session

from flask_cairnloop.config import LONGEST_HOOK
from flask_cairnloop.jobs import JobContext, enqueue, job
from flask_cairnloop.jobs.models import QueueName
from flask_cairnloop.retrieval import ann, indexing, memory, statistics, vectors
from flask_cairnloop.retrieval.embedding import EmbeddingFailed, embed
from flask_cairnloop.retrieval.models import ChunkEmbedding, EmbeddingModel, ModelState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flask_cairnloop.retrieval.chunking import Piece
    from flask_cairnloop.retrieval.types import Embedder

log = logging.getLogger(__name__)

# Seconds: the embedding for each of two models stops by itself, at the latest with a batch that uses its whole time.
TIMEOUT = 2 * (int(indexing.EMBEDDING_SECONDS) + LONGEST_HOOK) + 60
LONGEST_WAIT = timedelta(hours=1)
BUILD_TIMEOUT = 4 * 3600  # seconds for an HNSW index, or for queueing all articles
SOON = timedelta(seconds=2)  # many articles indexed in it make one look at the whole
IN_FLIGHT = timedelta(minutes=2)  # how long a search may still compare with vectors of a model that has just retired
AGAIN = timedelta(minutes=1)
QUESTIONS_AT_ONCE = 64
QUESTIONS_TIMEOUT = 2 * (QUESTIONS_AT_ONCE // indexing.BATCH) * LONGEST_HOOK + 60  # seconds: for each of two models
REMOVED_AT_ONCE = 2_000  # vectors in one transaction


def _note_dead(context: JobContext, article_id: int, failures: int = 0) -> None:
    # The words of an exception may be anybody's; its class is ours to show.
    kind = (context.error or "").partition(":")[0]
    if context.actor is not None:
        reason = "Its indexing was discarded."
    elif kind.isidentifier():
        reason = f"Its indexing failed ({kind})."
    else:
        reason = context.error or "Its indexing failed."
    indexing.failed(context.session, article_id, reason, failures + 1)


@job(indexing.INDEX, queue=QueueName.BULK, timeout=TIMEOUT, on_dead=_note_dead)
def index(context: JobContext, article_id: int, failures: int = 0) -> None:
    """Bring one article's passages and vectors up to date.

    When an embedder fails, the article is found by words at once, and its vectors are tried again later.

    Args:
        failures: how often an embedder has failed for this article in a row.
    """
    session, hooks = context.session, context.cairnloop.hooks
    source = indexing.published(session, article_id)
    if source is None:
        indexing.withdraw(session, article_id)
        statistics.request(session)
        return
    embedders = vectors.wanted(session, hooks)
    pieces = source.pieces()
    plan = indexing.plan(session, source, pieces, [embedder.model for embedder in embedders])
    live = vectors.live_model(session)
    context.release()
    made, reason = _embed(embedders, plan, source, pieces)
    if plan.keep:
        done = indexing.add_vectors(session, source, len(pieces), made)
    elif reason is not None and indexing.is_found(session, source, pieces):
        done = True  # what is there is no worse than what could be made now
    else:
        done = indexing.replace(session, source, pieces, made)
    if not done:
        # The words have changed meanwhile: who changed them has asked for another run.
        return
    if reason is not None:
        indexing.failed(session, article_id, reason, failures + 1)
        wait = min(timedelta(minutes=1) * 2 ** min(failures, 10), LONGEST_WAIT)
        _index_again(session, article_id, failures + 1, wait)
    elif vectors.live_model(session) not in (live, *(embedder.model for embedder in embedders)):
        # The switch to a model that this process does not know yet came between.
        _index_again(session, article_id, 0, timedelta(0))
    else:
        indexing.succeeded(session, article_id, plan.rebuild_asked_at)
    statistics.request(session)
    _look_at_the_whole(session, embedders)


def _embed(
    embedders: Sequence[Embedder], plan: indexing.Plan, source: indexing.Source, pieces: Sequence[Piece]
) -> tuple[dict[str, list[list[float]]], str | None]:
    """The vectors that are missing, by model, and why some could not be made."""
    made: dict[str, list[list[float]]] = {}
    reason = None
    for embedder in embedders:
        if embedder.model not in plan.missing:
            continue
        try:
            made[embedder.model] = indexing.embed_pieces(embedder, source.title, pieces)
        except EmbeddingFailed as fault:
            log.warning("Article %s is indexed without vectors for now: %s", source.article_id, fault)
            reason = reason or str(fault)
    return made, reason


def _index_again(session: Session, article_id: int, failures: int, wait: timedelta) -> None:
    enqueue(
        session,
        indexing.INDEX,
        {"article_id": article_id, "failures": failures} if failures else {"article_id": article_id},
        delay=wait,
        unique_key=indexing.index_key(article_id),
        keep_earlier=True,  # somebody may have asked for it meanwhile, and sooner
    )


def _look_at_the_whole(session: Session, embedders: Sequence[Embedder]) -> None:
    """Ask for :func:`tend` where this article may have been the one that it waits for."""
    if not embedders:
        return
    model = session.get(EmbeddingModel, embedders[0].model)
    if model is None:
        return
    if model.state is ModelState.BUILDING or (model.ann_index is None and ann.outgrown(session, model.model)):
        enqueue(session, indexing.TEND, {}, delay=SOON, unique_key=indexing.TEND, keep_earlier=True)


@job(indexing.START, queue=QueueName.BULK, timeout=BUILD_TIMEOUT, at_start=True)
def start(context: JobContext) -> None:
    """See to it that passages get vectors of the configured model. Every worker asks for it once when it starts."""
    session, cairnloop = context.session, context.cairnloop
    embedder = cairnloop.hooks.embedder()
    if embedder is None or not vectors.is_ready(session):
        return
    state = vectors.register(session, embedder.model, embedder.dimensions, again=True)
    session.commit()
    if state is ModelState.BUILDING:
        taken = indexing.taken(session, running=False)
        articles = [article for article in indexing.lacking(session, embedder.model) if article not in taken]
        session.rollback()
        with Session(cairnloop.engine) as batches:
            for _ in indexing.queue(batches, articles):
                batches.commit()
    _remove_retired(session)
    enqueue(session, indexing.TEND, {}, unique_key=indexing.TEND)


@job(indexing.TEND, queue=QueueName.BULK, timeout=BUILD_TIMEOUT)
def tend(context: JobContext) -> None:
    """Switch to the configured model once every published passage has its vector, and keep its HNSW index right.

    An index is there for speed: one that this role may not build holds up no switch.
    """
    session, cairnloop = context.session, context.cairnloop
    embedder = cairnloop.hooks.embedder()
    if embedder is None or not vectors.is_ready(session):
        return
    model = session.get(EmbeddingModel, embedder.model)
    if model is None or (model.state is ModelState.BUILDING and not vectors.is_complete(session, model.model)):
        return
    context.release()
    busy = False
    try:
        busy = ann.keep(cairnloop.engine, embedder.model)
    except ProgrammingError as fault:
        if not ann.refused(fault):
            raise
        log.warning("This app's role may not build an HNSW index: all vectors are compared one by one")
    if vectors.switch(session, embedder.model):
        _remove_retired(session)
    if busy:
        enqueue(session, indexing.TEND, {}, delay=AGAIN, unique_key=indexing.TEND, keep_earlier=True)


def _remove_retired(session: Session) -> None:
    """Ask for what is left of models that nobody compares with any more to be removed, a while from now."""
    left = exists().where(ChunkEmbedding.model == EmbeddingModel.model)
    retired = select(EmbeddingModel.model).where(EmbeddingModel.state == ModelState.RETIRED, left)
    for model in session.scalars(retired).all():
        enqueue(
            session,
            indexing.REMOVE,
            {"model": model},
            delay=IN_FLIGHT,
            unique_key=indexing.remove_key(model),
            keep_earlier=True,
        )


@job(indexing.REMOVE, queue=QueueName.BULK, timeout=BUILD_TIMEOUT)
def remove(context: JobContext, model: str) -> None:
    """Remove the vectors of a retired model, in small transactions. Nothing goes of one that came back meanwhile."""
    cairnloop = context.cairnloop
    context.release()
    if ann.drop(cairnloop.engine, model):
        enqueue(context.session, indexing.REMOVE, {"model": model}, delay=AGAIN, unique_key=indexing.remove_key(model))
        return
    after = 0
    with Session(cairnloop.engine) as session:
        while True:
            vectors.lock(session, alone=False)
            state = session.scalar(select(EmbeddingModel.state).where(EmbeddingModel.model == model))
            if state is not ModelState.RETIRED:
                return
            batch = session.scalars(
                select(ChunkEmbedding.chunk_id)
                .where(ChunkEmbedding.model == model, ChunkEmbedding.chunk_id > after)
                .order_by(ChunkEmbedding.chunk_id)
                .limit(REMOVED_AT_ONCE)
            ).all()
            if not batch:
                return
            session.execute(
                delete(ChunkEmbedding)
                .where(ChunkEmbedding.model == model, ChunkEmbedding.chunk_id.in_(batch))
                .execution_options(synchronize_session=False)
            )
            session.commit()
            after = batch[-1]


@job(statistics.FOLD, max_attempts=3)
def fold_terms(context: JobContext) -> None:
    """Keep the list of what changed in the statistics of terms short."""
    statistics.fold(context.session)


@job(memory.EMBED, queue=QueueName.BULK, timeout=QUESTIONS_TIMEOUT, at_start=True)
def embed_questions(context: JobContext) -> None:
    """Give earlier questions the vectors they lack, some at a time, until none is left."""
    session = context.session
    wanted = vectors.wanted(session, context.cairnloop.hooks)
    lacking = {embedder.model: memory.without_vector(session, embedder.model, QUESTIONS_AT_ONCE) for embedder in wanted}
    context.release()
    made: dict[str, list[tuple[int, list[float]]]] = {}
    failed = False
    for embedder in wanted:
        for start in range(0, len(lacking[embedder.model]), indexing.BATCH):
            batch = lacking[embedder.model][start : start + indexing.BATCH]
            try:
                found = embed(embedder, [words for _, words in batch], "query")
            except EmbeddingFailed as fault:
                log.warning("Earlier questions stay without vectors for now: %s", fault)
                failed = True
                break
            made.setdefault(embedder.model, []).extend(zip((key for key, _ in batch), found, strict=True))
    memory.keep_vectors(session, made)
    if failed or any(len(rows) == QUESTIONS_AT_ONCE for rows in lacking.values()):
        memory.ask_for_vectors(session, LONGEST_WAIT if failed else timedelta(0))
