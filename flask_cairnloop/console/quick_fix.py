"""From a conversation to the article that was missing: asked for beside it, and followed through to its publication."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from flask_cairnloop.console.presenters import Times
from flask_cairnloop.upkeep.suggestion_models import ArticleSuggestion, SuggestionKind, SuggestionState

S = SuggestionState
# Title, tone and icon of each state. Published ones go on below.
TITLES: Final = {
    S.GENERATING: ("An article is being suggested", "muted", "draft"),
    S.FAILED: ("No article could be suggested", "danger", "warn"),
    S.PENDING: ("An article is suggested", "ember", "book"),
    S.CHANGES: ("The suggested article goes back for changes", "ember", "edit"),
    S.DEFERRED: ("The suggested article is put off", "muted", "clock"),
    S.STALE: ("The article was published anew since", "ember", "warn"),
    S.CONFLICT: ("Another draft of the article is in the way", "ember", "warn"),
    S.APPROVED: ("The suggested article is approved", "moss", "check"),
    S.REJECTED: ("The suggested article was rejected", "muted", "x"),
    S.PUBLISHED: ("The article is published", "moss", "check"),
}
WRITTEN: Final = (S.PENDING, S.CHANGES, S.DEFERRED, S.STALE, S.CONFLICT, S.FAILED)


@dataclass(frozen=True, slots=True)
class FixCard:
    """A suggested article, as the conversation that it came from shows it.

    Args:
        line: what is going on, in a sentence.
        article_id: of the published article.
        asks: whether somebody may ask for another.
        editable: whether its words can be written on.
        own: whether it came from this conversation, and not from a gap that its question belongs to.
    """

    id: int
    title: str
    tone: str
    icon: str
    name: str
    line: str
    article_id: int | None
    waits: bool
    asks: bool
    editable: bool
    own: bool


def card_of(found: ArticleSuggestion | None, times: Times) -> FixCard | None:
    """The card of a conversation; ``None`` where nothing was suggested."""
    if found is None:
        return None
    title, tone, icon = TITLES[found.state]
    published = found.state is S.PUBLISHED
    return FixCard(
        found.id,
        title,
        tone,
        icon,
        found.title,
        _line(found, times),
        found.article_id if published else None,
        waits=found.state is S.GENERATING or (published and found.asked_again_at is None),
        asks=found.state is S.REJECTED,
        editable=found.state in WRITTEN,
        own=found.conversation_id is not None,
    )


def _line(found: ArticleSuggestion, times: Times) -> str:
    if found.state is S.PUBLISHED:
        return _asked_again(found)
    if found.state is S.GENERATING:
        return "Articles and answered conversations are being searched."
    if found.state is S.FAILED:
        return found.failure or "It can be tried again, or written by hand."
    if found.state is S.DEFERRED and found.deferred_until is not None:
        return f"{found.decided_by_name} put it off until {times.at(found.deferred_until)}."
    if found.state in (S.CHANGES, S.APPROVED, S.REJECTED):
        did = {S.CHANGES: "asked for changes", S.APPROVED: "approved it", S.REJECTED: "rejected it"}[found.state]
        return f"{found.decided_by_name} {did}." + (" It is not published yet." if found.state is S.APPROVED else "")
    if found.state in (S.STALE, S.CONFLICT):
        return "Somebody has to bring the two together before it can be published."
    what = "A new article" if found.kind is SuggestionKind.ARTICLE else "A change of an article"
    return f"{what} waits for a review."


def _asked_again(found: ArticleSuggestion) -> str:
    if found.asked_again_at is None:
        return "It is being indexed. Then the question is asked again."
    if found.asked == 0:
        return "What was asked is not kept any more, so it could not be asked again."
    if found.asked == 1:
        return (
            "Asked again, the question is answered now."
            if found.answered_after
            else ("Asked again, the question is still not surely answered.")
        )
    return f"Asked again, {found.answered_after} of {found.asked} questions are answered now."
