"""What a search answers, as plain values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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


class LaneState(StrEnum):
    OK = "ok"
    OFF = "off"  # not configured, or not possible on this database
    DOWN = "down"  # should work and did not


@dataclass(frozen=True, slots=True)
class Lane:
    """One way of finding passages, and whether it worked this time."""

    name: Literal["keyword", "vector"]
    state: LaneState
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Passage:
    """One passage that search found.

    Args:
        score: fused score, higher is better; comparable within one search only.
        similarity: cosine between question and passage, -1 to 1; ``None`` when the vector lane did not see it.
        keyword_rank, vector_rank: 1-based place in each lane, ``None`` when the lane did not find it.
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


@dataclass(frozen=True, slots=True)
class SearchResults:
    """Passages, best first, with the state of each lane. No passage and all lanes ok is an honest "no hit".

    Args:
        known: 0 to 1, how much of what the question's rarer words say occurs anywhere in the articles.
    """

    query: str
    passages: tuple[Passage, ...]
    lanes: tuple[Lane, ...]
    known: float = 0.0

    @property
    def degraded(self) -> bool:
        """Whether a lane that should have worked did not."""
        return any(lane.state is LaneState.DOWN for lane in self.lanes)


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
