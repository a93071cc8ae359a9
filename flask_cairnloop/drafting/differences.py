"""What an operator changed of a proposed text, word by word, and how much of it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Final, Literal

# Pairs of equal words between two texts, above which they are not compared block by block: two real messages of 2,000
# words have about 40,000, and a text that says one word over and over would take minutes.
MOST_PAIRS: Final = 100_000

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
        Ratcliff and Metzener, "Pattern Matching: The Gestalt Approach", 1988, over words; of texts that repeat
        themselves endlessly, their common beginning and end.
    """
    before, after = proposed.split(), sent.split()
    kept = sum(last - first for step, first, last, _, _ in _steps(before, after) if step == "equal")
    total = len(before) + len(after)
    return 1 - 2 * kept / total if total else 0.0


def changes(proposed: str, sent: str) -> list[Change]:
    """Both texts as one, in reading order: what was taken out stands before what was put in its place."""
    return list(_runs(_WORDS.findall(proposed), _WORDS.findall(sent)))


def _runs(before: list[str], after: list[str]) -> Iterator[Change]:
    steps = _steps([word.strip() for word in before], [word.strip() for word in after])
    for step, first, last, start, end in steps:
        if step == "equal":
            yield Change("same", "".join(after[start:end]))
            continue
        if last > first:
            yield Change("removed", "".join(before[first:last]))
        if end > start:
            yield Change("added", "".join(after[start:end]))


_Step = tuple[str, int, int, int, int]


def _steps(before: list[str], after: list[str]) -> Sequence[_Step]:
    """How to get from one text to the other, as :meth:`difflib.SequenceMatcher.get_opcodes` says it."""
    counts = Counter(after)
    if sum(counts[word] for word in before) > MOST_PAIRS:
        return list(_by_ends(before, after))
    return SequenceMatcher(None, before, after, autojunk=False).get_opcodes()


def _by_ends(before: list[str], after: list[str]) -> Iterator[_Step]:
    shorter = min(len(before), len(after))
    head = next((n for n in range(shorter) if before[n] != after[n]), shorter)
    tail = next((n for n in range(shorter - head) if before[-1 - n] != after[-1 - n]), shorter - head)
    last, end = len(before) - tail, len(after) - tail
    if head:
        yield "equal", 0, head, 0, head
    if last > head or end > head:
        yield "replace", head, last, head, end
    if tail:
        yield "equal", last, len(before), end, len(after)
