"""What an operator changed of a proposed text, word by word, and how much of it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Literal

_WORDS = re.compile(r"\s*\S+")  # a word, with the space before it


@dataclass(frozen=True, slots=True)
class Change:
    """A run of words that stayed, was taken out or was put in."""

    kind: Literal["same", "removed", "added"]
    text: str


def share_changed(proposed: str, sent: str) -> float:
    """How much of a text was changed: the words that were taken out or put in, as a share of all words of both texts.

    Returns:
        0 (the same words in the same order) to 1 (no word kept). What is kept are the longest matching blocks after
        Ratcliff and Metzener, "Pattern Matching: The Gestalt Approach", 1988, over words.
    """
    return 1 - _compared(proposed.split(), sent.split()).ratio()


def changes(proposed: str, sent: str) -> list[Change]:
    """Both texts as one, in reading order: what was taken out stands before what was put in its place."""
    before, after = _WORDS.findall(proposed), _WORDS.findall(sent)
    compared = _compared([word.strip() for word in before], [word.strip() for word in after])
    return list(_runs(before, after, compared))


def _runs(before: list[str], after: list[str], compared: SequenceMatcher[str]) -> Iterator[Change]:
    for step, first, last, start, end in compared.get_opcodes():
        if step == "equal":
            yield Change("same", "".join(after[start:end]))
            continue
        if last > first:
            yield Change("removed", "".join(before[first:last]))
        if end > start:
            yield Change("added", "".join(after[start:end]))


def _compared(before: list[str], after: list[str]) -> SequenceMatcher[str]:
    return SequenceMatcher(None, before, after, autojunk=False)
