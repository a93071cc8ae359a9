"""What a model wrote is held to its sources: figures for hand-written cases, and that nothing it writes breaks it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_cairnloop.drafting.support import Backing, Flaw, Text, contradicts, looked_up, shared_words, weigh
from tests.drafting.support_cases import ON_THE_LIBRARY, ON_THE_RENTAL, Case, by_meaning, figures


@pytest.mark.parametrize(
    ("way", "cases", "kept", "stopped"),
    [
        # Chosen by these.
        ("meaning", ON_THE_LIBRARY, 26, 32),
        ("words", ON_THE_LIBRARY, 26, 32),
        # Not chosen by these: what to expect elsewhere.
        ("meaning", ON_THE_RENTAL, 24, 23),
        ("words", ON_THE_RENTAL, 23, 22),
    ],
)
def test_faithful_statements_are_kept_and_others_stopped(way: str, cases: list[Case], kept: int, stopped: int) -> None:
    made = figures(cases, by_meaning() if way == "meaning" else shared_words)
    assert made.passed >= kept, made.wrong
    assert made.stopped >= stopped, made.wrong


@pytest.mark.parametrize(
    ("statement", "flaw"),
    [
        ("Hold it for 10 seconds.", None),
        ("Hold it for 12 seconds.", Flaw.NUMBER),
        ("Hold it for ten minutes.", Flaw.NUMBER),
        ("It costs €5.00.", None),
        ("It costs $5.", Flaw.NUMBER),
        ("See https://shop.example/help for it.", None),
        ("See https://shop.example/help-me for it.", Flaw.ADDRESS),
        ("See shop.example.org for it.", Flaw.ADDRESS),
        ("Write to desk@shop.example.", None),
        ("Write to chief@shop.example.", Flaw.ADDRESS),
        ("It shows ERR_504.", None),
        ("It shows ERR_505.", Flaw.IDENTIFIER),
        ("Edit config.yaml.", Flaw.IDENTIFIER),
        ("Press “Reset all”.", None),
        ("Press “Erase all”.", Flaw.LABEL),
        ("Then ask Brunhilde about it.", Flaw.NAME),
        ("You wrote that ORDER_77 is late.", None),  # the customer's own
        ("We will pay you 500 dollars.", Flaw.NUMBER),  # the customer's own, and no promise of ours
        ("Your address is [email].", Flaw.PRIVATE),
    ],
)
def test_what_can_be_looked_up_must_be_there(statement: str, flaw: Flaw | None) -> None:
    written = (
        "Hold it for ten seconds. It costs 5 EUR. See https://shop.example/help, or write to desk@shop.example."
        " Press **Reset all** when it shows ERR_504."
    )
    said = "ORDER_77 is late, so pay me 500 dollars"
    assert looked_up(statement, written, said) is flaw


@pytest.mark.parametrize(
    ("statement", "window", "opposite"),
    [
        ("You can cancel.", "You cannot cancel.", True),
        ("The code never expires.", "The code expires after an hour.", True),
        ("You don’t need a receipt.", "No receipt is needed.", False),
        ("Turn the tap on.", "Turn the tap off.", True),
        ("Unlock the door.", "Lock the door.", True),
        ("Children pay nothing.", "Children do not pay.", False),
        ("Hold the button.", "Hold the button. Do not let go.", False),
    ],
)
def test_a_denied_word_and_an_opposite_are_noticed(statement: str, window: str, opposite: bool) -> None:
    assert contradicts(statement, window) is opposite


TEXTS = st.text(max_size=300)


@given(statement=TEXTS, about=TEXTS, content=TEXTS, said=TEXTS)
def test_any_text_is_weighed_without_an_error(statement: str, about: str, content: str, said: str) -> None:
    assert isinstance(weigh(statement, [Text(about, content)], said, shared_words), Backing | Flaw)
