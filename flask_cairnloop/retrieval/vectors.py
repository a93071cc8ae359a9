"""Whether this database can keep vectors, which model's are compared with, and the switch from one to another.

A model is *building* while passages get vectors of it beside those of the live one, *live* once every published passage
has one, *retired* when another took its place. The first is live at once: there is nothing else to compare with. There
is one live model at most, and questions are compared with no other.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Final

from sqlalchemy import ColumnElement, delete, exists, func, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from flask_cairnloop.clock import now
from flask_cairnloop.database.base import quoted_schema, raw, schema_name
from flask_cairnloop.database.migrations.v0001 import VECTORS
from flask_cairnloop.database.migrations.v0003 import QUESTION_VECTORS
from flask_cairnloop.database.migrations.v0021 import GAP_VECTORS
from flask_cairnloop.knowledge.models import Article, ArticleState, Revision, RevisionState
from flask_cairnloop.retrieval.models import Chunk, ChunkEmbedding, EmbeddingModel, ModelState
from flask_cairnloop.retrieval.types import Embedder
from flask_cairnloop.retrieval.vector_lane import LiveModel

if TYPE_CHECKING:
    from flask_cairnloop.hooks import Hooks

NO_PGVECTOR: Final = "pgvector is not available in this database."
PATIENCE: Final = 5  # seconds that a switch waits for writers before it is tried again later
NO_MODEL: Final = "No embedding model is configured or installed."

# An index that was dropped, or whose building broke off, is not there for search.
_LIVE = """
SELECT quote_ident(nspname) AS vectors, live.model, live.dimensions, built.relname AS ann_index
FROM pg_extension JOIN pg_namespace ON pg_namespace.oid = extnamespace
LEFT JOIN {schema}.embedding_models AS live ON live.state = 'live'
LEFT JOIN pg_index ON pg_index.indexrelid = to_regclass(:schema || '.' || quote_ident(live.ann_index)) AND indisvalid
    AND live.centroid IS NOT NULL
LEFT JOIN pg_class AS built ON built.oid = pg_index.indexrelid
WHERE extname = 'vector' AND to_regclass(:schema || '.chunk_embeddings') IS NOT NULL
"""


def home(session: Session) -> str | None:
    """The quoted name of the schema that pgvector's type and operators live in, which need not be on the search path.

    ``None`` where there is no table for vectors: pgvector was missing when our schema was made.
    """
    found: str | None = session.execute(
        text(
            "SELECT quote_ident(nspname) FROM pg_extension JOIN pg_namespace ON pg_namespace.oid = extnamespace"
            " WHERE extname = 'vector' AND to_regclass(:name) IS NOT NULL"
        ),
        {"name": f"{quoted_schema(session)}.chunk_embeddings"},
    ).scalar_one_or_none()
    return found


def is_ready(session: Session) -> bool:
    """Whether vectors can be kept and compared."""
    return home(session) is not None


def prepare(session: Session) -> bool:
    """Make the tables for vectors where pgvector has come since the install.

    Where it is there already nothing is tried: an app's role often may not create tables.

    Returns:
        Whether vectors can be kept now.
    """
    if is_ready(session):
        return True
    for tables in (VECTORS, QUESTION_VECTORS, GAP_VECTORS):
        session.connection().exec_driver_sql(tables.replace("{schema}", quoted_schema(session)))
    session.execute(delete(EmbeddingModel))  # whatever is known of vectors is of a table that is gone
    return is_ready(session)


# --- what search asks ---------------------------------------------------------------------------------------------


def likely(hooks: Hooks) -> Embedder | None:
    """The embedder whose vectors were live when this process last looked. Asks the database nothing.

    A question can be embedded with it before a transaction is begun; :func:`live` then says whether that was right.
    """
    configured = _configured(hooks)
    return configured.get(hooks.last_live or "") or next(reversed(configured.values()), None)


def live(session: Session, hooks: Hooks) -> tuple[Embedder, LiveModel] | str:
    """Whose vectors questions are compared with now, and the embedder that embeds questions for them. One query.

    Returns:
        Or, in a sentence, why nothing can be compared.
    """
    schema = quoted_schema(session)
    row = session.execute(raw(_LIVE, schema), {"schema": schema}).one_or_none()
    configured = _configured(hooks)
    if row is None:
        return NO_PGVECTOR
    if not configured:
        return NO_MODEL
    if row.model in configured:
        hooks.last_live = row.model
        return configured[row.model], LiveModel(row.model, row.dimensions, row.vectors, row.ann_index)
    wanted = next(iter(configured.values()))
    done, of = coverage(session, wanted.model)
    if not of:  # nothing is to be found: comparing with nothing is all there is to do
        return wanted, LiveModel(wanted.model, wanted.dimensions, row.vectors)
    return f"Vectors of the embedding model are being made: {done} of {of} passages have one."


def _configured(hooks: Hooks) -> dict[str, Embedder]:
    """The embedders there are by fingerprint, the wanted one first."""
    found = (hooks.embedder(), hooks.previous_embedder())
    return {embedder.model: embedder for embedder in found if embedder is not None}


# --- what the index asks ------------------------------------------------------------------------------------------


def wanted(session: Session, hooks: Hooks) -> list[Embedder]:
    """Whose vectors every passage shall have: the configured model's, and the live one's until the switch."""
    configured = _configured(hooks)
    first = next(iter(configured.values()), None)
    if first is None or not is_ready(session):
        return []
    also = configured.get(live_model(session) or "")
    return [first] if also is None or also is first else [first, also]


def live_model(session: Session) -> str | None:
    """Fingerprint of the live model."""
    return session.scalar(select(EmbeddingModel.model).where(EmbeddingModel.state == ModelState.LIVE))


def published_passage() -> ColumnElement[bool]:
    """Whether a passage is of the words that are published now."""
    return exists().where(
        Revision.id == Chunk.revision_id,
        Revision.state == RevisionState.PUBLISHED,
        Article.id == Chunk.article_id,
        Article.state == ArticleState.PUBLISHED,
    )


def has_vector(model: str) -> ColumnElement[bool]:
    """Whether a passage has a vector of a model."""
    return exists().where(ChunkEmbedding.chunk_id == Chunk.id, ChunkEmbedding.model == model)


def coverage(session: Session, model: str) -> tuple[int, int]:
    """How many published passages have a vector of a model, and how many there are."""
    counts = select(func.count().filter(has_vector(model)), func.count()).select_from(Chunk).where(published_passage())
    done, of = session.execute(counts).one()
    return done, of


def is_complete(session: Session, model: str) -> bool:
    """Whether every published passage has a vector of a model."""
    return not session.scalar(select(exists(select(Chunk.id).where(published_passage(), ~has_vector(model)))))


# --- the states of a model ----------------------------------------------------------------------------------------


def lock(session: Session, *, alone: bool) -> None:
    """Hold what a switch must not cross, until the end of the transaction.

    Args:
        alone: for the switch, which looks at all passages. Whoever writes passages holds it together with others.
    """
    if alone:  # others queue up behind who waits for it
        session.execute(text(f"SET LOCAL lock_timeout = '{PATIENCE}s'"))
    kind = "pg_advisory_xact_lock" if alone else "pg_advisory_xact_lock_shared"
    session.execute(
        text(f"SELECT {kind}(hashtextextended(:name, 0))"),
        {"name": f"flask_cairnloop.embedding_models.{schema_name(session)}"},
    )


def hold(session: Session, found: Mapping[str, int]) -> None:
    """Let nothing be switched until these models' vectors are written. Models never heard of are known from now on.

    Args:
        found: dimensions by fingerprint.
    """
    known = set(session.scalars(select(EmbeddingModel.model).where(EmbeddingModel.model.in_(found))))
    if known >= set(found):
        lock(session, alone=False)
        return
    for model, dimensions in found.items():  # locks alone: to lock together first would make two of us wait for ever
        register(session, model, dimensions)


def register(session: Session, model: str, dimensions: int, *, again: bool = False) -> ModelState:
    """Know a model. It is live at once where no other is: there is nothing better to compare with.

    Args:
        again: build it also where it was retired.
    """
    lock(session, alone=True)
    building = {"state": ModelState.BUILDING, "live_at": None}
    row = insert(EmbeddingModel).values(model=model, dimensions=dimensions, created_at=now(), **building)
    if again:
        row = row.on_conflict_do_update(
            index_elements=[EmbeddingModel.model], set_=building, where=EmbeddingModel.state == ModelState.RETIRED
        )
    session.execute(row if again else row.on_conflict_do_nothing())
    if live_model(session) is None:
        _go_live(session, model)
    return session.scalars(select(EmbeddingModel.state).where(EmbeddingModel.model == model)).one()


def switch(session: Session, model: str) -> bool:
    """Make a building model the live one, if every published passage has a vector of it.

    Who writes passages meanwhile waits, and so writes for the new one.

    Returns:
        Whether it is live now.
    """
    lock(session, alone=True)
    state = session.scalar(select(EmbeddingModel.state).where(EmbeddingModel.model == model))
    if state is not ModelState.BUILDING or not is_complete(session, model):
        return state is ModelState.LIVE
    _go_live(session, model)
    return True


def _go_live(session: Session, model: str) -> None:
    plain = {"synchronize_session": False}
    old = update(EmbeddingModel).where(EmbeddingModel.state == ModelState.LIVE).values(state=ModelState.RETIRED)
    new = update(EmbeddingModel).where(EmbeddingModel.model == model).values(state=ModelState.LIVE, live_at=now())
    session.execute(old.execution_options(**plain))
    session.execute(new.execution_options(**plain))


def models(session: Session) -> Iterator[EmbeddingModel]:
    """All models known, the newest first."""
    yield from session.scalars(select(EmbeddingModel).order_by(EmbeddingModel.created_at.desc(), EmbeddingModel.model))
