"""What a person's own reply may cite: published words of articles that its customer may be answered from."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from sqlalchemy import and_, select
from sqlalchemy.orm import Session

from flask_cairnloop.drafting.blocks import blocks_of
from flask_cairnloop.drafting.types import Citation
from flask_cairnloop.errors import InvalidInput
from flask_cairnloop.knowledge.models import Article, ArticleState, Audience, Revision, RevisionState
from flask_cairnloop.retrieval.models import Chunk

MOST: Final = 10  # citations of a reply
NOT_CITABLE: Final = (
    "An article that this reply cites is not published any more, or not for this customer. Take it away and send again."
)


@dataclass(frozen=True, slots=True)
class Cite:
    """What an author names as a source.

    Args:
        passage_id: of the passage, as :func:`flask_cairnloop.search` calls it ``chunk_id``; the whole article when left
            out.
    """

    revision_id: int
    passage_id: int | None = None


def citable(session: Session, cites: Iterable[Cite], *, tags: Collection[str] | None = None) -> dict[Cite, Citation]:
    """Those of the sources that may be cited to a customer, each as it stands now. One query.

    A passage that was indexed anew meanwhile is cited as its article.

    Args:
        tags: only articles with one of these, as ``CAIRNLOOP_ARTICLE_SCOPE`` says; all when left out.
    """
    wanted = list(dict.fromkeys(cites))
    passages = [cite.passage_id for cite in wanted if cite.passage_id is not None]
    statement = (
        select(Revision.id, Revision.title, Article.id, Article.tags, Chunk)
        .join(Article, Article.id == Revision.article_id)
        .outerjoin(Chunk, and_(Chunk.revision_id == Revision.id, Chunk.id.in_(passages)))
        .where(
            Revision.id.in_([cite.revision_id for cite in wanted]),
            Revision.state == RevisionState.PUBLISHED,
            Article.state == ArticleState.PUBLISHED,
            Article.audience == Audience.PUBLIC,
        )
    )
    titles: dict[int, tuple[str, int]] = {}
    found: dict[int, Chunk] = {}
    for revision_id, title, article_id, tagged, chunk in session.execute(statement):
        if tags is None or set(tags) & set(tagged):
            titles[revision_id] = title, article_id
            if chunk is not None:
                found[chunk.id] = chunk
    return {
        cite: _citation(number, cite, *titles[cite.revision_id], found.get(cite.passage_id or 0))
        for number, cite in enumerate((cite for cite in wanted if cite.revision_id in titles), 1)
    }


def checked(session: Session, cites: Sequence[Cite], *, tags: Collection[str] | None = None) -> list[dict[str, Any]]:
    """The sources of a reply as its row keeps them, numbered in their order.

    Raises:
        InvalidInput: there are too many, or one of them may not be cited.
    """
    if not cites:
        return []
    if len(cites) > MOST:
        raise InvalidInput("cites", f"A reply cites at most {MOST} sources.")
    found = citable(session, cites, tags=tags)
    if len(found) < len(set(cites)):
        raise InvalidInput("cites", NOT_CITABLE)
    return [asdict(citation) for citation in found.values()]


def as_written(passage: str) -> str:
    """A passage as one would write it into a reply: plain text, what is quoted whole."""
    return "\n\n".join(block.text for block in blocks_of(passage)) or passage.strip()


def _citation(number: int, cite: Cite, title: str, article_id: int, chunk: Chunk | None) -> Citation:
    of_passage = chunk is not None and chunk.revision_id == cite.revision_id
    return Citation(
        number,
        article_id,
        cite.revision_id,
        chunk.id if chunk is not None and of_passage else 0,
        title,
        chunk.heading if chunk is not None and of_passage else "",
        chunk.content if chunk is not None and of_passage else "",
    )
