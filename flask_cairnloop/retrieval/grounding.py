"""Decides how well published articles support an answer: strong, partial or not at all, with the numbers behind it."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from flask_cairnloop.context import current
from flask_cairnloop.retrieval.types import Assessment, SearchResults, Strength

TOO_LITTLE_SAID: Final = "too_little_said"
FEW_WORDS: Final = 6  # a question of no more words that finds little says too little; it is not thereby uncovered


@dataclass(frozen=True, slots=True)
class Calibration:
    """A logistic decision: probability that the articles cover a question, from a few numbers about a search."""

    version: str
    bias: float
    weights: Mapping[str, float]

    def probability(self, numbers: Mapping[str, float]) -> float:
        total = self.bias + sum(weight * numbers[name] for name, weight in self.weights.items())
        return 1 / (1 + math.exp(-max(min(total, 40.0), -40.0)))


# Fitted in equal parts on a knowledge base of 193 articles against questions about a sister product, and on sixteen
# random ones of 14 articles each, so that it holds for small ones too; with a third of that weight on 159 articles
# against questions whose article was taken away. All from the training sets of docs/evaluation.md, nothing of `dev`.
WITH_VECTORS: Final = Calibration("minilm-1", -7.07, {"similarity": 4.56, "support": 4.82})
# Without vectors the share of the question's telling words that one passage holds is all there is to go by. It tells
# little about long questions, so this is set by hand: only a match of most of them counts as strong.
BY_KEYWORD: Final = Calibration("keyword-1", -2.8, {"coverage": 9.0})


def assess(question: str, results: SearchResults) -> Assessment:
    """Decide from a search whether an answer can stand on what was found.

    Args:
        question: the words that were searched for.
        results: what :func:`flask_cairnloop.search` answered to them.

    Returns:
        Strong from ``GROUNDING_STRONG`` on, partial from ``GROUNDING_PARTIAL`` on, none below. ``reason`` is one of
        ``"covered"``, ``"partly_covered"``, ``"too_little_said"``, ``"not_covered"``, ``"no_hit"`` and, where a lane
        that should work did not and the outcome is not strong, ``"search_degraded"``.
    """
    settings = current().settings
    by_meaning = any(passage.similarity is not None for passage in results.passages)
    calibration = WITH_VECTORS if by_meaning else BY_KEYWORD
    numbers = features(results)
    score = calibration.probability(numbers) if results.passages else 0.0
    short = len(re.findall(r"\w+", question)) <= FEW_WORDS
    # A rare word in common is a match by words; by words alone it must not pass for an understood question.
    if score >= settings.grounding_strong and (by_meaning or not short):
        strength, reason = Strength.STRONG, "covered"
    elif score >= settings.grounding_partial:
        strength, reason = Strength.PARTIAL, "partly_covered"
    elif short:
        strength, reason = Strength.PARTIAL, TOO_LITTLE_SAID
    else:
        strength, reason = Strength.NONE, "not_covered" if results.passages else "no_hit"
    if strength is not Strength.STRONG and results.degraded:
        reason = "search_degraded"
    return Assessment(strength, score, numbers, reason, calibration.version)


def features(results: SearchResults) -> dict[str, float]:
    """The numbers a decision is made of. They mean the same in every domain and for every size of knowledge base.

    ``similarity``: of the nearest passage. ``support``: the best article's fused score, from its nearest passages and
    its words. ``keyword``: share of the question's known telling words in one passage. ``known``: share of its telling
    words that occur at all. ``coverage``: the product of the two. ``margin``: lead over the second article.
    """
    found = results.passages
    if not found:
        return {}
    keyword = max(passage.keyword_score or 0.0 for passage in found)
    return {
        "similarity": max(passage.similarity or 0.0 for passage in found),
        "support": found[0].score,
        "keyword": keyword,
        "known": results.known,
        "coverage": keyword * results.known,
        "margin": found[0].score - found[1].score if len(found) > 1 else found[0].score,
    }
