"""What of a reply everybody can be told: whole steps, plain words, nothing meant for one person, nothing invented."""

from __future__ import annotations

import re
from html import unescape

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_cairnloop.drafting.engine import lexical_likeness
from flask_cairnloop.knowledge.rendering import render
from flask_cairnloop.privacy.redactor import TOKEN
from flask_cairnloop.upkeep.article_engine import compose, headline
from flask_cairnloop.upkeep.spoken import plain_statements, safe
from flask_cairnloop.upkeep.suggestion_models import SuggestionKind
from flask_cairnloop.upkeep.writing import Brief, Source, SourceKind, text_of

SIGNS = "ab AB[]()<>!#*_`>-+=1.) \n|~&\\;:'?"
LINES = (
    "",
    "Hi Ada,",
    "Best regards,",
    "Mina",
    "1. Open the lid.",
    "2. Wait [email].",
    "   more",
    "4. four",
    "   1. nested",
    "- x",
    "```",
    "> quoted",
    "Thanks!",
    "Open it:",
    "I did.",
    "[name], go on.",
    "# head",
    "a\n---",
    "|a|b|\n|-|-|",
    "[x](http://e.example)",
    "<b>",
    "&amp;",
    "___",
    "---- original message",
)
REPLIES = st.one_of(st.text(alphabet=SIGNS, max_size=120), st.lists(st.sampled_from(LINES), max_size=14).map("\n".join))
PARTS = ("# A", "## B", "text one", "```\n# c\n\nd", "```", "- l", "  more", "Setext\n===", "p\n## mid", "> q")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (
            "Hi Ada,\n\nOpen the lid.\n\nBest regards,\nMina\n\nHello Ada,\n\nClean the hinge.\n\nCheers,\nMina Keller",
            ["Open the lid.", "Clean the hinge."],
        ),
        ("1. Open the app.\n   It is free.\n2. Wait.", ["1. Open the app. It is free.\n2. Wait."]),
        ("1. Open it.\n\nThe app is free.\n\n2. Wait.", ["1. Open it.", "The app is free.", "2. Wait."]),
        ("Try this:\n- I have reset your account.\n- Open the app.", ["Try this:\n\n- Open the app."]),
        ("[name], tell [email] first:\n- Open the app.", ["- Open the app."]),
        ("Open the lid, [name].", ["Open the lid."]),
        ("I use the red one. My guess is the lid.", []),
        ("I would suggest that you open the lid.", ["Open the lid."]),
        ("Choose “Ask me later” under My Orders.", ["Choose “Ask me later” under My Orders."]),
        ("Open the lid.\n\nDoes that solve it? If not, just write back here.", ["Open the lid."]),
        ("Open the lid.\n\n> I dropped it\n\nSent from my phone", ["Open the lid."]),
        ("Open the lid.\n\n-----Original Message-----\nMy secret is out.", ["Open the lid."]),
        ("Run this:\n```\nkettle --pair\n```", ["Run this:\n\n```\nkettle --pair\n```"]),
        ("1. Wait.\n2. I would then open the lid.", ["1. Wait.\n2. [To write: a step that was told to one person]"]),
    ],
)
def test_what_everybody_is_told(words: str, told: list[str]) -> None:
    assert plain_statements(words) == told


@given(REPLIES)
def test_every_word_is_the_teams_and_none_becomes_more_than_words(words: str) -> None:
    said = {word.casefold() for word in re.findall(r"[^\W_]+", words)}
    for text in plain_statements(words):
        html = str(render(text))
        assert not re.search(r"<(?!/?(?:p|ul|ol|li|br|pre|code)\b)", html), (text, html)
        assert not TOKEN.search(text.replace("\\", ""))
        own = re.sub(r"\[To write:[^\n]*\]|(?m:^\s*\d+\.(?: |$))", "", text)
        assert {word.casefold() for word in re.findall(r"[^\W_]+", own)} <= said


@given(st.text(alphabet=SIGNS, max_size=60).filter(str.strip))
def test_a_line_reads_as_it_was_written(line: str) -> None:
    html = str(render(safe(line))).strip()
    assert (html[:3], html[-4:], html.count("<")) == ("<p>", "</p>", 2)
    assert unescape(html[3:-4]).split() == line.split()


@given(st.lists(st.sampled_from(PARTS), min_size=1, max_size=9).map("\n\n".join))
def test_a_change_keeps_the_published_text_and_stands_in_none_of_its_code(base: str) -> None:
    case = Source(1, SourceKind.CASE, "t", "", "Brush the hinge softly.", conversation_id=1)
    brief = Brief(1, SuggestionKind.REVISION, ("How do I brush one text?",), (case,), "T", base)
    body = text_of(brief, compose(brief, lexical_likeness)).body
    at = 0
    for text in brief.paragraphs:
        at = body.index(text.strip(), at) + len(text.strip())
    assert "How do I brush one text?</h" in str(render(body))


def test_what_the_article_says_already_is_not_added_and_what_denies_it_is() -> None:
    base = "## Lid\n\nClean the hinge of the lid with a soft brush."
    for words, told in (("Clean the hinge of the lid with a soft brush.", 0), ("Do not clean the hinge.", 1)):
        case = Source(1, SourceKind.CASE, "t", "", words, conversation_id=1)
        brief = Brief(1, SuggestionKind.REVISION, ("How do I clean the lid?",), (case,), "T", base)
        assert len([each for each in compose(brief, lexical_likeness).paragraphs if each.sources]) == told


def test_the_line_above_a_message_is_the_title() -> None:
    assert headline("Re: lid is stuck\nHi,\nI bought the kettle in May. Why?") == "Lid is stuck"
    assert headline("Help\nHi, how do I pair the kettle with my phone?") == "How do I pair the kettle with my phone?"


def test_no_question_and_no_title_makes_a_link() -> None:
    near = Source(1, SourceKind.ARTICLE, "Safe](http://evil.example) x", "", "w", article_id=1, slug="safe")
    brief = Brief(1, SuggestionKind.ARTICLE, ("How](http://evil.example/x) do?",), (near,))
    assert re.findall(r'href="([^"]*)"', str(render(text_of(brief, compose(brief, lexical_likeness)).body))) == ["safe"]
