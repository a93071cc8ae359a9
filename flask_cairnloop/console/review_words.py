"""Suggested articles in words: their states, what happened to them, and what each paragraph of them rests on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from flask_cairnloop.console.access import may_open
from flask_cairnloop.hooks import Permission, Subject
from flask_cairnloop.retrieval.types import Strength
from flask_cairnloop.upkeep.reviews import Asked, Detail, Lane
from flask_cairnloop.upkeep.suggestion_models import (
    ArticleSuggestion,
    RejectReason,
    SuggestionKind,
    SuggestionState,
    SuggestionStep,
)
from flask_cairnloop.upkeep.suggestions import STEPS, is_edited, steps_of
from flask_cairnloop.upkeep.writing import SourceKind, digest_of, is_open
from flask_cairnloop.wording import Budget, Row, paragraphs, row, rows

S = SuggestionState
LANES: Final = {
    Lane.REVIEW: "To review",
    Lane.APPROVED: "Approved",
    Lane.CHANGES: "Changes asked for",
    Lane.WRITING: "Being written",
    Lane.DEFERRED: "Deferred",
    Lane.REJECTED: "Rejected",
    Lane.PUBLISHED: "Published",
}
EMPTY: Final = {
    Lane.REVIEW: (
        "Nothing waits for a review",
        "Articles that were suggested for a gap or a conversation are listed here.",
    ),
    Lane.APPROVED: ("Nothing waits to be published", "Suggestions that were approved are listed here until they are."),
    Lane.CHANGES: ("No changes are asked for", "Suggestions that went back to be changed are listed here."),
    Lane.WRITING: ("Nothing is being written", "Suggestions are listed here while their evidence is searched."),
    Lane.DEFERRED: ("Nothing is deferred", "Reviews that wait until a time are listed here."),
    Lane.REJECTED: ("Nothing was rejected", "Suggestions that were not wanted are listed here."),
    Lane.PUBLISHED: ("Nothing was published yet", "Suggestions that became articles are listed here."),
}
STATES: Final = {
    S.GENERATING: ("Being written", "slate", "half"),
    S.FAILED: ("Could not be written", "danger", "warn"),
    S.PENDING: ("To review", "ember", "draft"),
    S.CHANGES: ("Changes asked for", "ember", "reply"),
    S.DEFERRED: ("Deferred", "ember", "clock"),
    S.STALE: ("Article changed since", "danger", "warn"),
    S.CONFLICT: ("Draft in the way", "danger", "warn"),
    S.APPROVED: ("Approved", "moss", "check"),
    S.REJECTED: ("Rejected", "muted", "x"),
    S.PUBLISHED: ("Published", "moss", "check"),
}
REASONS: Final = {
    RejectReason.NOT_TRUE: "Not true",
    RejectReason.NOT_NEEDED: "Not needed",
    RejectReason.TOO_LITTLE: "Rests on too little",
    RejectReason.NOT_PUBLIC: "Not for the public",
    RejectReason.OTHER: "Something else",
}
HISTORY: Final = {
    SuggestionStep.REQUESTED: "asked for it",
    SuggestionStep.WRITTEN: "wrote it",
    SuggestionStep.FAILED: "could not write it",
    SuggestionStep.EDITED: "edited it",
    SuggestionStep.RETURNED: "asked for changes",
    SuggestionStep.APPROVED: "approved it",
    SuggestionStep.REJECTED: "rejected it",
    SuggestionStep.DEFERRED: "deferred it",
    SuggestionStep.WOKE: "brought it back after the time it was deferred for",
    SuggestionStep.REOPENED: "opened it again",
    SuggestionStep.REBASED: "brought it up to date",
    SuggestionStep.STALE: "found that the article was published anew since",
    SuggestionStep.CONFLICT: "found another draft of the article in its way",
    SuggestionStep.REGENERATED: "had it written again",
    SuggestionStep.ASSIGNED: "said who reviews it",
    SuggestionStep.PUBLISHED: "published it",
    SuggestionStep.ASKED_AGAIN: "asked its questions again",
}
STRENGTHS: Final = {Strength.STRONG: "Answered", Strength.PARTIAL: "Partly answered", Strength.NONE: "Not answered"}
# Why an approval or a publication was not done, and the way out.
SET_ASIDE: Final = {
    S.STALE: "Nothing was published. The article was published anew since this was written, so this would take back"
    " what somebody else has said there. Bring it up to date, then approve it again.",
    S.CONFLICT: "Nothing was published. Somebody has a draft of this article that is not published yet, and it would"
    " be lost. Bring the two together or leave the draft out, then approve it again.",
}
UNTITLED: Final = "A question that is no longer kept"


@dataclass(frozen=True, slots=True)
class Passage:
    """A paragraph of the proposal.

    Args:
        row: beside what stood there before.
        numbers: of the sources that say so.
        mark: what is to be said where none does; empty where nothing is.
        is_open: whether it is still to be written.
    """

    row: Row
    numbers: tuple[int, ...] = ()
    mark: str = ""
    is_open: bool = False


@dataclass(frozen=True, slots=True)
class SourceView:
    """Something that the proposal rests on, as its page lists it.

    Args:
        reviewed: whether it is a published article.
        readable: whether the operator may read where it stands.
        used: whether a paragraph that is there rests on it.
    """

    number: int
    title: str
    heading: str
    content: str
    article_id: int | None
    chunk_id: int | None
    conversation_id: int | None
    reviewed: bool
    readable: bool
    used: bool


def title_of(suggestion: ArticleSuggestion, question: str | None) -> str:
    """What a suggestion is called: while it has no title, by what was asked."""
    return suggestion.title or question or UNTITLED


def can(suggestion: ArticleSuggestion) -> dict[str, bool]:
    """Which steps its state allows, by the names of ``suggestions.STEPS``."""
    allowed = steps_of(suggestion)
    return {step: step in allowed for step in STEPS}


def compared(found: Detail) -> list[Row]:
    """The proposal beside the text that it changes, or alone."""
    suggestion = found.row.suggestion
    if suggestion.kind is SuggestionKind.REVISION and found.base is not None:
        return rows(found.base.body, suggestion.body)
    budget = Budget()
    return [row(part, part, budget) for part in paragraphs(suggestion.body)]


def passages(found: Detail) -> list[Passage]:
    """The paragraphs of a proposal, each with what it rests on. What was published before needs no source."""
    suggestion = found.row.suggestion
    revised = suggestion.kind is SuggestionKind.REVISION and found.base is not None
    return [
        Passage(each) if not each.after.strip() or (revised and each.kind == "same") else _cited(suggestion, each)
        for each in compared(found)
    ]


def _cited(suggestion: ArticleSuggestion, each: Row) -> Passage:
    if is_open(each.after):
        return Passage(each, mark="Still to be written", is_open=True)
    numbers = suggestion.claims.get(digest_of(each.after))
    if numbers:
        return Passage(each, tuple(numbers))
    if numbers is None and is_edited(suggestion):
        return Passage(each, mark=f"Written by {suggestion.edited_by_name or 'an editor'}")
    is_heading = each.after.lstrip().startswith("#") and "\n" not in each.after.strip()
    return Passage(each, mark="" if is_heading else "No source")


def sources_of(suggestion: ArticleSuggestion, shown: Sequence[Passage]) -> list[SourceView]:
    """What it rests on. Host code says of each whether the operator may read it: no transaction of ours is open."""
    used = {number for passage in shown for number in passage.numbers}
    return [_source(each, used) for each in suggestion.sources]


def _source(each: dict[str, Any], used: set[int]) -> SourceView:
    article_id, conversation_id = each.get("article_id"), each.get("conversation_id")
    reviewed = each["kind"] == SourceKind.ARTICLE
    if reviewed:
        readable = article_id is not None and may_open(Permission.KNOWLEDGE_READ, Subject("article", article_id))
    else:
        about = Subject("conversation", conversation_id or 0)
        readable = conversation_id is not None and may_open(Permission.CONVERSATIONS_READ, about)
    return SourceView(
        each["number"],
        each["title"],
        each["heading"],
        each["content"],
        article_id,
        each.get("chunk_id"),
        conversation_id,
        reviewed,
        readable,
        each["number"] in used,
    )


def asked_again_line(suggestion: ArticleSuggestion) -> str:
    """What came of its questions once it was published."""
    if suggestion.state is not S.PUBLISHED:
        return ""
    if suggestion.asked_again_at is None:
        return "Its questions are asked again once the article is indexed."
    if not suggestion.asked:
        return "What was asked is not kept any more, so nothing could be asked again."
    verb = "is" if suggestion.answered_after == 1 else "are"
    return (
        f"{suggestion.answered_after} of {suggestion.asked} {verb} answered now, {suggestion.answered_before} before."
    )


def strength_words(asked: Asked) -> tuple[str, str]:
    """How well a question was answered before and is now; empty where it was not looked at."""
    before, after = asked.row.before, asked.row.after
    return STRENGTHS[before] if before else "", STRENGTHS[after] if after else ""
