"""Suggested articles as their job leaves them, without a job."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Final

from sqlalchemy.orm import Session

from flask_cairnloop import Operator
from flask_cairnloop.upkeep import suggestions
from flask_cairnloop.upkeep.suggestion_models import ArticleSuggestion, SuggestionKind
from flask_cairnloop.upkeep.writing import Source, digest_of

MINA: Final = Operator("mina", "Mina Keller")
BODY: Final = "## Ferrets\n\nA ferret may ride in a basket.\n\nIt may not drive."


def suggested(
    session: Session,
    *,
    candidate_id: int | None = None,
    conversation_id: int | None = None,
    article_id: int | None = None,
    title: str = "May my ferret ride the bus?",
    body: str = BODY,
    sources: Sequence[Source] = (),
    claims: Mapping[str, Sequence[int]] | None = None,
    by: Operator = MINA,
) -> ArticleSuggestion:
    """A suggestion that waits for a review.

    Args:
        article_id: of the published article that it changes.
        claims: for each paragraph, the numbers of what it rests on.
    """
    suggestion = suggestions.request(
        session,
        candidate_id=candidate_id,
        conversation_id=conversation_id,
        article_id=article_id,
        kind=SuggestionKind.REVISION if article_id else SuggestionKind.ARTICLE,
        actor=by,
    )
    suggestion.title, suggestion.body = title, body
    suggestion.sources = [asdict(each) for each in sources]
    suggestion.claims = {digest_of(text): list(numbers) for text, numbers in (claims or {}).items()}
    suggestion.summary, suggestion.engine = "It says who may ride, and who may not.", "extracts 1"
    suggestions.written(session, suggestion)
    return suggestion
