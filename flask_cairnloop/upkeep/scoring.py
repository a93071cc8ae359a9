"""How much a candidate asks for an article. Pure functions; every part of the score is shown beside it.

The list is sorted by a number that does not change while nothing happens: age is counted from a fixed day instead of
from today, which shifts all candidates alike.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from flask_cairnloop.upkeep.models import GapReason

FIXED: Final = datetime(2020, 1, 1, tzinfo=UTC)
FADES: Final = timedelta(days=14)  # of quiet take one point
# How surely each kind of signal says that an article is missing: an operator who had to answer without one knows.
KINDS: Final[Mapping[GapReason, float]] = {
    GapReason.NOTHING_FOUND: 1.0,
    GapReason.CASES_ONLY: 1.5,
    GapReason.NOT_COVERED: 1.0,
    GapReason.WEAK: 0.5,
    GapReason.NOT_HELPFUL: 1.5,
    GapReason.DISCARDED: 2.0,
    GapReason.EDITED: 1.5,
    GapReason.BY_HAND: 2.0,
}


@dataclass(frozen=True, slots=True)
class Score:
    """The parts of a score.

    Args:
        volume: of how often it was asked; twice as often is one point more.
        people: of how many asked it, likewise.
        kind: of what was there instead of an answer: the mean over all times.
        quiet: off for the time since it was last asked; never above 0.
    """

    volume: float
    people: float
    kind: float
    quiet: float

    @property
    def total(self) -> float:
        return self.volume + self.people + self.kind + self.quiet


def score(events: int, askers: int, kinds: Mapping[str, int], last_at: datetime, at: datetime) -> Score:
    """What a candidate comes to at a moment."""
    quiet = -max((at - last_at) / FADES, 0.0)
    return Score(math.log2(1 + events), math.log2(1 + askers), kind(kinds), quiet)


def rank(events: int, askers: int, kinds: Mapping[str, int], last_at: datetime) -> float:
    """The same order for all time: :attr:`Score.total` is this less what has passed since a fixed day."""
    return math.log2(1 + events) + math.log2(1 + askers) + kind(kinds) + (last_at - FIXED) / FADES


def kind(kinds: Mapping[str, int]) -> float:
    """The mean of what the signals weigh."""
    counted = sum(kinds.values())
    return sum(KINDS[GapReason(name)] * times for name, times in kinds.items()) / counted if counted else 0.0
