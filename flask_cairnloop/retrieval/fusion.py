"""Puts what the lanes bring into one order, and says why each result stands where it does. Pure functions."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

# Weights of a convex-like sum of scores that mean the same in every question (Bruch et al., "An Analysis of Fusion
# Functions for Hybrid Retrieval", 2023), fitted on the questions before 2025 of the set in docs/evaluation.md. Keyword
# scores are shares of the best score the question allows, so a weak match by words adds little to a good one by sense.
KEYWORD_WEIGHT: Final = 0.6
BREADTH_WEIGHT: Final = 0.8  # of the mean similarity of an article's three nearest passages: one lucky passage is less
MEMORY_WEIGHT: Final = 0.2  # of the logarithm of the votes: the tenth similar question says less than the first
MEMORY_FLOOR: Final = 0.01  # votes that count as one step
READERS_WEIGHT: Final = 0.05  # of whether visitors found it helpful: it decides between what is nearly alike

SHINGLE: Final = 3  # words
NEARLY_THE_SAME: Final = 0.8  # share of shingles that two passages have in common (Broder, 1997)

_WORD: Final = re.compile(r"\w+")


@dataclass(slots=True)
class Candidate:
    """An article on its way to a score."""

    article_id: int
    keyword: dict[int, float] = field(default_factory=dict)  # by passage
    similarity: dict[int, float] = field(default_factory=dict)
    breadth: float = 0.0
    votes: float = 0.0  # of similar earlier questions
    answered: int = 0  # how many these are
    standing: float = 0.0  # from -1 to 1: whether readers found it helpful, see knowledge.votes

    @property
    def keyword_score(self) -> float:
        return max(self.keyword.values(), default=0.0)

    @property
    def best_similarity(self) -> float:
        return max(self.similarity.values(), default=0.0)

    @property
    def parts(self) -> dict[str, float]:
        """What each lane adds to the score."""
        parts = {
            "meaning": self.best_similarity,
            "breadth": BREADTH_WEIGHT * self.breadth,
            "words": KEYWORD_WEIGHT * self.keyword_score,
            "memory": MEMORY_WEIGHT * math.log1p(self.votes / MEMORY_FLOOR),
        }
        return parts | {"readers": READERS_WEIGHT * self.standing} if self.standing else parts

    @property
    def support(self) -> float:
        """The score by the article's own words, without what earlier questions and readers say."""
        return sum(value for name, value in self.parts.items() if name not in ("memory", "readers"))

    @property
    def score(self) -> float:
        return sum(self.parts.values())

    @property
    def passage(self) -> int | None:
        """The passage that speaks best for the article; ``None`` where only earlier questions point at it."""
        return max(
            {*self.keyword, *self.similarity},
            key=lambda chunk: (
                self.similarity.get(chunk, 0.0) + KEYWORD_WEIGHT * self.keyword.get(chunk, 0.0),
                -chunk,
            ),
            default=None,
        )


def in_order(candidates: Iterable[Candidate]) -> list[Candidate]:
    """Best first; those without a passage to show are left out."""
    shown = (candidate for candidate in candidates if candidate.keyword or candidate.similarity)
    return sorted(shown, key=lambda candidate: (-candidate.score, candidate.article_id))


def by_lane(candidates: Sequence[Candidate]) -> dict[str, list[int]]:
    """Articles in the order of each lane alone."""

    def order(worth: Mapping[int, float]) -> list[int]:
        return sorted((article for article in worth if worth[article] > 0), key=lambda a: (-worth[a], a))

    return {
        "keyword": order({candidate.article_id: candidate.keyword_score for candidate in candidates}),
        "vector": order({candidate.article_id: candidate.best_similarity for candidate in candidates}),
        "memory": order({candidate.article_id: candidate.votes for candidate in candidates}),
    }


def collapse(texts: Sequence[str]) -> dict[int, list[int]]:
    """Which of some texts say nearly the same as an earlier one.

    Args:
        texts: best first.

    Returns:
        For the place of each text that is kept, in order, the places of those left out for it.
    """
    kept: dict[int, list[int]] = {}
    shingles = [_shingles(text) for text in texts]
    for place, words in enumerate(shingles):
        twin = next((other for other in kept if _are_alike(shingles[other], words)), None)
        if twin is None:
            kept[place] = []
        else:
            kept[twin].append(place)
    return kept


def _shingles(text: str) -> frozenset[tuple[str, ...]]:
    words = _WORD.findall(text.lower())
    return frozenset(zip(*(words[at:] for at in range(SHINGLE)), strict=False)) or frozenset([tuple(words)])


def _are_alike(left: frozenset[tuple[str, ...]], right: frozenset[tuple[str, ...]]) -> bool:
    if left.isdisjoint(right):  # most are, and it is told soonest
        return False
    common = len(left & right)
    return common >= NEARLY_THE_SAME * (len(left) + len(right) - common)
