"""Indexing as durable work."""

from __future__ import annotations

import logging
from datetime import timedelta

from flask_cairnloop.config import LONGEST_HOOK
from flask_cairnloop.jobs import JobContext, enqueue, job
from flask_cairnloop.jobs.models import QueueName
from flask_cairnloop.retrieval import indexing
from flask_cairnloop.retrieval.embedding import EmbeddingFailed
from flask_cairnloop.retrieval.vectors import is_ready

log = logging.getLogger(__name__)

# Seconds: the embedding stops by itself, at the latest with a last batch that uses its whole time; the rest is ours.
TIMEOUT = int(indexing.EMBEDDING_SECONDS) + LONGEST_HOOK + 60
LONGEST_WAIT = timedelta(hours=1)


@job(indexing.INDEX, queue=QueueName.BULK, timeout=TIMEOUT)
def index(context: JobContext, article_id: int, failures: int = 0) -> None:
    """Bring one article's passages and vectors up to date.

    When the embedder fails, the article is found by words at once, and its vectors are tried again later.

    Args:
        failures: how often the embedder has failed for this article in a row.
    """
    session = context.session
    source = indexing.published(session, article_id)
    if source is None:
        indexing.withdraw(session, article_id)
        return
    embedder = context.cairnloop.hooks.embedder() if is_ready(session) else None
    context.release()
    pieces = source.pieces()
    vectors = None
    failed = False
    if embedder is not None:
        try:
            vectors = indexing.embed_pieces(embedder, source.title, pieces)
        except EmbeddingFailed as fault:
            log.warning("Article %s is indexed without vectors for now: %s", article_id, fault)
            failed = True
    model = embedder.model if embedder else None
    if indexing.write(session, source, pieces, model, vectors) and failed:
        wait = min(timedelta(minutes=1) * 2 ** min(failures, 10), LONGEST_WAIT)
        arguments = {"article_id": article_id, "failures": failures + 1}
        enqueue(
            session,
            indexing.INDEX,
            arguments,
            delay=wait,
            unique_key=indexing.index_key(article_id),
            keep_earlier=True,  # somebody may have asked for it meanwhile, and sooner
        )
