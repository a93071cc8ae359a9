"""The deterministic engine: whole sentences with their sources, one question, or an honest hand-over."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_cairnloop.drafting import marks
from flask_cairnloop.drafting.blocks import blocks_of, sentences
from flask_cairnloop.drafting.engine import MAX_CLARIFICATIONS, compose, lexical_likeness
from flask_cairnloop.drafting.evaluation import Written
from flask_cairnloop.drafting.manner import Manner
from flask_cairnloop.drafting.question import Likeness, build
from flask_cairnloop.drafting.types import DraftKind, Grounding, Proposal
from flask_cairnloop.retrieval.types import Assessment, Passage, Strength

LIMIT = 10_000
DESCALING = """The boiler needs descaling every three months. Hard water makes it every month.

To descale the boiler:

1. Empty the tank and remove the filter.
2. Fill it with **one litre** of descaler.
3. Hold the `Clean` button for ten seconds.

| Part | Price |
|---|---|
| Filter | 12 |

See [the shop](https://shop.example/filters) for new filters."""


NEAR = "Rinse the filter when you descale the boiler."


def passage(number: int, content: str, *, title: str = "", public: bool = True) -> Passage:
    return Passage(
        chunk_id=number,
        article_id=number * 10,
        revision_id=number * 100,
        title=title or f"Article {number}",
        heading="",
        content=content,
        public=public,
        score=1.0 / number,
        similarity=0.7,
        keyword_score=1.0,
        keyword_rank=number,
        vector_rank=number,
    )


def grounding(strength: Strength, *passages: Passage, question: str = "How do I descale the boiler?") -> Grounding:
    return Grounding(
        conversation_id=1,
        question=question,
        subject=question,
        turns=(),
        passages=passages,
        assessment=Assessment(strength, 0.5, {}, "covered", "test"),
        clarifications=0,
        customer_name="Ada Byron",
    )


def test_an_answer_keeps_steps_in_order_and_cites_what_it_says() -> None:
    proposal = compose(grounding(Strength.STRONG, passage(1, DESCALING, title="Care")), lexical_likeness, LIMIT)
    assert proposal.kind is DraftKind.REPLY
    assert proposal.body.startswith("Hi Ada,")
    steps = proposal.body.index("1. Empty"), proposal.body.index("2. Fill"), proposal.body.index("3. Hold")
    assert list(steps) == sorted(steps)
    assert "for ten seconds. [1]" in proposal.body
    assert "To descale the boiler:\n1. Empty" in proposal.body
    assert "**" not in proposal.body
    (citation,) = proposal.citations
    assert (citation.number, citation.chunk_id, citation.article_id, citation.title) == (1, 1, 10, "Care")
    assert "To descale the boiler: 1. Empty the tank" in citation.quote


def test_what_does_not_belong_is_left_out() -> None:
    other = passage(2, "Parcels arrive on Tuesdays.\n\nRefunds take a week.", title="Shipping")
    proposal = compose(grounding(Strength.STRONG, passage(1, DESCALING), other), lexical_likeness, LIMIT)
    assert "Parcels" not in proposal.body
    assert "Price" not in proposal.body  # a table does not read as an answer
    assert [citation.chunk_id for citation in proposal.citations] == [1]


def test_what_an_introduction_says_can_be_done_is_followed_by_how() -> None:
    article = (
        "You can descale the boiler yourself.\n\n## With vinegar\n\nFill the boiler with vinegar to descale it."
        "\n\n## Where boilers come from\n\nThe boiler was made in Turin."
    )
    likeness = scored(yourself=0.9, vinegar=0.85, Turin=0.85)
    proposal = compose(grounding(Strength.STRONG, passage(1, article)), likeness, LIMIT)
    assert "You can descale the boiler yourself. [1]\n\nFill the boiler with vinegar" in proposal.body
    assert "Turin" not in proposal.body


def scored(**scores: float) -> Likeness:
    """Likeness by a word that stands in the text; everything else is alike to nothing."""

    def likeness(questions: Sequence[str], texts: Sequence[str]) -> list[list[float]]:
        row = [next((score for word, score in scores.items() if word in text), 0.0) for text in texts]
        return [row for _ in questions]

    return likeness


@pytest.mark.parametrize(("score", "cited"), [(0.77, [1, 2]), (0.6, [1])])
def test_another_article_has_to_be_nearly_as_near(score: float, cited: list[int]) -> None:
    proposal = compose(
        grounding(
            Strength.STRONG,
            passage(1, "Wipe it monthly.\n\nUse filters from the drawer."),
            passage(2, "Put mugs in here."),
            question="Question",
        ),
        scored(Wipe=0.75, filters=0.68, mugs=score),
        LIMIT,
    )
    assert [citation.number for citation in proposal.citations] == cited
    assert "filters" in proposal.body  # the same article may add what is less near


def test_every_citation_number_has_its_source_and_every_source_its_number() -> None:
    second = passage(2, "Descale the boiler with vinegar only if it is older than 2019.", title="Old boilers")
    proposal = compose(grounding(Strength.STRONG, passage(1, DESCALING), second), lexical_likeness, LIMIT)
    marks = {int(mark) for mark in re.findall(r"\[(\d+)\]", proposal.body)}
    assert marks == {citation.number for citation in proposal.citations} == set(range(1, len(marks) + 1))


def test_internal_passages_are_never_quoted() -> None:
    secret = passage(1, "Descale the boiler, then refund 10 if they insist.", public=False)
    for strength in Strength:
        proposal = compose(grounding(strength, secret), lexical_likeness, LIMIT)
        assert proposal.kind is DraftKind.ESCALATION
        assert "refund" not in proposal.body
    assert "internal" in proposal.summary or "No published" in proposal.summary


def test_partial_evidence_asks_one_question_that_names_the_subjects() -> None:
    proposal = compose(
        grounding(Strength.PARTIAL, passage(1, DESCALING, title="Boiler care"), passage(2, NEAR, title="Filters")),
        lexical_likeness,
        LIMIT,
    )
    assert proposal.kind is DraftKind.CLARIFICATION
    assert proposal.body.count("?") == 1
    assert "“Boiler care” or “Filters”" in proposal.body


def test_where_too_little_was_said_it_asks_what_happened_and_names_no_accidental_finds() -> None:
    asked = grounding(Strength.PARTIAL, passage(1, DESCALING, title="Boiler care"), question="It does not work")
    vague = replace(asked, assessment=Assessment(Strength.PARTIAL, 0.05, {}, "too_little_said", "test"))
    proposal = compose(vague, lexical_likeness, LIMIT)
    assert proposal.kind is DraftKind.CLARIFICATION
    assert proposal.body.count("?") == 1
    assert "Boiler" not in proposal.body
    assert compose(replace(vague, passages=()), lexical_likeness, LIMIT).kind is DraftKind.CLARIFICATION


def test_it_stops_asking_and_hands_over() -> None:
    asked = replace(grounding(Strength.PARTIAL, passage(1, DESCALING)), clarifications=MAX_CLARIFICATIONS)
    assert compose(asked, lexical_likeness, LIMIT).kind is DraftKind.ESCALATION


def test_no_evidence_hands_over_and_says_why() -> None:
    proposal = compose(grounding(Strength.NONE), lexical_likeness, LIMIT)
    assert proposal.kind is DraftKind.ESCALATION
    assert proposal.summary == "No published article covers this. Somebody from Support should answer."
    assert proposal.body == (
        "Hi Ada,\n\n"
        "Our help articles do not answer this yet, so somebody from Support will look into it and answer you here."
    )


@pytest.mark.parametrize(
    ("changes", "customer", "operator"),
    [
        ({"clarifications": MAX_CLARIFICATIONS}, "Thank you for your answers.", "Asked 2 times already"),
        ({"passages": (passage(1, DESCALING, public=False),)}, "Our public help articles do not answer", "internal"),
        (
            {"assessment": Assessment(Strength.NONE, 0.1, {}, "search_degraded", "test")},
            "We could not search",
            "Search did not work in full",
        ),
    ],
)
def test_a_hand_over_says_who_and_why_to_both(changes: dict[str, Any], customer: str, operator: str) -> None:
    asked = replace(grounding(Strength.NONE), manner=Manner(team="the Boiler Room"), **changes)
    proposal = compose(asked, lexical_likeness, LIMIT)
    assert proposal.kind is DraftKind.ESCALATION
    assert customer in proposal.body
    assert "so somebody from the Boiler Room will look into it" in proposal.body
    assert operator in proposal.summary
    assert "Somebody from the Boiler Room should answer." in proposal.summary


def test_a_low_limit_makes_shorter_answers_and_at_last_none() -> None:
    said = ("Wipe it monthly.", "Use filters from the drawer.", "Add vinegar.")
    asked = grounding(Strength.STRONG, passage(1, "\n\n".join(said), title="Care"), question="Question")

    def answer(limit: int) -> Proposal:
        return compose(asked, scored(Wipe=0.8, filters=0.75, vinegar=0.7), limit)

    whole = answer(LIMIT)
    assert all(words in whole.body for words in said)
    without_one = answer(len(marks.sent(whole)) - 1)
    assert "vinegar" not in without_one.body
    assert "filters" in without_one.body
    without_two = answer(len(marks.sent(without_one)) - 1)
    assert "Wipe it monthly. [1]" in without_two.body
    assert "filters" not in without_two.body
    assert answer(len(marks.sent(without_two))) == without_two
    left = answer(len(marks.sent(without_two)) - 1)
    assert (left.kind, left.body) == (DraftKind.ESCALATION, "")  # even who takes over is too much to say
    assert "longer than a message may be" in left.summary


def test_a_question_back_that_is_too_long_is_left_to_a_person() -> None:
    asked = grounding(Strength.PARTIAL, passage(1, DESCALING, title="Boiler care"))
    assert compose(asked, lexical_likeness, 60).kind is DraftKind.ESCALATION


PROSE = st.lists(st.text(alphabet="abc XYZ.!?:-*#`[]()1|\n", min_size=0, max_size=60), min_size=0, max_size=8).map(
    "\n\n".join
)


@given(
    content=PROSE,
    question=st.text(max_size=40),
    strength=st.sampled_from(list(Strength)),
    limit=st.integers(1, 400) | st.just(LIMIT),
)
def test_any_article_text_gives_a_sound_proposal(content: str, question: str, strength: Strength, limit: int) -> None:
    proposal = compose(grounding(strength, passage(1, content), question=question), lexical_likeness, limit)
    assert len(marks.sent(proposal)) <= limit
    if proposal.kind is DraftKind.REPLY:
        assert strength is Strength.STRONG
        assert proposal.citations
        said = " ".join(marks.without(proposal.body, {1, 2, 3}).split())
        assert len(said.split()) < 250
    assert proposal.body or proposal.kind is DraftKind.ESCALATION
    written = Written(grounding(strength, passage(1, content), question=question), proposal)
    assert not written.sourceless
    assert not written.unfound


@given(content=PROSE)
def test_blocks_are_never_empty(content: str) -> None:
    assert all(block.text.strip() or block.kind == "code" for block in blocks_of(content))


def test_links_keep_their_address_and_nested_items_stand_below() -> None:
    (paragraph, listing) = blocks_of("Go to [the shop](https://shop.example).\n\n- one\n  - inner\n- two")
    assert paragraph.text == "Go to the shop (https://shop.example)."
    assert listing.lines == ("- one\n  - inner", "- two")


def test_sentences_are_whole() -> None:
    assert sentences("Press 1.5 times. Then wait! Is it on? Yes.") == [
        "Press 1.5 times.",
        "Then wait!",
        "Is it on?",
        "Yes.",
    ]


@pytest.mark.parametrize(
    ("subject", "words", "question"),
    [
        ("The lamp", ["The lamp blinks red."], "The lamp blinks red."),
        ("Broken lamp", ["It blinks red.", "Since Monday."], "Broken lamp\nIt blinks red.\nSince Monday."),
        (
            "A very long first line that was cut…",
            ["A very long first line that was cut here."],
            "A very long first line that was cut here.",
        ),
    ],
)
def test_the_subject_is_added_where_it_says_something(subject: str, words: list[str], question: str) -> None:
    assert build(subject, words) == question


def test_a_long_question_keeps_its_newest_words() -> None:
    built = build("Subject", ["old " * 1000, "the newest words"])
    assert len(built) <= 1500
    assert built.startswith("Subject\n")
    assert built.endswith("the newest words")


@pytest.mark.parametrize(
    ("body", "sent"),
    [
        ("Hold it. [1]\nThen wait [2].\n\n[2]", "Hold it.\nThen wait."),
        ("Use items[0] and argv[1]. [1]", "Use items[0] and argv[1]."),
        ("See note [3]. [1]", "See note [3]."),
        ("Both say so. [1][2]", "Both say so."),
        ("It is in rows[0][1]. [1]", "It is in rows[0][1]."),
        (" [1] ", ""),
    ],
)
def test_marks_of_the_drafts_own_citations_are_for_the_operator_only(body: str, sent: str) -> None:
    assert marks.without(body, {1, 2}) == sent
