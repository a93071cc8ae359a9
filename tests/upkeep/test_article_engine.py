"""The built-in engine of suggestions: the team's own sentences, without what was meant for one person."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_cairnloop.drafting.engine import lexical_likeness
from flask_cairnloop.knowledge.rendering import BODY_LIMIT, render
from flask_cairnloop.upkeep.article_engine import compose, headline, plain_statements
from flask_cairnloop.upkeep.suggestion_models import SuggestionKind
from flask_cairnloop.upkeep.writing import (
    Brief,
    Paragraph,
    Source,
    SourceKind,
    Unusable,
    Written,
    digest_of,
    is_open,
    text_of,
)

REPLY = """Hi Ada,

Thanks for writing. To pair the kettle, hold its button for five seconds. I have reset your account.

1. Open the app.
2. Tell [email] the code.
3. Choose the kettle.

Let me know if that helps!

Best regards,
Mina"""
BASE = "# Kettle\n\nIt boils water.\n\n## Lid\n\nClean the hinge of the lid.\n\n## Parcels\n\nTwo to four days."


def case(number: int, words: str, title: str = "The kettle") -> Source:
    return Source(number, SourceKind.CASE, title, "", words, conversation_id=number)


def article(number: int, title: str, slug: str) -> Source:
    return Source(number, SourceKind.ARTICLE, title, "", "Words.", article_id=number, slug=slug)


def brief(*sources: Source, questions: Sequence[str] = ("How do I pair the kettle?",), base: str = "") -> Brief:
    kind = SuggestionKind.REVISION if base else SuggestionKind.ARTICLE
    return Brief(1, kind, tuple(questions), sources, "The kettle" if base else "", base)


def test_what_was_meant_for_one_person_is_left_out() -> None:
    first, steps = plain_statements(REPLY)
    assert first == "To pair the kettle, hold its button for five seconds."
    assert steps == "1. Open the app.\n2. [To write: a step that named somebody]\n3. Choose the kettle."
    assert plain_statements("Hello,\n\nthank you, I have fixed it. Did it work?\n\nBest,\nMina Keller") == []


@pytest.mark.parametrize(
    ("words", "title"),
    [
        ("Hi, how do I pair the kettle with my phone? Thanks!", "How do I pair the kettle with my phone?"),
        ("kettle does not pair", "Kettle does not pair"),
        ("My kettle broke. Why?", "My kettle broke"),
        ("Why?", "Why?"),
    ],
)
def test_a_question_is_a_title(words: str, title: str) -> None:
    assert headline(words) == title


def test_a_long_question_is_cut_between_words() -> None:
    title = headline("word " * 80)
    assert len(title) <= 121
    assert title.endswith("word…")


def test_each_paragraph_names_the_conversation_it_comes_from_and_nothing_stands_twice() -> None:
    other = case(2, "To pair the kettle, hold its button for five seconds. The light blinks.")
    made = compose(brief(case(1, REPLY), other, article(3, "The lid", "kettle-lid")), lexical_likeness)
    text = text_of(brief(case(1, REPLY), other, article(3, "The lid", "kettle-lid")), made)
    assert text.title == "How do I pair the kettle?"
    assert text.body.count("hold its button") == 1
    assert "[The lid](kettle-lid)" in text.body
    assert text.claims[digest_of("To pair the kettle, hold its button for five seconds.")] == (1,)
    assert text.claims[digest_of("The light blinks.")] == (2,)
    assert is_open(text.body), "a step that named somebody is left to a person"


def test_where_nobody_has_answered_there_is_an_outline() -> None:
    questions = ("How do I pair the kettle?", "how do i pair my kettle", "Does it work in Norway?")
    made = compose(brief(questions=questions), lexical_likeness)
    text = text_of(brief(questions=questions), made)
    assert text.body == (
        "[To write: what answers “How do I pair the kettle?”]\n\n[To write: what answers “Does it work in Norway?”]"
    )
    assert made.summary.startswith("An outline")


@given(st.text(alphabet="ab[]()<>!#*_`>-+1.) \n|~&\\", max_size=80))
def test_nothing_that_people_write_becomes_more_than_words(words: str) -> None:
    for text in plain_statements(f"Say {words}"):
        html = str(render(text))
        assert not re.search(r"<(?!/?(?:p|ul|ol|li|br)\b)", html.replace("<ol start=", "<ol ")), (text, html)


@given(st.lists(st.tuples(st.integers(-1, 8), st.booleans(), st.integers(0, 9)), min_size=1, max_size=5))
def test_a_change_leaves_everything_else_letter_for_letter(edits: list[tuple[int, bool, int]]) -> None:
    of = brief(case(1, "Words."), base=BASE)
    places = len(of.paragraphs)
    new = tuple(
        Paragraph(f"New {number}.", (1,), after=place, instead=instead and place >= 0)
        for place, instead, number in edits
        if place < places
    )
    made = Written("The kettle", new, "", "test")
    if not new:
        with pytest.raises(Unusable):
            text_of(of, made)
        return
    body = text_of(of, made).body
    replaced = {each.after for each in new if each.instead}
    kept = [text.strip() for place, text in enumerate(of.paragraphs) if place not in replaced]
    assert [part for part in re.split(r"\n{2,}", body) if not part.startswith("New ")] == kept
    assert body.count("New ") == len(new)


def test_a_change_comes_at_the_end_of_the_section_it_belongs_to() -> None:
    of = brief(case(1, "Clean the hinge with a soft brush."), questions=("The lid does not close",), base=BASE)
    body = text_of(of, compose(of, lexical_likeness)).body
    assert body == BASE.replace(
        "of the lid.\n\n", "of the lid.\n\n### The lid does not close\n\nClean the hinge with a soft brush.\n\n"
    )


@pytest.mark.parametrize(
    "made",
    [
        Written("", (Paragraph("Words", (1,)),), "", "test"),
        Written("Two\nlines", (Paragraph("Words", (1,)),), "", "test"),
        Written("Title", (), "", "test"),
        Written("Title", (Paragraph("  ", (1,)),), "", "test"),
        Written("Title", (Paragraph("Words", (9,)),), "", "test"),
        Written("Title", (Paragraph("Wo\x00rds", (1,)),), "", "test"),
        Written("Title", (Paragraph("Words", (1,), after=7),), "", "test"),
        Written("Title", (Paragraph("Words", (1,), instead=True),), "", "test"),
        Written("Title", (Paragraph("w" * (BODY_LIMIT + 1), (1,)),), "", "test"),
    ],
)
def test_what_no_article_can_be_is_refused_without_a_word_of_it(made: Written) -> None:
    with pytest.raises(Unusable) as refused:
        text_of(brief(case(1, "Words.")), made)
    assert "ords" not in str(refused.value)
