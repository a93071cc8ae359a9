"""Two drafts of an article that came of one, brought together: what each side did, and what is chosen. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from flask_cairnloop.knowledge.service import Words
from flask_cairnloop.wording import Budget, Row, row, rows


class Side(StrEnum):
    THEIRS = "theirs"  # the words that were saved meanwhile
    MINE = "mine"
    BOTH = "both"  # one after the other


@dataclass(frozen=True, slots=True)
class Piece:
    """A paragraph of theirs beside the one of mine.

    Args:
        choice: what is taken unless somebody says otherwise; ``None`` where both sides changed it.
    """

    row: Row
    choice: Side | None


@dataclass(frozen=True, slots=True)
class Difference:
    """Something that describes the article, where the two sides differ."""

    name: str
    theirs: Any
    mine: Any


def pieces(base: str, theirs: str, mine: str) -> list[Piece]:
    """Both texts paragraph by paragraph, with what each side did to what they began with.

    Args:
        base: the text that I began with; empty where it is not known: then nothing is taken out by itself.
    """
    they, me = _sides(base, theirs), _sides(base, mine)
    if not base.strip() or len(they) != len(me):  # too long for one of the comparisons
        return [Piece(each, _of_two(each)) for each in rows(theirs, mine)]
    budget = Budget()
    found: list[Piece] = []
    for (began, their_text, their_new), (_, my_text, my_new) in zip(they, me, strict=True):
        found += _brought(their_new, my_new, budget)
        if their_text is not None or my_text is not None:
            beside = row(their_text, my_text, budget)
            found.append(Piece(beside, _choice(beside, began)))
    return found


# A paragraph that both began with, what it became (``None``: taken out), and what was written before it.
_Slot = tuple[str, str | None, list[str]]


def _sides(base: str, text: str) -> list[_Slot]:
    """What one side did: a slot for each paragraph of the base, and one for the end."""
    slots: list[_Slot] = []
    new: list[str] = []
    for each in rows(base, text):
        if each.kind == "added":
            new.append(each.after)
            continue
        slots.append((each.before.strip(), None if each.kind == "removed" else each.after, new))
        new = []
    return [*slots, ("", None, new)]


def _brought(theirs: Sequence[str], mine: Sequence[str], budget: Budget) -> list[Piece]:
    """What both sides wrote in one place: all of it stays, and what is the same stays once."""
    if [text.strip() for text in theirs] == [text.strip() for text in mine]:
        return [Piece(row(text, text, budget), Side.MINE) for text in mine]
    return [
        *(Piece(row(text, None, budget), Side.THEIRS) for text in theirs),
        *(Piece(row(None, text, budget), Side.MINE) for text in mine),
    ]


def differences(theirs: Words, mine: Words) -> list[Difference]:
    """What differs beside the text."""
    names = ("title", "slug", "category", "tags", "audience", "language")
    pairs = ((name, getattr(theirs, name), getattr(mine, name)) for name in names)
    return [Difference(name, one, other) for name, one, other in pairs if one != other]


def merged(found: Sequence[Piece], theirs: Words, mine: Words, chosen: Mapping[str, str]) -> Words:
    """The article as it was chosen.

    Args:
        chosen: by ``"p0"``, ``"p1"``, ... for paragraphs and by ``"f-title"`` and so on for the rest, a :class:`Side`.
            Where nothing was chosen of what both sides changed, both stay; of what describes the article, mine.
    """
    body = ""
    for number, piece in enumerate(found):
        side = _side(chosen.get(f"p{number}")) or piece.choice or Side.BOTH
        for text in _texts(piece.row, side):
            if body and text and not body.endswith("\n\n"):
                body = body.rstrip("\n") + "\n\n"
            body += text
    values = {
        each.name: each.theirs if chosen.get(f"f-{each.name}") == Side.THEIRS else each.mine
        for each in differences(theirs, mine)
    }
    kept = {name: getattr(mine, name) for name in ("slug", "title", "category", "tags", "audience", "language")}
    return Words(body=body.strip(), **kept | values)


def _texts(row: Row, side: Side) -> tuple[str, ...]:
    if row.kind == "same":
        return (row.after,)
    return {Side.THEIRS: (row.before,), Side.MINE: (row.after,), Side.BOTH: (row.before, row.after)}[side]


def _of_two(beside: Row) -> Side | None:
    """What is taken of two texts whose beginning is not known."""
    return {"same": Side.MINE, "removed": Side.THEIRS, "added": Side.MINE, "changed": None}[beside.kind]


def _choice(beside: Row, began: str) -> Side | None:
    """Whose paragraph it is, if only one side touched it. ``before`` is theirs, ``after`` is mine."""
    their_text, my_text = beside.before.strip(), beside.after.strip()
    if their_text == began or beside.kind == "same":
        return Side.MINE
    if my_text == began:
        return Side.THEIRS
    if beside.kind == "changed":
        return None
    return Side.THEIRS if their_text else Side.MINE  # one took out what the other wrote on in: that stays


def _side(value: str | None) -> Side | None:
    return Side(value) if value in set(Side) else None
