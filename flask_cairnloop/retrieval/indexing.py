"""Keeps the passages and vectors of published articles up to date."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Select,
    and_,
    case,
    cast,
    delete,
    exists,
    false,
    func,
    literal_column,
    null,
    or_,
    select,
    text,
    true,
)
from sqlalchemy.dialects.postgresql import REGCONFIG, insert
from sqlalchemy.orm import Session

from flask_cairnloop.clock import database_now
from flask_cairnloop.context import current
from flask_cairnloop.jobs import enqueue
from flask_cairnloop.jobs.models import UNCLAIMED, Job, JobState
from flask_cairnloop.jobs.queries import UNFINISHED
from flask_cairnloop.knowledge.models import Article, ArticleState, Revision, RevisionState
from flask_cairnloop.retrieval.chunking import Piece, chunk, plain_text
from flask_cairnloop.retrieval.embedding import EmbeddingFailed, embed
from flask_cairnloop.retrieval.models import Chunk, ChunkEmbedding, EmbeddingModel, IndexEntry, ModelState
from flask_cairnloop.retrieval.types import Embedder
from flask_cairnloop.retrieval.vectors import (
    coverage,
    has_vector,
    hold,
    is_ready,
    models,
    published_passage,
    wanted,
)

INDEX: Final = "retrieval.index"
START: Final = "retrieval.start"
TEND: Final = "retrieval.tend"
REMOVE: Final = "retrieval.remove"
BATCH: Final = 16  # texts an embedder gets at once
EMBEDDING_SECONDS: Final = 3600.0  # for all of an article's batches; a slow embedder gets through any article in it
QUEUE_BATCH: Final = 200  # articles queued in one transaction
AHEAD: Final = timedelta(seconds=10)  # work that is due so soon is being done
REASON_LENGTH: Final = 500
FAILURES_SHOWN: Final = 20


class IndexState(StrEnum):
    """How an article stands in the index. Read from its passages, so that it cannot say what is not so."""

    PENDING = "pending"  # published, and the worker has not been at it since
    INDEXED = "indexed"  # found by its published words, and by meaning where there is a model
    FAILED = "failed"  # something of it could not be indexed; it is tried again
    STALE = "stale"  # indexed once, but what is in the index is older than what is published, or lacks vectors
    EMPTY = "empty"  # nothing of it is published, so there is nothing to index


@dataclass(frozen=True, slots=True)
class Source:
    """The words that are to be found."""

    article_id: int
    revision_id: int
    title: str
    body: str

    def pieces(self) -> list[Piece]:
        """The passages; an article that is nothing but its title is found by that."""
        return chunk(self.title, self.body) or [Piece(0, "", self.title)]


@dataclass(frozen=True, slots=True)
class Standing:
    """How one article stands in the index.

    Args:
        reason: for a failed one, in a sentence.
        failures: how often in a row.
        waits: whether a job for it is to run, now or later.
    """

    state: IndexState
    reason: str | None = None
    failures: int = 0
    failed_at: datetime | None = None
    waits: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done for an article's published words.

    Args:
        keep: its passages are just these, so that only vectors are missing.
        missing: models that not every one of its passages has a vector of.
        rebuild_asked_at: which rebuild it is done for.
    """

    keep: bool
    missing: frozenset[str]
    rebuild_asked_at: datetime | None


@dataclass(frozen=True, slots=True)
class ModelStatus:
    """One embedding model, and how many published passages have its vector.

    Args:
        ann_index: name of its HNSW index; ``None`` where all vectors are compared.
    """

    model: str
    state: ModelState
    dimensions: int
    passages: int
    ann_index: str | None


@dataclass(frozen=True, slots=True)
class Failure:
    """An article that could not be indexed."""

    article_id: int
    title: str
    reason: str
    failures: int
    failed_at: datetime


@dataclass(frozen=True, slots=True)
class Status:
    """How far the index is.

    Args:
        articles: published ones.
        indexed: of these, found by words.
        with_vectors: of these, found by meaning under the model in use.
        passages: of what is published.
        model: fingerprint of the model in use, ``None`` when there is none.
        building: fingerprint of the model that is to take its place, if one is.
        vectors: whether this database can keep vectors.
        states: how many articles are in each state.
        models: those known, newest first.
        failed: the first of those that failed, longest ago first.
        rebuilding: articles that a rebuild has not done yet.
    """

    articles: int
    indexed: int
    with_vectors: int
    passages: int
    model: str | None
    building: str | None
    vectors: bool
    states: Mapping[IndexState, int]
    models: tuple[ModelStatus, ...] = ()
    failed: tuple[Failure, ...] = ()
    rebuilding: int = 0


@dataclass(frozen=True, slots=True)
class Work:
    """Jobs of the index that are not done.

    Args:
        due: that run, or wait for a worker.
        later: that wait for another attempt.
        dead: that were given up.
    """

    due: int
    later: int
    dead: int


@dataclass(frozen=True, slots=True)
class Wants:
    """Which vectors passages should have.

    Args:
        in_use: model that questions are compared with, or will be first.
        every: models that passages shall have vectors of.
    """

    in_use: str | None
    every: tuple[str, ...]


def index_key(article_id: int | str) -> str:
    """The unique key of an article's index job: many requests before it runs make one run."""
    return f"{INDEX}:{article_id}"


def remove_key(model: str) -> str:
    """The unique key of the job that removes a model's vectors; fingerprints may be longer than a key."""
    return f"{REMOVE}:{hashlib.sha256(model.encode()).hexdigest()[:16]}"


def published(session: Session, article_id: int) -> Source | None:
    """What should be found of an article now; ``None`` when nothing should."""
    words = (Article.id, Revision.id, Revision.title, Revision.body)
    row = session.execute(_published(*words).where(Article.id == article_id)).one_or_none()
    return None if row is None else Source(*row)


def embed_pieces(embedder: Embedder, title: str, pieces: Sequence[Piece]) -> list[list[float]]:
    """Vectors of passages, in order. Slow: no transaction should be open.

    Raises:
        EmbeddingFailed: the embedder failed, answered nonsense, or took longer than ``EMBEDDING_SECONDS`` for them all.
    """
    texts = [piece.text(title) for piece in pieces]
    until = time.monotonic() + EMBEDDING_SECONDS
    vectors: list[list[float]] = []
    for start in range(0, len(texts), BATCH):
        if time.monotonic() > until:
            raise EmbeddingFailed(f"The embedder took too long: {start} of {len(texts)} passages were done in time.")
        vectors += embed(embedder, texts[start : start + BATCH], "passage")
    return vectors


def request(session: Session, article_id: int) -> None:
    """Bring the index along with a change of what should be found of an article, in the same transaction.

    Its words are found from the commit on, so that there is no moment without the old ones and the new ones; its
    vectors are made by a job.
    """
    source = published(session, article_id)
    if source is not None:
        pieces = source.pieces()
        if not is_found(session, source, pieces):
            replace(session, source, pieces, {})
    row = insert(IndexEntry).values(article_id=article_id, requested_at=database_now(), failures=0)
    renewed = {"requested_at": row.excluded.requested_at, "failures": 0, "failed_at": None, "reason": None}
    session.execute(row.on_conflict_do_update(index_elements=[IndexEntry.article_id], set_=renewed))
    enqueue(session, INDEX, {"article_id": article_id}, unique_key=index_key(article_id))


def is_found(session: Session, source: Source, pieces: Sequence[Piece]) -> bool:
    """Whether just these passages are in the index."""
    have = session.execute(_passages(source.article_id)).all()
    return [row[1:] for row in have] == [
        (source.revision_id, piece.ordinal, source.title, piece.heading, piece.content) for piece in pieces
    ]


def plan(session: Session, source: Source, pieces: Sequence[Piece], models: Sequence[str]) -> Plan:
    """What has to be done so that these passages are in the index with vectors of these models."""
    asked_at = session.scalar(select(IndexEntry.rebuild_asked_at).where(IndexEntry.article_id == source.article_id))
    if asked_at is not None or not is_found(session, source, pieces):
        return Plan(False, frozenset(models), asked_at)
    missing = frozenset(model for model in models if session.scalar(select(_passage_of(source, ~has_vector(model)))))
    return Plan(True, missing, None)


def write(
    session: Session, source: Source, pieces: Sequence[Piece], model: str | None, vectors: Sequence[list[float]] | None
) -> bool:
    """Replace an article's passages with vectors of one model: :func:`replace`."""
    return replace(session, source, pieces, {} if model is None or vectors is None else {model: vectors})


def replace(
    session: Session, source: Source, pieces: Sequence[Piece], vectors: Mapping[str, Sequence[list[float]]]
) -> bool:
    """Replace an article's passages, if these words are still the published ones. All of them in one transaction.

    Args:
        vectors: of the passages, by model. Without any they are found by words only.

    Returns:
        Whether they were still the published ones.
    """
    if not _is_newest(session, source):
        return False
    kept = bool(vectors) and is_ready(session)
    if kept:
        hold(session, {model: len(found[0]) for model, found in vectors.items()})
    _remove(session, source.article_id)
    language = current().settings.search_language
    # Through the ORM: a bulk insert cannot carry the SQL expression of `terms`.
    chunks = [Chunk(**_row(source, piece, language)) for piece in pieces]
    session.add_all(chunks)
    session.flush()
    if kept:
        _insert_vectors(session, [chunk.id for chunk in chunks], vectors)
    return True


def add_vectors(session: Session, source: Source, count: int, vectors: Mapping[str, Sequence[list[float]]]) -> bool:
    """Give the passages that are there vectors of further models.

    Args:
        count: how many passages there should be.

    Returns:
        Whether they were still the ones that were embedded.
    """
    if not _is_newest(session, source):
        return False
    ids = [row.id for row in session.execute(_passages(source.article_id)) if row.revision_id == source.revision_id]
    if len(ids) != count:
        return False
    if vectors and is_ready(session):
        hold(session, {model: len(found[0]) for model, found in vectors.items()})
        _insert_vectors(session, ids, vectors)
    return True


def withdraw(session: Session, article_id: int) -> None:
    """Take an article's passages out of the index, if nothing of it is published."""
    _lock(session, article_id)
    if published(session, article_id) is None:
        _remove(session, article_id)
        succeeded(session, article_id, None, rebuilt=True)


def succeeded(session: Session, article_id: int, asked_at: datetime | None, *, rebuilt: bool = False) -> None:
    """Note that an article is in the index as it should be.

    Args:
        asked_at: the rebuild that it was done for; one that was asked for since is still to be done.
        rebuilt: no rebuild has anything left to do.
    """
    done = IndexEntry.rebuild_asked_at.is_not_distinct_from(asked_at)
    left = None if rebuilt else case((done, null()), else_=IndexEntry.rebuild_asked_at)
    values: dict[str, Any] = {"indexed_at": database_now(), "failures": 0, "failed_at": None, "reason": None}
    row = insert(IndexEntry).values(article_id=article_id, requested_at=database_now(), **values)
    session.execute(
        row.on_conflict_do_update(index_elements=[IndexEntry.article_id], set_={**values, "rebuild_asked_at": left})
    )


def failed(session: Session, article_id: int, reason: str, failures: int) -> None:
    """Note why an article could not be indexed. It keeps being found by what of it is in the index."""
    values = {"failures": failures, "failed_at": database_now(), "reason": reason[:REASON_LENGTH]}
    row = insert(IndexEntry).values(article_id=article_id, requested_at=database_now(), **values)
    session.execute(row.on_conflict_do_update(index_elements=[IndexEntry.article_id], set_=values))


# --- how it stands ------------------------------------------------------------------------------------------------


def wants(session: Session) -> Wants:
    """Which vectors passages should have in this install, as it is configured and stands now."""
    every = tuple(embedder.model for embedder in wanted(session, current().hooks))
    return Wants(next(reversed(every), None), every)  # until the switch, the live one stands behind the one to come


def standings(session: Session, articles: Sequence[int]) -> dict[int, Standing]:
    """How articles stand in the index, by id. Three queries, however many they are."""
    if not articles:
        return {}
    waits = exists().where(Job.unique_key == func.concat(index_key(""), Article.id), text(f"jobs.{UNCLAIMED}"))
    columns = (IndexEntry.reason, IndexEntry.failures, IndexEntry.failed_at, waits.label("waits"))
    rows = session.execute(_standing(wants(session), Article.id, *columns).where(Article.id.in_(articles)))
    return {row.id: _as_standing(row) for row in rows}


def status(session: Session, *, in_full: bool = True) -> Status:
    """Count what is found and how.

    Args:
        in_full: also the models and the failures.
    """
    need, vectors = wants(session), is_ready(session)
    counted = _standing(need).subquery()
    total = func.count()
    rows = session.execute(
        select(
            counted.c.state,
            total.label("articles"),
            total.filter(counted.c.found).label("found"),
            total.filter(counted.c.found & ~counted.c.lacks).label("with_vectors"),
        ).group_by(counted.c.state)
    ).all()
    states = {state: sum(row.articles for row in rows if row.state == state) for state in IndexState}
    live = [row for row in rows if row.state != IndexState.EMPTY]
    known = tuple(_model_status(session, model, vectors=vectors) for model in models(session)) if in_full else ()
    return Status(
        articles=sum(row.articles for row in live),
        indexed=sum(row.found for row in live),
        with_vectors=sum(row.with_vectors for row in live) if need.in_use else 0,
        passages=session.scalar(select(func.count()).select_from(Chunk).where(published_passage())) or 0,
        model=need.in_use,
        building=next((model for model in need.every if model != need.in_use), None),
        vectors=vectors,
        states=states,
        models=known,
        failed=failures(session) if in_full else (),
        rebuilding=rebuilding(session),
    )


def failures(session: Session, limit: int = FAILURES_SHOWN) -> tuple[Failure, ...]:
    """Articles that could not be indexed, longest ago first."""
    columns = (
        Article.id.label("article_id"),
        Article.title,
        IndexEntry.reason,
        IndexEntry.failures,
        IndexEntry.failed_at,
    )
    asked = _standing(wants(session), *columns).where(IndexEntry.reason.is_not(None)).subquery()
    rows = session.execute(
        select(asked)
        .where(asked.c.state == IndexState.FAILED)
        .order_by(asked.c.failed_at, asked.c.article_id)
        .limit(limit)
    )
    return tuple(Failure(row.article_id, row.title, row.reason, row.failures, row.failed_at) for row in rows)


# --- doing it again -----------------------------------------------------------------------------------------------


def stale(session: Session) -> list[int]:
    """Published articles that are not found in every way this install could find them."""
    missing = or_(~_has_passages(), *(_lacks_vectors(model) for model in wants(session).every))
    return list(session.scalars(_published(Article.id).where(missing).order_by(Article.id)))


def lacking(session: Session, model: str) -> list[int]:
    """Published articles whose passages do not all have a vector of a model."""
    return list(session.scalars(_published(Article.id).where(_lacks_vectors(model)).order_by(Article.id)))


def ask_for_rebuild(session: Session) -> bool:
    """Mark all articles that are, or were, in the index to be made anew; each loses its mark when it is.

    Returns:
        Whether a rebuild was begun; ``False`` where one is under way, which then just goes on.
    """
    if rebuilding(session):
        return False
    moment = database_now()
    in_it = exists().where(Chunk.article_id == Article.id)
    found = select(Article.id, moment, moment, cast(0, BigInteger)).where(
        (Article.state == ArticleState.PUBLISHED) | in_it
    )
    row = insert(IndexEntry).from_select(["article_id", "requested_at", "rebuild_asked_at", "failures"], found)
    session.execute(
        row.on_conflict_do_update(
            index_elements=[IndexEntry.article_id], set_={"rebuild_asked_at": row.excluded.rebuild_asked_at}
        )
    )
    return True


def rebuilding(session: Session) -> int:
    """How many articles a rebuild has not done yet."""
    marked = select(func.count()).select_from(IndexEntry).where(IndexEntry.rebuild_asked_at.is_not(None))
    return session.scalar(marked) or 0


def marked(session: Session) -> list[int]:
    """Articles that a rebuild has not done yet."""
    asked = select(IndexEntry.article_id).where(IndexEntry.rebuild_asked_at.is_not(None))
    return list(session.scalars(asked.order_by(IndexEntry.article_id)))


def taken(session: Session, *, running: bool) -> set[int]:
    """Articles that a job is about to index. Ask this before which articles need one: what is done between is neither.

    Args:
        running: also those whose job runs. One that began before it was known what is needed does not bring that.
    """
    due = or_(
        Job.state.in_((JobState.QUEUED, JobState.RUNNING) if running else (JobState.QUEUED,)),
        Job.state.in_((JobState.SCHEDULED, JobState.RETRYING)) & (Job.run_at <= database_now()),
    )
    return set(session.scalars(select(Job.arguments["article_id"].as_integer()).where(Job.name == INDEX, due)))


def work(session: Session) -> Work:
    """What of the index is still to be done. The jobs are the truth about it."""
    ahead = database_now() + AHEAD
    waits = Job.state.in_((JobState.SCHEDULED, JobState.RETRYING))
    due = Job.state.in_((JobState.QUEUED, JobState.RUNNING)) | (waits & (Job.run_at <= ahead))
    counts = select(
        func.count().filter(due),
        func.count().filter(waits & (Job.run_at > ahead)),
        func.count().filter(Job.state == JobState.DEAD),
    ).where(Job.name.in_((INDEX, START, TEND)), Job.state.in_((*UNFINISHED, JobState.DEAD)))
    return Work(*session.execute(counts).one())


def queue(session: Session, articles: Sequence[int]) -> Iterator[int]:
    """Ask for the articles to be indexed again, a batch at a time; the edge commits after each number it gets."""
    for start in range(0, len(articles), QUEUE_BATCH):
        batch = articles[start : start + QUEUE_BATCH]
        for article_id in batch:
            enqueue(session, INDEX, {"article_id": article_id}, unique_key=index_key(article_id))
        yield start + len(batch)


# --- the pieces of the questions above ----------------------------------------------------------------------------


def _standing(need: Wants, *wanted: Any) -> Select[Any]:
    """Every article with its state, whether it is found by its published words, and whether vectors are missing.

    The parts of a state are asked in the order in which they are told.
    """
    found = _has_passages()
    lacks = _lacks_vectors(need.in_use) if need.in_use else false()
    lacks_any = or_(*(_lacks_vectors(model) for model in need.every)) if need.every else false()
    state = case(
        (or_(Article.state != ArticleState.PUBLISHED, Revision.id.is_(None)), IndexState.EMPTY.value),
        (and_(IndexEntry.reason.is_not(None), or_(~found, lacks_any)), IndexState.FAILED.value),
        (and_(found, ~lacks), IndexState.INDEXED.value),
        (func.coalesce(IndexEntry.indexed_at < IndexEntry.requested_at, true()), IndexState.PENDING.value),
        else_=IndexState.STALE.value,
    )
    return (
        select(state.label("state"), found.label("found"), lacks.label("lacks"), *wanted)
        .select_from(Article)
        .outerjoin(Revision, (Revision.article_id == Article.id) & (Revision.state == RevisionState.PUBLISHED))
        .outerjoin(IndexEntry, IndexEntry.article_id == Article.id)
    )


def _as_standing(row: Any) -> Standing:
    state = IndexState(row.state)
    if state is not IndexState.FAILED:
        return Standing(state, waits=row.waits)
    return Standing(state, row.reason, row.failures, row.failed_at, row.waits)


def _model_status(session: Session, row: EmbeddingModel, *, vectors: bool) -> ModelStatus:
    passages = coverage(session, row.model)[0] if vectors else 0
    return ModelStatus(row.model, row.state, row.dimensions, passages, row.ann_index)


def _passages(article_id: int) -> Select[Any]:
    columns: tuple[Any, ...] = (
        Chunk.id,
        Chunk.revision_id,
        Chunk.ordinal,
        Chunk.title,
        Chunk.heading,
        Chunk.content,
    )
    return select(*columns).where(Chunk.article_id == article_id).order_by(Chunk.ordinal, Chunk.id)


def _passage_of(source: Source, *conditions: ColumnElement[bool]) -> ColumnElement[bool]:
    return exists(select(Chunk.id).where(Chunk.revision_id == source.revision_id, *conditions))


def _is_newest(session: Session, source: Source) -> bool:
    """Hold the article, and see whether these words are still the published ones."""
    _lock(session, source.article_id)
    newest = published(session, source.article_id)
    return newest is not None and newest.revision_id == source.revision_id


def _insert_vectors(session: Session, ids: Sequence[int], vectors: Mapping[str, Sequence[list[float]]]) -> None:
    rows = [
        {"chunk_id": chunk_id, "model": model, "embedding": vector}
        for model, found in vectors.items()
        for chunk_id, vector in zip(ids, found, strict=True)
    ]
    if rows:
        session.execute(insert(ChunkEmbedding).on_conflict_do_nothing(), rows)


def _published(*wanted: Any) -> Select[Any]:
    """What is wanted of every published article and its published revision."""
    return (
        select(*wanted)
        .select_from(Article)
        .join(Revision, (Revision.article_id == Article.id) & (Revision.state == RevisionState.PUBLISHED))
        .where(Article.state == ArticleState.PUBLISHED)
    )


def _lock(session: Session, article_id: int) -> None:
    """Hold an article's row, as who publishes or archives it does. Whatever is decided on it is read after this."""
    session.execute(select(Article.id).where(Article.id == article_id).with_for_update())


def _remove(session: Session, article_id: int) -> None:
    """Delete all passages of an article, of whatever revision."""
    session.execute(delete(Chunk).where(Chunk.article_id == article_id))


def _has_passages() -> ColumnElement[bool]:
    return exists().where(Chunk.revision_id == Revision.id)


def _lacks_vectors(model: str) -> ColumnElement[bool]:
    return exists(select(Chunk.id).where(Chunk.revision_id == Revision.id, ~has_vector(model)))


def _row(source: Source, piece: Piece, language: str) -> dict[str, object]:
    def terms(words: str, weight: str) -> ColumnElement[Any]:
        return func.setweight(func.to_tsvector(cast(language, REGCONFIG), words), literal_column(f"'{weight}'"))

    return {
        "article_id": source.article_id,
        "revision_id": source.revision_id,
        "ordinal": piece.ordinal,
        "title": source.title,
        "heading": piece.heading,
        "content": piece.content,
        "terms": terms(source.title, "A")
        .op("||")(terms(piece.heading, "B"))
        .op("||")(terms(plain_text(piece.content), "C")),
    }
