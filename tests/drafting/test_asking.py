"""What a question asks for, and which detail that would decide it is missing."""

from __future__ import annotations

import pytest

from flask_cairnloop.drafting import asking
from flask_cairnloop.drafting.engine import NOT_COVERED, compose, lexical_likeness
from flask_cairnloop.drafting.types import DraftKind
from flask_cairnloop.drafting.units import units_of
from flask_cairnloop.retrieval.types import Strength
from tests.drafting.test_engine import DESCALING, LIMIT, grounding, passage, scored


def test_the_parts_of_a_question_are_what_it_asks_for() -> None:
    asked = (
        "Boiler trouble\nIt drips since Monday. How do I descale the boiler? 1. Where is the filter sold 2. How"
        " much does a new filter cost? Any ideas? Can anyone help me with this? Thanks!"
    )
    assert asking.parts(asked) == [
        "How do I descale the boiler?",
        "Where is the filter sold",
        "How much does a new filter cost?",
    ]


def test_a_part_that_the_evidence_leaves_open_is_named() -> None:
    question = "How do I descale the boiler? And which colours of mugs do you sell?"
    proposal = compose(grounding(Strength.STRONG, passage(1, DESCALING), question=question), lexical_likeness, LIMIT)
    assert proposal.kind is DraftKind.REPLY
    assert f"{NOT_COVERED} “And which colours of mugs do you sell?” Somebody from Support will" in proposal.body
    assert proposal.summary.endswith("Not covered: And which colours of mugs do you sell?")


def test_a_part_that_another_article_answers_is_answered_from_it() -> None:
    question = "How do I descale the boiler? And which colours of mugs do you sell?"
    mugs = passage(2, "You can buy mugs in the colours red and blue; we sell no others.", title="Mugs")
    proposal = compose(
        grounding(Strength.STRONG, passage(1, DESCALING), mugs, question=question), lexical_likeness, LIMIT
    )
    assert [citation.title for citation in proposal.citations] == ["Article 1", "Mugs"]
    assert NOT_COVERED not in proposal.body


PLATFORMS = "## Windows\n\nOpen the boiler app from the start menu.\n\n## macOS\n\nOpen the boiler app from the dock."


@pytest.mark.parametrize(
    ("question", "content", "clause"),
    [
        ("How do I open the boiler app?", PLATFORMS, "is this on Windows or macOS?"),
        ("The boiler does not join the network.", "Choose WPA2 or WEP in the menu.", "is it about WEP or WPA2?"),
        ("The boiler shows an error.", "Empty the tank.", "what are the exact words of the message you see?"),
        (
            "How do I open the lid?",
            "## Version 3 and newer\n\nPress the lid.\n\n## All others\n\nPull the lid.",
            "which version do you use?",
        ),
    ],
)
def test_a_question_back_names_the_detail_that_would_decide(question: str, content: str, clause: str) -> None:
    proposal = compose(grounding(Strength.PARTIAL, passage(1, content), question=question), lexical_likeness, LIMIT)
    assert proposal.kind is DraftKind.CLARIFICATION
    assert clause in proposal.body
    assert proposal.body.count("?") == 1
    assert "Missing:" in proposal.summary


@pytest.mark.parametrize(
    ("question", "content"),
    [
        ("How do I open the boiler app on my MacBook?", PLATFORMS),
        ("WPA2 does not work.", "Choose WPA2 or WEP in the menu."),
        ("The boiler shows an error: “Tank is empty, please fill it”.", "Empty the tank."),
        (
            "How do I open the lid of version 4?",
            "## Version 3 and newer\n\nPress the lid.\n\n## Others\n\nPull the lid.",
        ),
    ],
)
def test_what_was_told_is_not_asked_for(question: str, content: str) -> None:
    assert asking.missing(question, units_of(passage(1, content))) is None


def test_what_is_headed_for_another_platform_is_left_out() -> None:
    asked = grounding(Strength.STRONG, passage(1, PLATFORMS), question="How do I open the boiler app on my MacBook?")
    proposal = compose(asked, lexical_likeness, LIMIT)
    assert "from the dock" in proposal.body
    assert "start menu" not in proposal.body


def test_strong_evidence_without_a_passage_that_answers_asks_back() -> None:
    asked = grounding(Strength.STRONG, passage(1, DESCALING, title="Boiler care"), question="Question")
    proposal = compose(asked, scored(), LIMIT)
    assert proposal.kind is DraftKind.CLARIFICATION
    assert "Boiler care" in proposal.body


def test_only_the_setting_that_is_asked_about_is_told_of_a_long_list() -> None:
    settings = [f"- Setting {number}: Turns thing {number} on and off, whenever you want it." for number in range(9)]
    settings[4] = "- Pressure: Sets the pressure of the pump, from low for tea to high for coffee."
    asked = grounding(
        Strength.STRONG, passage(1, "\n".join(settings)), question="How do I set the pressure of the pump?"
    )
    proposal = compose(asked, lexical_likeness, LIMIT)
    assert "Sets the pressure of the pump" in proposal.body
    assert "thing 7" not in proposal.body


def test_what_can_be_done_goes_before_what_is() -> None:
    content = "The boiler drips.\n\n## Help\n\nTurn the screw when the boiler drips."
    asked = grounding(Strength.STRONG, passage(1, content), question="The boiler drips.")
    assert compose(asked, scored(boiler=0.8), LIMIT).body.index("Turn the screw") > 0
