"""Two texts as one: what stayed, went and came gives both back; and no text takes long."""

from __future__ import annotations

import time

import pytest

from flask_cairnloop.drafting.differences import changes, share_changed

PAIRS = [
    ("Hold it for ten seconds.", "Hold it for ten seconds."),
    ("Hold it for ten seconds.", "Please hold it for two seconds."),
    ("One.\n\nTwo three.", "One.\nTwo four.\n\nFive."),
    ("", "All of it is new."),
    ("All of it goes.", ""),
    ("a " * 4000, "b " + "a " * 3000),
    ("x " + "a " * 3000 + "y", "x " + "a b " * 2000 + "y"),
]


@pytest.mark.parametrize(("proposed", "sent"), PAIRS)
def test_what_stayed_went_and_came_gives_both_texts_back(proposed: str, sent: str) -> None:
    parts = changes(proposed, sent)
    assert "".join(part.text for part in parts if part.kind != "removed") == sent.rstrip()
    assert "".join(part.text for part in parts if part.kind != "added").split() == proposed.split()
    kept = sum(len(part.text.split()) for part in parts if part.kind == "same")
    assert share_changed(proposed, sent) == pytest.approx(1 - 2 * kept / (len(proposed.split()) + len(sent.split())))


def test_texts_that_repeat_themselves_are_compared_by_their_ends_in_no_time() -> None:
    start = time.perf_counter()
    assert share_changed("Dear Ann, " + "no " * 3000, "Dear Bo, " + "no " * 3000) == pytest.approx(1 / 3002)
    assert share_changed("yes no " * 1500, "no yes " * 1500) == 1
    assert time.perf_counter() - start < 2


def test_nothing_and_nothing_are_the_same() -> None:
    assert share_changed("", " ") == 0
    assert changes("", "") == []
