"""Two texts as one: what stayed, went and came gives both back; and how much that is."""

from __future__ import annotations

import pytest

from flask_cairnloop.drafting.differences import MOST_PAIRS, MOST_WORDS, Change, changes, share_changed

LONGEST = 100_000  # characters, the highest limit that a message may have
PAIRS = [
    ("Hold it for ten seconds.", "Hold it for ten seconds."),
    ("Hold it for ten seconds.", "Please hold it for two seconds."),
    ("One.\n\nTwo three.", "One.\nTwo four.\n\nFive."),
    ("no no no yes", "no yes"),
    ("", "All of it is new."),
    ("All of it goes.", ""),
]


@pytest.mark.parametrize(("proposed", "sent"), PAIRS)
def test_what_stayed_went_and_came_gives_both_texts_back(proposed: str, sent: str) -> None:
    gives_both_back(proposed, sent)


def gives_both_back(proposed: str, sent: str) -> list[Change]:
    parts = changes(proposed, sent)
    assert "".join(part.text for part in parts if part.kind != "removed") == sent.rstrip()
    assert "".join(part.text for part in parts if part.kind != "added").split() == proposed.split()
    return parts


def test_words_between_words_that_stayed_are_found() -> None:
    assert changes("Hold it for ten seconds.", "Hold it, please, for two seconds.") == [
        Change("same", "Hold"),
        Change("removed", " it"),
        Change("added", " it, please,"),
        Change("same", " for"),
        Change("removed", " ten"),
        Change("added", " two"),
        Change("same", " seconds."),
    ]


# Compared word by word, each of these takes from many seconds to minutes.
@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("no yes " * (LONGEST // 7), "yes no yes " * (LONGEST // 11)),
        ("a b " * (LONGEST // 4), "b a c " * (LONGEST // 6)),
        (
            " ".join(f"w{number} p" for number in range(LONGEST // 8)),
            " ".join(f"w{number} q" for number in range(LONGEST // 8)),
        ),
        ("a " * (MOST_PAIRS // MOST_WORDS) + "b", "c " + "a " * MOST_WORDS),  # few words of one text, many pairs
    ],
)
def test_what_would_take_long_to_compare_counts_as_replaced_between_the_ends_that_stayed(
    before: str, after: str
) -> None:
    parts = gives_both_back(f"Dear Ann, {before} mine. Bye", f"Dear Ann, x {after} yours. Bye")
    assert [part.kind for part in parts] == ["same", "removed", "added", "same"]
    assert [parts[0].text, parts[-1].text.strip()] == ["Dear Ann,", "Bye"]


def test_a_long_text_with_one_change_shows_that_one() -> None:
    many = "yes no " * (LONGEST // 8)
    parts = gives_both_back(f"{many} ten {many}", f"{many} two {many}")
    assert [(part.kind, part.text.strip()) for part in parts[1:3]] == [("removed", "ten"), ("added", "two")]
    assert len(parts) == 4


@pytest.mark.parametrize(
    ("sent", "share"),
    [("Hold it for ten", 0), ("Hold  it for\nten", 0), ("Hold it for two", 0.25), ("Leave us alone now", 1), ("", 1)],
)
def test_how_much_was_changed_is_a_share_of_words(sent: str, share: float) -> None:
    assert share_changed("Hold it for ten", sent) == pytest.approx(share)


def test_words_in_another_order_are_no_change_so_that_no_text_takes_long() -> None:
    assert share_changed("a b " * (LONGEST // 4), "b a " * (LONGEST // 4)) == 0


def test_nothing_and_nothing_are_the_same() -> None:
    assert share_changed("", " ") == 0
    assert changes("", "") == []
