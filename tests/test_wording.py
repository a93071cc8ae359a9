"""What differs between two texts: true of both, readable, and never slow."""

from __future__ import annotations

import random
import time

import pytest

from flask_cairnloop.wording import Change, changes, paragraphs, rows

OLD = "# Boundary\n\nThe boundary is 00:00 by default.\n\nOnly for new entries.\n\n\nTimes stay."
NEW = "# Boundary\n\nThe boundary is 00:00 unless you choose another.\n\nTimes stay.\n\nExport the file again."


def test_paragraphs_stand_beside_what_they_became() -> None:
    assert [(row.kind, row.before.strip(), row.after.strip()) for row in rows(OLD, NEW)] == [
        ("same", "# Boundary", "# Boundary"),
        ("changed", "The boundary is 00:00 by default.", "The boundary is 00:00 unless you choose another."),
        ("removed", "Only for new entries.", ""),
        ("same", "Times stay.", "Times stay."),
        ("added", "", "Export the file again."),
    ]


def test_a_change_is_told_in_words() -> None:
    assert changes("It works for 30 minutes only.", "It works for an hour only.") == [
        Change("same", "It works for"),
        Change("removed", " 30 minutes"),
        Change("added", " an hour"),
        Change("same", " only."),
    ]


def test_both_texts_can_be_read_from_what_is_told() -> None:
    chance = random.Random(7)  # noqa: S311 - texts for a test
    pieces = ["a ", "b ", "c\n", "\n", "d ", " \n\n", "e"]
    for _ in range(400):
        old, new = ("".join(chance.choices(pieces, k=chance.randint(0, 30))) for _ in range(2))
        told = rows(old, new)
        assert "".join(row.before for row in told) == old == "".join(paragraphs(old))
        assert "".join(row.after for row in told) == new
        found = changes(old, new)
        assert "".join(change.text for change in found if change.kind != "removed").split() == new.split()
        assert "".join(change.text for change in found if change.kind != "added").split() == old.split()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("a " * 200_000, "a b " * 100_000),
        ("a\n\n" * 130_000, "a\n\nb\n\n" * 66_000),
        (" ".join(map(str, range(60_000))), " ".join(map(str, range(60_000, 0, -1)))),
        (" \n" * 200_000, "\n" * 400_000),
        ("\n\n".join(f"{n} one two three" for n in range(1900)), "\n\n".join(f"{-n} one two" for n in range(1900))),
    ],
)
def test_texts_made_to_be_slow_are_not(old: str, new: str) -> None:
    started = time.process_time()
    rows(old, new)
    changes(old, new)
    assert time.process_time() - started < 8  # about half a second; quadratic would be minutes
