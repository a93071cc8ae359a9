"""What a search answers, as plain values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Literal, Protocol


class Embedder(Protocol):
    """Turns text into vectors. ``CAIRNLOOP_EMBEDDER`` takes any object of this shape."""

    @property
    def model(self) -> str:
        """Its fingerprint: vectors of two different ones are never compared."""
        ...

    @property
    def dimensions(self) -> int:
        """How long its vectors are."""
        ...

    def embed(self, texts: Sequence[str], kind: Literal["query", "passage"] = "passage") -> Sequence[Sequence[float]]:
        """One vector of ``dimensions`` finite numbers, not all zero, for each text, in order."""
        ...


class Strength(StrEnum):
    """How well the published articles support an answer."""

    STRONG = "strong"
    PARTIAL = "partial"
    NONE = "none"


class Outcome(StrEnum):
    """What a search came to. The four ways of finding nothing mean different things and are never mixed up."""

    FOUND = "found"
    REFUSED = "refused"  # nothing was searched: there is no article that this person may see
    NO_HIT = "no_hit"  # everything worked, and nothing fits
    DEGRADED = "degraded"  # nothing was found by what worked, and not everything worked
    ERROR = "error"  # nothing worked


class LaneState(StrEnum):
    OK = "ok"
    OFF = "off"  # not configured, or not possible on this database
    DOWN = "down"  # should work and did not


@dataclass(frozen=True, slots=True)
class Lane:
    """One way of finding passages, and whether it worked this time."""

    name: Literal["keyword", "vector", "memory"]
    state: LaneState
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Passage:
    """One passage that search found.

    Args:
        score: fused score, higher is better; comparable within one search only.
        similarity: cosine between question and passage, -1 to 1; ``None`` when the vector lane did not see it.
        keyword_score: 0 to 1, share of the best score by words that the question allows.
        keyword_rank, vector_rank, memory_rank: 1-based place of the article in each lane, ``None`` when the lane did
            not find it.
        answered: how many similar earlier questions its article answered.
        parts: what each lane adds to the score: ``meaning``, ``breadth``, ``words``, ``memory``.
        also_in: ids of articles left out because their best passage says nearly the same.
        since: when its article was published first.
    """

    chunk_id: int
    article_id: int
    revision_id: int
    title: str
    heading: str
    content: str
    public: bool
    score: float
    similarity: float | None
    keyword_score: float | None
    keyword_rank: int | None
    vector_rank: int | None
    memory_rank: int | None = None
    answered: int = 0
    parts: Mapping[str, float] = field(default_factory=dict)
    also_in: tuple[int, ...] = ()
    since: datetime | None = None


@dataclass(frozen=True, slots=True)
class SimilarCase:
    """A resolved conversation that began with a similar question. Its words are read where it is shown.

    Args:
        similarity: cosine between the two questions.
    """

    conversation_id: int
    similarity: float


@dataclass(frozen=True, slots=True)
class SearchResults:
    """Passages, best first, with the state of each lane.

    Args:
        known: 0 to 1, how much of what the question's rarer words say occurs anywhere in the articles.
        domain: mean similarity of the question and all public passages: how near it is to what they are about;
            ``None`` when the vector lane did not work.
        answered, missed: weight of similar earlier questions that an article answered, and of those that none did since
            the best of the articles found was published.
        cases: resolved conversations with a similar question; they assist an operator and ground nothing.
        refused: nothing was searched, because no article may be seen.
    """

    query: str
    passages: tuple[Passage, ...]
    lanes: tuple[Lane, ...]
    known: float = 0.0
    domain: float | None = None
    answered: float = 0.0
    missed: float = 0.0
    cases: tuple[SimilarCase, ...] = ()
    refused: bool = False

    @property
    def degraded(self) -> bool:
        """Whether a lane that should have worked did not."""
        return any(lane.state is LaneState.DOWN for lane in self.lanes)

    @property
    def outcome(self) -> Outcome:
        """What it came to."""
        if self.refused:
            return Outcome.REFUSED
        if self.passages:
            return Outcome.FOUND
        if not self.degraded:
            return Outcome.NO_HIT
        return Outcome.DEGRADED if any(lane.state is LaneState.OK for lane in self.lanes) else Outcome.ERROR


@dataclass(frozen=True, slots=True)
class Assessment:
    """A grounding decision with everything it was made of.

    Args:
        score: 0 to 1, higher means better covered.
        numbers: the features behind the score, by name.
        reason: one of a bounded set of machine words, e.g. ``"covered"``, ``"no_hit"``.
        version: of the calibration that made it.
    """

    strength: Strength
    score: float
    numbers: Mapping[str, float]
    reason: str
    version: str
