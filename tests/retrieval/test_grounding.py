"""The decision holds in a domain it was not fitted on, for a dozen articles."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from flask import Flask
from sqlalchemy.orm import Session

from flask_cairnloop import search
from flask_cairnloop.retrieval.grounding import assess
from flask_cairnloop.retrieval.types import Lane, LaneState, Passage, SearchResults, Strength


@pytest.mark.parametrize(
    ("question", "strength"),
    [
        ("What does it cost when I bring a book back too late?", Strength.STRONG),
        ("My wallet was stolen with my library card in it. What should I do?", Strength.STRONG),
        ("I forgot my PIN and cannot sign in any more", Strength.STRONG),
        ("Can my seven year old daughter have her own card?", Strength.STRONG),
        ("It does not work, please help", Strength.PARTIAL),
        ("Hello?", Strength.PARTIAL),
        ("I have a problem with my account", Strength.PARTIAL),
        ("How do I replace the rear derailleur of my bicycle?", Strength.NONE),
        ("My invoice shows the wrong VAT number, please correct it", Strength.NONE),
        ("What is the weather like in Lisbon in April?", Strength.NONE),
    ],
)
def test_clear_vague_and_uncovered_questions(library: Session, question: str, strength: Strength) -> None:
    decided = assess(question, search(library, question))
    assert (decided.strength, 0 <= decided.score <= 1) == (strength, True)
    assert decided.version
    assert set(decided.numbers) >= {"similarity", "support", "coverage"}


def passage(score: float = 1.0, **changes: float | None) -> Passage:
    values = {"similarity": 0.9, "keyword_score": 0.9, **changes}
    return Passage(1, 1, 1, "T", "", "C", True, score, keyword_rank=1, vector_rank=1, **values)  # type: ignore[arg-type]


def results(*passages: Passage, down: bool = False, known: float = 1.0) -> SearchResults:
    vector = Lane("vector", LaneState.DOWN if down else LaneState.OK)
    return SearchResults("q", passages, (Lane("keyword", LaneState.OK), vector), known)


LONG = "one two three four five six seven eight"


def test_thresholds_come_from_the_configuration(make_app: Callable[..., Flask]) -> None:
    found = results(passage(score=1.5))
    with make_app().app_context():
        score = assess(LONG, found).score
    with make_app(GROUNDING_STRONG=score + 0.001).app_context():
        assert assess(LONG, found).strength is Strength.PARTIAL
    with make_app(GROUNDING_STRONG=score).app_context():
        assert assess(LONG, found).strength is Strength.STRONG


def test_reasons_tell_no_hit_and_a_search_that_was_not_whole_apart(app: Flask) -> None:
    with app.app_context():
        assert assess(LONG, results()).reason == "no_hit"
        assert assess(LONG, results(down=True)).reason == "search_degraded"
        assert assess("too short", results()).strength is Strength.PARTIAL


def test_by_words_alone_only_a_full_match_of_a_whole_question_is_strong(app: Flask) -> None:
    with app.app_context():
        by_words = {"similarity": None, "score": 0.5}
        assert assess(LONG, results(passage(**by_words))).strength is Strength.STRONG
        assert assess("refund", results(passage(**by_words))).strength is Strength.PARTIAL
        assert assess(LONG, results(passage(**by_words), known=0.1)).strength is Strength.NONE
