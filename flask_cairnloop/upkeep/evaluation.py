"""Measures how well questions are gathered, on questions whose labels are known."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path
from typing import Any, Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from flask_cairnloop.actors import Actor
from flask_cairnloop.context import current
from flask_cairnloop.retrieval import vectors
from flask_cairnloop.retrieval.evaluation import read_lines
from flask_cairnloop.upkeep import clustering
from flask_cairnloop.upkeep.jobs import embedded
from flask_cairnloop.upkeep.models import GapEvent, GapQuestion, GapReason, GapSource
from flask_cairnloop.upkeep.service import keep

ACTOR: Final = Actor.system("cli")


def evaluate_clusters(session: Session, file: Path, progress: Callable[[int, int], None]) -> dict[str, Any]:
    """Let texts come one by one, each asked by somebody else, and compare their candidates with their labels.

    Args:
        session: of a scratch schema.
        file: JSON lines ``{"text", "label"}``. A text without a word is no question and is left out.

    Raises:
        BadData: the file is not in the format.
    """
    rows = [(str(row["text"]), str(row["label"])) for row in read_lines(file, "text", "label")]
    hooks, home = current().hooks, vectors.home(session)
    labels: dict[int, str] = {}
    began = time.perf_counter()
    for number, (words, label) in enumerate(rows, 1):
        event = keep(
            session,
            words,
            source=GapSource.HELP_SEARCH,
            reason=GapReason.NOT_COVERED,
            actor=ACTOR,
            visitor=str(number),
        )
        if event is not None:
            event_id, asked = event.id, event.question
            labels[event_id] = label
            session.commit()
            clustering.join(session, event_id, embedded(hooks, home, asked))
        session.commit()
        progress(number, len(rows))
    seconds = time.perf_counter() - began
    joined = session.execute(
        select(GapEvent.id, GapQuestion.candidate_id).join(GapQuestion, GapQuestion.id == GapEvent.question_id)
    )
    found = {row.id: row.candidate_id for row in joined}
    given, gathered = list(labels.values()), [found[event_id] for event_id in labels]
    return {
        "v_measure": round(v_measure(given, gathered), 4),
        "adjusted_rand": round(adjusted_rand(given, gathered), 4),
        "clusters": len(set(gathered)),
        "labels": len(set(given)),
        "n": len(given),
        "seconds": round(seconds, 1),
    }


def v_measure(labels: Sequence[Hashable], clusters: Sequence[Hashable]) -> float:
    """The harmonic mean of how pure clusters are and how whole labels stay: 0 to 1, which is the same grouping."""
    of_labels, of_clusters = _entropy(labels), _entropy(clusters)
    shared = of_labels + of_clusters - _entropy(list(zip(labels, clusters, strict=True)))
    homogeneity = shared / of_labels if of_labels else 1.0
    completeness = shared / of_clusters if of_clusters else 1.0
    total = homogeneity + completeness
    return max(2 * homogeneity * completeness / total, 0.0) if total > 0 else 0.0


def adjusted_rand(labels: Sequence[Hashable], clusters: Sequence[Hashable]) -> float:
    """How often two groupings agree on a pair, beyond chance: 1 is the same grouping, 0 what chance gives."""
    together = _pairs(list(zip(labels, clusters, strict=True)))
    by_label, by_cluster = _pairs(labels), _pairs(clusters)
    all_pairs = math.comb(len(labels), 2)
    if not all_pairs:
        return 1.0
    chance, most = by_label * by_cluster / all_pairs, (by_label + by_cluster) / 2
    return 1.0 if most == chance else (together - chance) / (most - chance)


def _entropy(groups: Sequence[Hashable]) -> float:
    counted = len(groups)
    return math.fsum(-size / counted * math.log(size / counted) for size in Counter(groups).values())


def _pairs(groups: Sequence[Hashable]) -> int:
    return sum(math.comb(size, 2) for size in Counter(groups).values())
