"""How lanes become one order, as pure functions."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_cairnloop.retrieval.fusion import Candidate, by_lane, collapse, in_order
from flask_cairnloop.retrieval.memory import CASE_LIKENESS, CASES, HALF_LIFE, weigh

NOW = datetime(2026, 6, 1, tzinfo=UTC)


def candidate(article_id: int, similarity: float = 0.0, keyword: float = 0.0, votes: float = 0.0) -> Candidate:
    return Candidate(
        article_id,
        {article_id: keyword} if keyword else {},
        {article_id: similarity} if similarity else {},
        similarity,
        votes,
    )


def past(
    number: int, similarity: float, article: int | None, *, customer: int = 0, age: timedelta = timedelta(0)
) -> SimpleNamespace:
    return SimpleNamespace(
        id=number,
        conversation_id=number,
        customer_id=customer or number,
        asked_at=NOW - age,
        similarity=similarity,
        article_id=article,
        is_case=False,
    )


def test_a_weak_match_by_words_does_not_pass_a_good_one_by_meaning() -> None:
    good, weak = candidate(1, similarity=0.7), candidate(2, similarity=0.3, keyword=0.3)
    assert [found.article_id for found in in_order([weak, good])] == [1, 2]


def test_an_exact_match_by_words_passes_a_middling_one_by_meaning() -> None:
    exact, near = candidate(1, similarity=0.3, keyword=1.0), candidate(2, similarity=0.6)
    assert [found.article_id for found in in_order([near, exact])] == [1, 2]


def test_what_only_earlier_questions_point_at_needs_a_passage_to_be_shown() -> None:
    assert in_order([candidate(1, votes=5.0)]) == []


def test_the_score_is_the_sum_of_its_parts_and_support_leaves_memory_out() -> None:
    found = candidate(1, similarity=0.5, keyword=0.2, votes=1.0)
    assert found.score == pytest.approx(sum(found.parts.values()))
    assert found.support == pytest.approx(found.score - found.parts["memory"])


@given(
    st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1), st.floats(0, 50)), min_size=1, max_size=20),
    st.floats(0.01, 1),
)
def test_more_of_any_lane_never_lowers_an_article(rows: list[tuple[float, float, float]], more: float) -> None:
    similarity, keyword, votes = rows[0]
    before = candidate(0, similarity, keyword, votes).score
    assert candidate(0, similarity + more, keyword, votes).score >= before
    assert candidate(0, similarity, keyword + more, votes).score >= before
    assert candidate(0, similarity, keyword, votes + more).score >= before


def test_lanes_alone_leave_out_what_they_did_not_find() -> None:
    lanes = by_lane([candidate(1, similarity=0.4), candidate(2, keyword=0.4), candidate(3, votes=1.0)])
    assert lanes == {"keyword": [2], "vector": [1], "memory": [3]}


def test_passages_that_say_nearly_the_same_collapse_into_the_best() -> None:
    steps = "Open Settings, choose Accounts, press Remove and confirm with your password within ten minutes"
    other = "Invoices are sent on the first of each month as a file that you can print or keep"
    assert collapse([steps, other, steps + " please", other.upper()]) == {0: [2], 1: [3]}


@given(st.lists(st.text(max_size=80), max_size=12))
def test_every_text_is_kept_or_left_out_for_one_that_is(texts: list[str]) -> None:
    kept = collapse(texts)
    assert sorted([*kept, *(place for twins in kept.values() for place in twins)]) == list(range(len(texts)))
    assert all(twin > place for place, twins in kept.items() for twin in twins)


def test_nearer_and_newer_questions_weigh_more() -> None:
    near = weigh([past(1, 0.9, 1)], NOW).votes[1]
    far = weigh([past(1, 0.6, 1)], NOW).votes[1]
    old = weigh([past(1, 0.9, 1, age=HALF_LIFE)], NOW).votes[1]
    assert near > far > 0
    assert old == pytest.approx(near / 2)
    assert weigh([past(1, 0.0, 1), past(2, -0.2, 1)], NOW).votes == {}


def test_questions_without_an_article_count_as_missed_and_no_other_does() -> None:
    found = weigh([past(1, 0.9, 1), past(1, 0.9, 2), past(2, 0.8, None)], NOW)
    assert (found.answered > 0, found.missed() > 0) == (True, True)
    assert found.counts == {1: 1, 2: 1}
    assert weigh([past(1, 0.9, 1)], NOW).missed() == 0


def test_that_nothing_answered_says_nothing_of_what_was_published_since() -> None:
    found = weigh([past(1, 0.9, None), past(2, 0.8, None, age=timedelta(days=30))], NOW)
    assert found.missed() > found.missed(NOW - timedelta(days=10)) > 0
    assert found.missed(NOW + timedelta(seconds=1)) == 0


def test_one_customer_counts_once_for_an_article_with_their_best() -> None:
    one = weigh([past(1, 0.9, 1, customer=7)], NOW).votes[1]
    same = weigh([past(1, 0.9, 1, customer=7), past(2, 0.8, 1, customer=7)], NOW).votes[1]
    two = weigh([past(1, 0.9, 1, customer=7), past(2, 0.8, 1, customer=8)], NOW).votes[1]
    assert (same, two > one) == (one, True)


def test_a_few_cases_that_are_alike_are_told() -> None:
    rows = [past(number, 0.9 - number / 100, None) for number in range(6)] + [past(9, CASE_LIKENESS - 0.01, None)]
    for row in rows:
        row.is_case = True
    assert [case.conversation_id for case in weigh(rows, NOW).cases] == list(range(CASES))
    assert weigh(rows[-1:], NOW).cases == ()
