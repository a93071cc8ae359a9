"""Decides how well published articles support an answer: strong, partial or not at all, with the numbers behind it."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from flask_cairnloop.actors import Actor
from flask_cairnloop.audit.service import record
from flask_cairnloop.context import current
from flask_cairnloop.retrieval import vectors
from flask_cairnloop.retrieval.models import GroundingCalibration
from flask_cairnloop.retrieval.types import Assessment, SearchResults, Strength

TOO_LITTLE_SAID: Final = "too_little_said"
UNANSWERED_BEFORE: Final = "unanswered_before"
FEW_WORDS: Final = 6  # a question of no more words that finds little says too little; it is not thereby uncovered

# What similar earlier questions that no article answered take from the odds, fitted on the training questions with a
# share of the articles taken away; a product without such questions is not touched by it.
MISSES_WEIGHT: Final = 4.0
MISSES_FLOOR: Final = 0.05
SURE_ENOUGH: Final = 2.0  # log-odds from which more of the same counts less, so that misses can outweigh it


@dataclass(frozen=True, slots=True)
class Calibration:
    """A logistic decision: probability that the articles cover a question, from a few numbers about a search."""

    version: str
    bias: float
    weights: Mapping[str, float]

    def probability(self, numbers: Mapping[str, float]) -> float:
        """Of an answer standing in the articles, 0 to 1."""
        odds = self.bias + sum(weight * numbers.get(name, 0.0) for name, weight in self.weights.items())
        if odds > SURE_ENOUGH:
            odds = SURE_ENOUGH + math.log1p(odds - SURE_ENOUGH)
        answered, missed = numbers.get("answered", 0.0), numbers.get("missed", 0.0)
        odds += MISSES_WEIGHT * math.log((answered + MISSES_FLOOR) / (answered + missed + MISSES_FLOOR))
        return 1 / (1 + math.exp(-max(min(odds, 40.0), -40.0)))


# Similarity and support were fitted in equal parts on a knowledge base of 193 articles against questions about a sister
# product, and on sixteen random ones of 14 articles each, so that they hold for small ones too; with a third of that
# weight on 159 articles against questions whose article was taken away. All from the training sets of
# docs/evaluation.md, nothing of `dev`. Being about something else counts against an answer; being about the right thing
# does not count for one, or a vague question would pass for a covered one. Where that begins, and what it weighs, was
# chosen on the same sets.
WITH_VECTORS: Final = Calibration("minilm-2", -6.8, {"similarity": 4.56, "support": 4.82, "off_topic": -18.0})
ON_TOPIC: Final = 0.16  # mean similarity to the passages from which a question is about what they are about
# Without vectors the share of the question's telling words that one passage holds is all there is to go by. It tells
# little about long questions, so this is set by hand: only a match of most of them counts as strong.
BY_KEYWORD: Final = Calibration("keyword-1", -2.8, {"coverage": 9.0})
FITTED: Final = ("similarity", "support", "off_topic")


def calibration(session: Session) -> Calibration:
    """The decision that holds here: the host's own for its model, where ``eval grounding --fit`` made one."""
    embedder = vectors.likely(current().hooks)
    if embedder is None:
        return WITH_VECTORS
    newest = (
        select(GroundingCalibration)
        .where(GroundingCalibration.model == embedder.model)
        .order_by(GroundingCalibration.id.desc())
        .limit(1)
    )
    row = session.scalars(newest).one_or_none()
    return WITH_VECTORS if row is None else Calibration(f"fit-{row.id}", row.bias, row.weights)


def keep(session: Session, model: str, fitted: Calibration, *, questions: int, auroc: float, actor: Actor) -> str:
    """Let a fitted decision hold from now on, for vectors of one model. Returns its version."""
    row = GroundingCalibration(
        model=model, bias=fitted.bias, weights=dict(fitted.weights), questions=questions, auroc=auroc
    )
    session.add(row)
    session.flush()
    record(session, actor, "grounding.fit", "calibration", row.id, questions=questions)
    return f"fit-{row.id}"


def assess(question: str, results: SearchResults, fitted: Calibration = WITH_VECTORS) -> Assessment:
    """Decide from a search whether an answer can stand on what was found.

    Args:
        question: the words that were searched for.
        results: what :func:`flask_cairnloop.search` answered to them.
        fitted: the decision where the vector lane worked, as :func:`calibration` has it.

    Returns:
        Strong from ``GROUNDING_STRONG`` on, partial from ``GROUNDING_PARTIAL`` on, none below. ``reason`` is one of
        ``"covered"``, ``"partly_covered"``, ``"too_little_said"``, ``"unanswered_before"``, ``"not_covered"``,
        ``"no_hit"``, ``"out_of_scope"`` (no article may be seen) and, where a lane that should work did not and the
        outcome is not strong, ``"search_degraded"``.
    """
    settings = current().settings
    by_meaning = any(passage.similarity is not None for passage in results.passages)
    decision = fitted if by_meaning else BY_KEYWORD
    numbers = features(results)
    score = decision.probability(numbers) if results.passages else 0.0
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
    if strength is not Strength.STRONG and _missed_before(decision, numbers, settings.grounding_strong):
        reason = UNANSWERED_BEFORE
    if strength is not Strength.STRONG and results.degraded:
        reason = "search_degraded"
    if results.refused:
        strength, reason = Strength.NONE, "out_of_scope"
    return Assessment(strength, score, numbers, reason, decision.version)


def _missed_before(decision: Calibration, numbers: Mapping[str, float], threshold: float) -> bool:
    """Whether it is the earlier questions without an answer that keep this from being strong."""
    return bool(numbers) and decision.probability({**numbers, "missed": 0.0}) >= threshold


def features(results: SearchResults) -> dict[str, float]:
    """The numbers a decision is made of. They mean the same in every domain and for every size of knowledge base.

    ``similarity``: of the nearest passage. ``support``: the best fused score by articles' own words. ``off_topic``:
    how far the mean similarity of the question and all public passages stays below what is usual. ``keyword``: share
    of the question's known telling words in one passage. ``known``: share of its telling words that occur at all.
    ``coverage``: the product of the two. ``answered``, ``missed``: weight of similar earlier questions with and
    without an article that answered them.
    """
    found = results.passages
    if not found:
        return {}
    keyword = max(passage.keyword_score or 0.0 for passage in found)
    return {
        "similarity": max(passage.similarity or 0.0 for passage in found),
        "support": max(
            passage.score - passage.parts.get("memory", 0.0) - passage.parts.get("readers", 0.0) for passage in found
        ),
        "off_topic": max(ON_TOPIC - (results.domain or 0.0), 0.0),
        "keyword": keyword,
        "known": results.known,
        "coverage": keyword * results.known,
        "answered": results.answered,
        "missed": results.missed,
    }


def fit(numbers: Sequence[Mapping[str, float]], answerable: Sequence[bool]) -> tuple[float, dict[str, float]]:
    """Fit bias and weights to labelled questions: logistic regression by Newton's method, both labels weighing alike.

    A little of a ridge keeps the weights finite where the labels can be told apart without a mistake. Needs numpy,
    which the ``local`` extra brings.

    Args:
        numbers: what :func:`features` answered for each question; an empty one found nothing and is left out.
        answerable: whether the articles answer it.

    Raises:
        ValueError: there are not questions of both kinds.
    """
    import numpy as np

    kept = [(row, label) for row, label in zip(numbers, answerable, strict=True) if row]
    labels = np.array([float(label) for _, label in kept])
    if not 0 < labels.sum() < len(labels):
        raise ValueError("There must be questions of both kinds, answerable and not, that find something.")
    table = np.array([[row[name] for name in FITTED] for row, _ in kept])
    middle, spread = table.mean(axis=0), np.maximum(table.std(axis=0), 1e-9)
    design = np.column_stack([np.ones(len(table)), (table - middle) / spread])
    share = np.where(labels == 1, 0.5 / labels.sum(), 0.5 / (len(labels) - labels.sum()))
    ridge = np.diag([0.0] + [1e-3] * len(FITTED))
    weights = np.zeros(design.shape[1])
    for _ in range(50):
        guess = 1 / (1 + np.exp(-design @ weights))
        gradient = design.T @ (share * (guess - labels)) + ridge @ weights
        curvature = (design * (share * guess * (1 - guess))[:, None]).T @ design + ridge
        step = np.linalg.solve(curvature + 1e-9 * np.eye(len(weights)), gradient)
        weights -= step
        if np.abs(step).max() < 1e-8:
            break
    plain = weights[1:] / spread
    return float(weights[0] - plain @ middle), {name: float(value) for name, value in zip(FITTED, plain, strict=True)}
