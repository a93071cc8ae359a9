"""The desk speaks as its host configured it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from flask_cairnloop.drafting.engine import compose, lexical_likeness
from flask_cairnloop.drafting.manner import Manner, first_name
from flask_cairnloop.retrieval.types import Strength
from tests.drafting.test_engine import DESCALING, LIMIT, grounding, passage


@pytest.mark.parametrize(
    ("greeting", "name", "line"),
    [
        ("Hi {name},", "Ada Byron", "Hi Ada,"),
        ("Hi {name},", None, "Hi,"),
        ("Hi {name},", "  ", "Hi,"),
        ("Good day, {name}!", None, "Good day!"),
        ("{name}, good to hear from you.", None, "Good to hear from you."),
        ("Dear {name|customer},", None, "Dear customer,"),
        ("Dear {name|customer},", "Ada", "Dear Ada,"),
        ("Dear {name},", "Dr. Ada Byron", "Dear Dr. Ada Byron,"),
        ("Hi {name},", "ada@boilers.example", "Hi,"),
        ("Hi {name},", "user4711", "Hi,"),
        ("Hi {name},", "{name|x}", "Hi,"),
        ("Welcome.", "Ada", "Welcome."),
        ("", "Ada", ""),
    ],
)
def test_a_greeting_reads_well_with_and_without_a_name(greeting: str, name: str | None, line: str) -> None:
    assert Manner(greeting=greeting).greets(name) == line


def test_names_of_several_words_and_signs_are_names() -> None:
    assert first_name("Anne-Marie O’Neill") == "Anne-Marie"
    assert first_name("Łukasz") == "Łukasz"
    assert first_name("李") == ""  # too short to tell a name from an initial


def test_an_answer_begins_and_ends_as_configured() -> None:
    asked = replace(
        grounding(Strength.STRONG, passage(1, DESCALING)), manner=Manner("Moin {name}!", "Tschüss.", "Hafen")
    )
    paragraphs = compose(asked, lexical_likeness, LIMIT).body.split("\n\n")
    assert (paragraphs[0], paragraphs[-1]) == ("Moin Ada!", "Tschüss.")
    bare = replace(asked, manner=Manner("", "", "Hafen"))
    paragraphs = compose(bare, lexical_likeness, LIMIT).body.split("\n\n")
    assert paragraphs[0].startswith("The boiler needs descaling")
    assert paragraphs[-1].endswith("[1]")
