"""What an operator changed of a proposed text, word by word, and how much of it.

Neither takes long, whatever the texts: one is reckoned under the conversation's lock, the other for a page.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Final, Literal

# Up to here two stretches of text are compared word by word: words of each, and pairs of equal words between them.
# Time grows with the product of both. Two letters of 600 words have about 4,000 pairs; nobody reads longer differences.
MOST_WORDS: Final = 600
MOST_PAIRS: Final = 10_000

_WORDS = re.compile(r"\s*\S+")  # a word, with the space before it


@dataclass(frozen=True, slots=True)
class Change:
    """A run of words that stayed, was taken out or was put in."""

    kind: Literal["same", "removed", "added"]
    text: str


def share_changed(proposed: str, sent: str) -> float:
    """How much of a text was changed: the share of both texts' words that the other has not. Moving words is no change.

    Returns:
        0 (the same words) to 1 (no word kept).
    """
    # Order would take time that grows with the square of the length and more, and the conversation is locked.
    return 1 - SequenceMatcher(None, proposed.split(), sent.split(), autojunk=False).quick_ratio()


def changes(proposed: str, sent: str) -> list[Change]:
    """Both texts as one, in reading order: what was taken out stands before what was put in its place.

    Where very much lies between the first change and the last, all of it counts as replaced.
    """
    return list(_runs(_WORDS.findall(proposed), _WORDS.findall(sent)))


def _runs(before: list[str], after: list[str]) -> Iterator[Change]:
    for step, first, last, start, end in _steps([word.strip() for word in before], [word.strip() for word in after]):
        if step == "equal":
            yield Change("same", "".join(after[start:end]))
            continue
        if last > first:
            yield Change("removed", "".join(before[first:last]))
        if end > start:
            yield Change("added", "".join(after[start:end]))


_Step = tuple[str, int, int, int, int]


def _steps(before: list[str], after: list[str]) -> Iterator[_Step]:
    """How to get from one text to the other, as :meth:`difflib.SequenceMatcher.get_opcodes` says it."""
    shorter = min(len(before), len(after))
    head = next((n for n in range(shorter) if before[n] != after[n]), shorter)
    tail = next((n for n in range(shorter - head) if before[-1 - n] != after[-1 - n]), shorter - head)
    last, end = len(before) - tail, len(after) - tail
    if head:
        yield "equal", 0, head, 0, head
    for step, *(a, b, c, d) in _between(before[head:last], after[head:end]):
        yield step, head + a, head + b, head + c, head + d
    if tail:
        yield "equal", last, len(before), end, len(after)


def _between(before: list[str], after: list[str]) -> list[_Step]:
    """The same for what lies between the ends that both share."""
    if not before and not after:
        return []
    counts = Counter(after)
    if max(len(before), len(after)) > MOST_WORDS or sum(counts[word] for word in before) > MOST_PAIRS:
        return [("replace", 0, len(before), 0, len(after))]
    return list(SequenceMatcher(None, before, after, autojunk=False).get_opcodes())
