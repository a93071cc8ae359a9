"""Whether a search is a miss: a question that no published article answers, by what drafts go by."""

from __future__ import annotations

from typing import Final

from flask_cairnloop.context import current
from flask_cairnloop.database.words import words_of
from flask_cairnloop.retrieval.grounding import Calibration, assess
from flask_cairnloop.retrieval.types import Outcome, SearchResults
from flask_cairnloop.upkeep.models import GapReason

SHORTEST: Final = 3  # words of a question; fewer are thanks, or a greeting
LETTERS: Final = 12  # or so many letters in one: not every script puts spaces between words


def is_question(said: str) -> bool:
    """Whether what somebody said in a conversation is long enough to ask anything."""
    words = words_of(said)
    return len(words) >= SHORTEST or len("".join(words)) >= LETTERS


def miss(question: str, results: SearchResults, fitted: Calibration, *, cases: bool = False) -> GapReason | None:
    """Why nothing answers a question; ``None`` where something does, or the search could not tell.

    Args:
        fitted: the decision of the desk, see :func:`flask_cairnloop.retrieval.grounding.calibration`.
        cases: whether past cases were found beside it.
    """
    if results.degraded:  # a search that failed says nothing of the articles
        return None
    if results.outcome is Outcome.NO_HIT:
        return GapReason.CASES_ONLY if cases else GapReason.NOTHING_FOUND
    covered = assess(question, results, fitted).score >= current().settings.grounding_partial
    return None if covered else GapReason.NOT_COVERED
