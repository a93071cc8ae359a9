"""What differs between two texts, word by word and paragraph by paragraph. Pure, and bounded on any input.

The comparison is that of Myers, "An O(ND) Difference Algorithm and Its Variations", 1986, over paragraphs first and
then over the words of those that changed. It stops looking after a number of steps: whatever is left is then told as
taken out and put in, which is true of any two texts, only longer than need be.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal

Kind = Literal["same", "removed", "added"]
RowKind = Literal["same", "changed", "removed", "added"]

STEPS: Final = 400_000  # comparisons for a pair of texts: about a third of a second
SHORT: Final = 3  # characters: kept words no longer than this, alone between changes, are told with the changes
ALIKE: Final = 0.3  # share of words from which two paragraphs are one that was changed
AHEAD: Final = 4  # paragraphs looked through for the one that a paragraph became
MOST_ROWS: Final = 4_000  # paragraphs of both texts, beyond which each text is taken as one

_WORDS = re.compile(r"\s*\S+|\s+\Z")  # a word, with the space before it
# A paragraph with the empty lines after it, so that all of them together are the text again.
_PARAGRAPHS = re.compile(r"(?:[^\n]*\S[^\n]*(?:\n|\Z))+(?:[^\S\n]*(?:\n|\Z))*|(?:[^\S\n]*\n)+|[^\S\n]+\Z")


@dataclass(frozen=True, slots=True)
class Change:
    """A run of words that stayed, was taken out or was put in."""

    kind: Kind
    text: str


@dataclass(frozen=True, slots=True)
class Row:
    """A paragraph before and after.

    Args:
        before, after: its text, empty where it was not there.
        changes: its words in reading order, without the empty lines at its end.
    """

    kind: RowKind
    before: str
    after: str
    changes: tuple[Change, ...]

    @property
    def old(self) -> tuple[Change, ...]:
        """The words that stood there before."""
        return tuple(change for change in self.changes if change.kind != "added")

    @property
    def new(self) -> tuple[Change, ...]:
        """The words that stand there now."""
        return tuple(change for change in self.changes if change.kind != "removed")


@dataclass(slots=True)
class Budget:
    """How many steps comparisons that belong together may still take."""

    left: int = STEPS


_Step = tuple[Kind, int, int, int, int]


def changes(before: str, after: str) -> list[Change]:
    """Both texts as one, in reading order: what was taken out stands before what was put in its place."""
    return list(_words(before, after, Budget()))


def rows(before: str, after: str) -> list[Row]:
    """Two texts paragraph by paragraph, those that belong together side by side.

    The ``before`` of all rows is the first text again, and their ``after`` the second.
    """
    old, new = paragraphs(before), paragraphs(after)
    budget = Budget()
    if len(old) + len(new) > MOST_ROWS:
        return [row(before, after, budget)]
    found: list[Row] = []
    for kind, first, last, start, end in _grouped(_steps([x.strip() for x in old], [x.strip() for x in new], budget)):
        if kind == "same":
            pairs: Iterable[tuple[str | None, str | None]] = zip(old[first:last], new[start:end], strict=True)
        else:
            pairs = _paired(old[first:last], new[start:end])
        found += (row(one, other, budget) for one, other in pairs)
    return found


def paragraphs(text: str) -> list[str]:
    """A text's paragraphs, each with the empty lines that follow it: joined they are the text."""
    return _PARAGRAPHS.findall(text)


def row(old: str | None, new: str | None, budget: Budget) -> Row:
    """A paragraph beside what it became; ``None`` where it was not there."""
    if old is None or new is None:
        kind: Literal["removed", "added"] = "removed" if new is None else "added"
        return Row(kind, old or "", new or "", (Change(kind, (old or new or "").rstrip()),))
    if old.strip() == new.strip():
        return Row("same", old, new, (Change("same", new.rstrip()),))
    return Row("changed", old, new, tuple(_words(old.rstrip(), new.rstrip(), budget)))


def _paired(old: Sequence[str], new: Sequence[str]) -> Iterator[tuple[str | None, str | None]]:
    """Paragraphs of a stretch that changed: each with the one that it became, where there is one near."""
    if len(old) == len(new) == 1:
        yield old[0], new[0]
        return
    bags = [Counter(text.split()) for text in new]
    at = 0
    for text in old:
        mine = Counter(text.split())
        near = [(_likeness(mine, bags[index]), -index) for index in range(at, min(at + AHEAD, len(new)))]
        likeness, best = max(near, default=(0.0, 0))
        if likeness < ALIKE:
            yield text, None
            continue
        best = -best
        yield from ((None, skipped) for skipped in new[at:best])
        yield text, new[best]
        at = best + 1
    yield from ((None, rest) for rest in new[at:])


def _likeness(one: Counter[str], other: Counter[str]) -> float:
    """The words two texts share, as a share of all words of both."""
    total = one.total() + other.total()
    return 2 * (one & other).total() / total if total else 1.0


def _words(before: str, after: str, budget: Budget) -> Iterator[Change]:
    old, new = _WORDS.findall(before), _WORDS.findall(after)
    steps = _steps([word.strip() for word in old], [word.strip() for word in new], budget)
    for kind, first, last, start, end in _grouped(_without_crumbs(list(_grouped(steps)), new)):
        if kind == "same":
            # The first word of a text has no space before it, which it needs behind one that was taken out.
            parted = start == 0 and first > 0 and not new[0][0].isspace()
            yield Change("same", " " * parted + "".join(new[start:end]))
            continue
        if last > first:
            yield Change("removed", "".join(old[first:last]))
        if end > start:
            yield Change("added", "".join(new[start:end]))


def _without_crumbs(steps: list[_Step], words: Sequence[str]) -> Iterator[_Step]:
    """A short word that stayed between two changes only makes both harder to read."""
    for number, (kind, first, last, start, end) in enumerate(steps):
        inside = 0 < number < len(steps) - 1
        crumb = kind == "same" and inside and len("".join(words[start:end]).strip()) <= SHORT
        yield ("removed" if crumb else kind), first, last, start, end


def _grouped(steps: Iterable[_Step]) -> Iterator[_Step]:
    """Neighbouring steps of a kind as one; whatever changed in one place is one step, of the kind "removed"."""
    held: _Step | None = None
    for step, first, last, start, end in steps:
        kind: Kind = "same" if step == "same" else "removed"
        if held is not None and held[0] == kind:
            held = (kind, held[1], last, held[3], end)
            continue
        if held is not None:
            yield held
        held = (kind, first, last, start, end)
    if held is not None:
        yield held


def _steps(old: Sequence[str], new: Sequence[str], budget: Budget) -> Iterator[_Step]:
    """How to get from one list to the other."""
    shorter = min(len(old), len(new))
    head = next((n for n in range(shorter) if old[n] != new[n]), shorter)
    tail = next((n for n in range(shorter - head) if old[-1 - n] != new[-1 - n]), shorter - head)
    last, end = len(old) - tail, len(new) - tail
    if head:
        yield "same", 0, head, 0, head
    yield from _shortest(old, new, head, last, head, end, budget)
    if tail:
        yield "same", last, len(old), end, len(new)


def _shortest(
    old: Sequence[str], new: Sequence[str], first: int, last: int, start: int, end: int, budget: Budget
) -> Iterator[_Step]:
    path = _path(old[first:last], new[start:end], budget) if last > first and end > start else None
    if path is None:
        if last > first:
            yield "removed", first, last, start, start
        if end > start:
            yield "added", last, last, start, end
        return
    x = y = 0
    for to_x, to_y in path:
        moved = min(to_x - x, to_y - y)
        if to_x - x > moved:
            yield "removed", first + x, first + x + 1, start + y, start + y
            x += 1
        elif to_y - y > moved:
            yield "added", first + x, first + x, start + y, start + y + 1
            y += 1
        if moved:
            yield "same", first + x, first + to_x, start + y, start + to_y
        x, y = to_x, to_y


def _path(old: Sequence[str], new: Sequence[str], budget: Budget) -> list[tuple[int, int]] | None:
    """The ends of the steps of a shortest way, each one word out or in and then what stays; ``None`` out of budget."""
    furthest: dict[int, int] = {1: 0}
    trace: list[dict[int, int]] = []
    for edits in range(len(old) + len(new) + 1):
        budget.left -= edits + 1
        if budget.left < 0:
            return None
        trace.append(dict(furthest) if edits else {1: 0})
        budget.left -= len(furthest)
        for k in range(-edits, edits + 1, 2):
            down = k == -edits or (k != edits and furthest.get(k - 1, -1) < furthest.get(k + 1, -1))
            x = furthest[k + 1] if down else furthest[k - 1] + 1
            y = x - k
            begun = x
            while x < len(old) and y < len(new) and old[x] == new[y]:
                x, y = x + 1, y + 1
            budget.left -= x - begun
            furthest[k] = x
            if x >= len(old) and y >= len(new):
                return _walked(trace, len(old), len(new))
    return None


def _walked(trace: list[dict[int, int]], x: int, y: int) -> list[tuple[int, int]]:
    """The way back from the end to the beginning, told forwards."""
    ends = [(x, y)]
    for edits in range(len(trace) - 1, 0, -1):
        before, k = trace[edits], x - y
        down = k == -edits or (k != edits and before.get(k - 1, -1) < before.get(k + 1, -1))
        k = k + 1 if down else k - 1
        x = before[k]
        y = x - k
        ends.append((x, y))
    return ends[::-1]
