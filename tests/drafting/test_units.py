"""What of an article is said to a customer: whole steps, whole sentences, and nothing that speaks of the page."""

from __future__ import annotations

import pytest

from flask_cairnloop.drafting.blocks import blocks_of, sentences
from flask_cairnloop.drafting.units import Unit, units_of
from tests.drafting.test_engine import passage


def units(content: str) -> list[Unit]:
    return units_of(passage(1, content, title="Care"))


def said(content: str) -> list[str]:
    return [unit.text for unit in units(content)]


def test_steps_are_one_list_however_carelessly_they_are_indented() -> None:
    (steps,) = said("Do this:\n\n1. Open the lid:\n  - with the key\n  - or by hand\n1. Empty the tank.\n1. Close it.")
    assert steps == ("Do this:\n1. Open the lid:\n   - with the key\n   - or by hand\n2. Empty the tank.\n3. Close it.")


def test_a_note_between_steps_does_not_break_them() -> None:
    (steps,) = said("1. Empty the tank.\n2. Open the tap.\n\nTIP: A towel helps.\n\n3. Wait for an hour.")
    assert [steps.index(word) for word in ("1. ", "2. ", "TIP", "3. ")] == sorted(
        steps.index(word) for word in ("1. ", "2. ", "TIP", "3. ")
    )


def test_steps_whose_beginning_stands_elsewhere_are_not_said() -> None:
    assert said("4. Close the lid.\n5. Switch it on.") == []


def test_indented_items_are_no_code() -> None:
    (block,) = blocks_of("    1. Empty the **tank**.\n    1. Close the lid.")
    assert (block.kind, block.lines) == ("list", ("1. Empty the tank.", "2. Close the lid."))
    (code,) = blocks_of("    boiler --descale")
    assert code.kind == "code"


def test_a_paragraph_right_below_a_list_is_no_part_of_its_last_item() -> None:
    assert [block.text for block in blocks_of("1. Open it.\n2. Close it.\nThe lamp turns green.")] == [
        "1. Open it.\n2. Close it.",
        "The lamp turns green.",
    ]
    (wrapped,) = blocks_of("- a long item that is\nwrapped at the margin")
    assert wrapped.text == "- a long item that is wrapped at the margin"


@pytest.mark.parametrize(
    "aside",
    [
        "This article describes how to care for the boiler.",
        "On this page you find everything about boilers.",
        "See also Filters.",
        "For more information, see Filters.",
        "To learn more about filters, read Filters.",
        "The button is shown in the picture below.",
        "If that does not help, contact our support team.",
        "Ask a new question in the forum.",
        "Having issues?",
        "There are several ways of descaling it.",
        "Follow these steps:",
        "![The boiler from the front](boiler.png)",
        "Care > Descaling > Boiler",
        "- [Filters](/filters)\n- [Mugs](#mugs)",
        "## See also\n\nA boiler is descaled in the shop, too.",
        "NOTES:note_start",
        " /  / ",
    ],
)
def test_what_speaks_of_the_page_or_leads_away_is_left_out(aside: str) -> None:
    assert said(f"Empty the tank first.\n\n{aside}") == ["Empty the tank first."]


def test_what_the_sentences_around_say_stays() -> None:
    assert said("This guide is for owners. Empty the tank first. See Filters for details.") == ["Empty the tank first."]
    assert said("Filters are sold here. See the shop: https://shop.example/filters.") == [
        "Filters are sold here. See the shop: https://shop.example/filters."
    ]


def test_what_leans_on_a_sentence_is_said_with_it() -> None:
    assert said("The lamp turns red.\n\nThis means that the tank is empty.") == [
        "The lamp turns red.\nThis means that the tank is empty."
    ]
    (alone,) = units("This means that the tank is empty.")
    assert alone.leans


def test_markup_that_nobody_closed_is_not_read_out() -> None:
    (block,) = blocks_of("Press the ![](x.png) button , then **** (or ![Save](s.png)) *Apply <b>now</b>.")
    assert block.text == "Press the button, then (or Save) Apply now."


def test_a_line_in_bold_is_the_heading_of_what_follows() -> None:
    first, second = units("**Hard water**\n\nDescale it monthly.\n\n**Soft water**\n\nDescale it yearly.")
    assert (first.topic, second.topic) == ("Hard water", "Soft water")


def test_sentences_do_not_end_at_abbreviations() -> None:
    assert sentences("Use a cleaner, e.g. Citric acid. It is cheap.") == [
        "Use a cleaner, e.g. Citric acid.",
        "It is cheap.",
    ]
