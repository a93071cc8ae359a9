"""Cutting articles: nothing is lost, nothing is torn, every passage stays within bounds."""

from __future__ import annotations

import re

from hypothesis import given, settings
from hypothesis import strategies as st

from flask_cairnloop.retrieval.chunking import LIMIT, OVERLAP, TARGET, chunk, plain_text

BOUND = LIMIT + OVERLAP + 2  # the longest block, after the sentences before it

MARKED = ["amber", "basil", "cedar", "dahlia", "4711", "E-1042", "a.b", "*c*", "`d`"]
WORDS = st.lists(st.sampled_from(MARKED), min_size=1)
LINE = WORDS.map(" ".join).filter(lambda line: not set(line) <= set("*_- "))
BLOCK = st.one_of(
    st.lists(LINE, min_size=1, max_size=12).map("\n".join),
    st.lists(LINE, min_size=1, max_size=40).map(lambda lines: "\n".join(f"- {line}" for line in lines)),
    st.lists(LINE, min_size=1, max_size=40).map(lambda lines: "\n".join(f"1. {line}\n   - {line}" for line in lines)),
    st.lists(LINE, min_size=1, max_size=60).map(lambda lines: "```ini\n" + "\n".join(lines) + "\n```"),
    st.lists(LINE, min_size=1, max_size=60).map(
        lambda lines: "| a | b |\n|---|---|\n" + "\n".join(f"| {line} | x |" for line in lines)
    ),
    st.lists(LINE, min_size=1, max_size=9).map(lambda lines: "\n".join(f"> {line}" for line in lines)),
    LINE.map(lambda line: f"[label]: https://example.com/{len(line)}"),
    st.sampled_from(["# Top", "## Second level", "### Third", "#### Fourth ####"]),
    st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\r\x00"), max_size=300),
)
BODY = st.lists(BLOCK, max_size=12).map("\n\n".join)


def headings(body: str) -> set[str]:
    return {line for line in body.split("\n") if line.lstrip().startswith("#")}


@settings(max_examples=150, deadline=None)
@given(st.lists(BLOCK.filter(lambda block: "\n#" not in block), max_size=12).map("\n\n".join))
def test_every_line_that_fits_lands_whole_in_a_passage(body: str) -> None:
    found = "\n".join(f"{piece.heading}\n{piece.content}" for piece in chunk("Title", body))
    for line in body.split("\n"):
        if len(line) <= TARGET // 2 and line not in headings(body) and set(line.strip()) - set("=-"):
            # A step is numbered by where it stands in its list, whatever its author wrote before it.
            assert re.sub(r"^\d+(?=[.)])", "", line.strip()) in found


@settings(max_examples=150, deadline=None)
@given(BODY)
def test_passages_are_bounded_numbered_and_the_same_each_time(body: str) -> None:
    pieces = chunk("Title", body)
    assert [piece.ordinal for piece in pieces] == list(range(len(pieces)))
    assert all(piece.content.strip() and len(piece.content) <= BOUND for piece in pieces)
    assert pieces == chunk("Title", body)


@given(st.text(alphabet="abc .", min_size=1, max_size=6000))
def test_no_letter_of_a_very_long_line_is_lost(line: str) -> None:
    joined = "".join(piece.content for piece in chunk("Title", line))
    for word in set(line.split()):
        if len(word) <= TARGET:
            assert word in joined


def test_the_path_of_headings_is_kept_and_the_title_is_not_repeated() -> None:
    long = " ".join(["Some words about it."] * 30)
    pieces = chunk("Billing", f"# Billing\n\n{long}\n\n## Invoices\n\n### Due dates\n\n{long}\n\n## Cards\n\n{long}")
    assert [piece.heading for piece in pieces] == ["", "Invoices › Due dates", "Cards"]
    assert all(piece.content == long for piece in pieces)


def test_small_sections_are_joined_under_the_headings_they_share() -> None:
    (piece,) = chunk("Billing", "## Cards\n\nAll.\n\n### Visa\n\nYes.\n\n### Amex\n\nNo.")
    assert piece.heading == "Cards"
    assert piece.content == "All.\n\n### Visa\n\nYes.\n\n### Amex\n\nNo."


def test_a_heading_with_nothing_under_it_is_a_passage() -> None:
    (piece,) = chunk("FAQ", "## Is there a free plan?")
    assert piece.content == "Is there a free plan?"


def test_an_unclosed_backtick_or_fence_loses_nothing() -> None:
    assert chunk("T", "A `broken mark.\n\n```\ncode without an end")[0].content.endswith("code without an end")


def test_a_long_fence_is_cut_between_lines_and_stays_code() -> None:
    code = "\n".join(f"setting_{number} = {number}" for number in range(200))
    pieces = chunk("T", f"```ini\n{code}\n```")
    assert len(pieces) > 1
    for piece in pieces:
        assert piece.content.startswith("```ini\n")
        assert piece.content.endswith("\n```")


def test_a_long_table_repeats_its_head() -> None:
    rows = "\n".join(f"| plan {number} | {number} EUR |" for number in range(150))
    pieces = chunk("T", f"| Plan | Price |\n|---|---|\n{rows}")
    assert len(pieces) > 1
    assert all(piece.content.startswith("| Plan | Price |\n|---|---|\n| plan") for piece in pieces)


def test_a_list_is_cut_between_items_and_deeper_items_stay_with_theirs() -> None:
    item = "1. Open the settings of the account\n   - choose the second tab and wait for it\n"
    pieces = chunk("T", item * 40)
    assert len(pieces) > 1
    assert all(piece.content.endswith("wait for it") for piece in pieces)
    # Its author let Markdown count; where it is cut, the counting goes on.
    numbers = [int(number) for piece in pieces for number in re.findall(r"^(\d+)\. ", piece.content, re.MULTILINE)]
    assert numbers == list(range(1, 41))
    assert "\n10. Open the settings of the account\n    - choose" in "\n".join(piece.content for piece in pieces)


def test_neighbours_share_whole_sentences() -> None:
    sentences = [f"Sentence number {number} says something of its own." for number in range(60)]
    paragraphs = "\n\n".join(" ".join(sentences[start : start + 6]) for start in range(0, 60, 6))
    first, second, *_ = chunk("T", paragraphs)
    shared = second.content.split("\n\n")[0]
    assert first.content.endswith(shared)
    assert shared.startswith("Sentence number")


def test_what_is_embedded_is_words_without_link_targets() -> None:
    (piece,) = chunk("Refunds", "## How\n\n- See **the [list](https://example.com/a_(b)?x=1)** of `ERR_42`.")
    assert piece.text("Refunds") == "Refunds\nHow\nSee the list of ERR_42."
    assert plain_text("keep snake_case and 2 * 3") == "keep snake_case and 2 * 3"
