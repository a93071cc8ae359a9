"""Keeps the passages and vectors of published articles up to date."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import ColumnElement, Select, cast, delete, exists, func, insert, literal_column, select
from sqlalchemy.dialects.postgresql import REGCONFIG
from sqlalchemy.orm import Session

from flask_cairnloop.context import current
from flask_cairnloop.jobs import enqueue
from flask_cairnloop.knowledge.models import Article, ArticleState, Revision, RevisionState
from flask_cairnloop.retrieval.chunking import Piece, chunk, plain_text
from flask_cairnloop.retrieval.embedding import EmbeddingFailed, embed
from flask_cairnloop.retrieval.models import Chunk, ChunkEmbedding
from flask_cairnloop.retrieval.types import Embedder
from flask_cairnloop.retrieval.vectors import is_ready

INDEX: Final = "retrieval.index"
BATCH: Final = 16  # texts an embedder gets at once
EMBEDDING_SECONDS: Final = 3600.0  # for all of an article's batches; a slow embedder gets through any article in it
QUEUE_BATCH: Final = 200  # articles queued in one transaction


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
class Status:
    """How far the index is.

    Args:
        articles: published ones.
        indexed: of these, found by words.
        with_vectors: of these, found by meaning under the model in use.
        model: fingerprint of the model in use, ``None`` when there is none.
        vectors: whether this database can keep vectors.
    """

    articles: int
    indexed: int
    with_vectors: int
    passages: int
    model: str | None
    vectors: bool


def index_key(article_id: int) -> str:
    """The unique key of an article's index job: many requests before it runs make one run."""
    return f"{INDEX}:{article_id}"


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


def write(
    session: Session, source: Source, pieces: Sequence[Piece], model: str | None, vectors: Sequence[list[float]] | None
) -> bool:
    """Replace an article's passages, if these words are still the published ones.

    Args:
        model, vectors: what the passages were embedded with; ``None`` keeps them findable by words only.

    Returns:
        Whether they were still the published ones.
    """
    _lock(session, source.article_id)
    newest = published(session, source.article_id)
    if newest is None or newest.revision_id != source.revision_id:
        return False
    _remove(session, source.article_id)
    language = current().settings.search_language
    # Through the ORM: a bulk insert cannot carry the SQL expression of `terms`.
    chunks = [Chunk(**_row(source, piece, language)) for piece in pieces]
    session.add_all(chunks)
    session.flush()
    ids = [chunk.id for chunk in chunks]
    if vectors is not None and is_ready(session):
        session.execute(
            insert(ChunkEmbedding),
            [
                {"chunk_id": chunk_id, "model": model, "embedding": vector}
                for chunk_id, vector in zip(ids, vectors, strict=True)
            ],
        )
    return True


def withdraw(session: Session, article_id: int) -> None:
    """Take an article's passages out of the index, if nothing of it is published."""
    _lock(session, article_id)
    if published(session, article_id) is None:
        _remove(session, article_id)


def status(session: Session) -> Status:
    """Count what is found and how."""
    embedder = current().hooks.embedder()
    vectors = is_ready(session)
    model = embedder.model if embedder else None
    with_vectors = 0
    if vectors and model:
        with_vectors = _count(session, _has_passages(), ~_lacks_vectors(model))
    return Status(
        articles=_count(session),
        indexed=_count(session, _has_passages()),
        with_vectors=with_vectors,
        passages=session.scalar(select(func.count()).select_from(Chunk)) or 0,
        model=model,
        vectors=vectors,
    )


def stale(session: Session) -> list[int]:
    """Published articles that are not found in every way this install could find them."""
    embedder = current().hooks.embedder()
    missing = ~_has_passages()
    if embedder is not None and is_ready(session):
        missing = missing | _lacks_vectors(embedder.model)
    return list(session.scalars(_published(Article.id).where(missing).order_by(Article.id)))


def everything(session: Session) -> list[int]:
    """All articles that are, or were, in the index."""
    indexed = select(Chunk.article_id)
    wanted = select(Article.id).where((Article.state == ArticleState.PUBLISHED) | Article.id.in_(indexed))
    return list(session.scalars(wanted.order_by(Article.id)))


def queue(session: Session, articles: Sequence[int]) -> Iterator[int]:
    """Ask for the articles to be indexed again, a batch at a time; the edge commits after each number it gets."""
    for start in range(0, len(articles), QUEUE_BATCH):
        batch = articles[start : start + QUEUE_BATCH]
        for article_id in batch:
            enqueue(session, INDEX, {"article_id": article_id}, unique_key=index_key(article_id))
        yield start + len(batch)


def _published(*wanted: Any) -> Select[Any]:
    """What is wanted of every published article and its published revision."""
    return (
        select(*wanted)
        .select_from(Article)
        .join(Revision, (Revision.article_id == Article.id) & (Revision.state == RevisionState.PUBLISHED))
        .where(Article.state == ArticleState.PUBLISHED)
    )


def _count(session: Session, *conditions: ColumnElement[bool]) -> int:
    return session.scalar(_published(func.count()).where(*conditions)) or 0


def _lock(session: Session, article_id: int) -> None:
    """Hold an article's row, as who publishes or archives it does. Whatever is decided on it is read after this."""
    session.execute(select(Article.id).where(Article.id == article_id).with_for_update())


def _remove(session: Session, article_id: int) -> None:
    """Delete all passages of an article, of whatever revision."""
    session.execute(delete(Chunk).where(Chunk.article_id == article_id))


def _has_passages() -> ColumnElement[bool]:
    return exists().where(Chunk.revision_id == Revision.id)


def _lacks_vectors(model: str) -> ColumnElement[bool]:
    embedded = exists().where(ChunkEmbedding.chunk_id == Chunk.id, ChunkEmbedding.model == model)
    return exists().where(Chunk.revision_id == Revision.id, ~embedded)


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
