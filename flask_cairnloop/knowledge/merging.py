"""Two drafts of an article that came of one, brought together: what each side did, and what is chosen. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from flask_cairnloop.knowledge.service import Words
from flask_cairnloop.wording import Row, paragraphs, rows


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
    began = {paragraph.strip() for paragraph in paragraphs(base)}
    return [Piece(row, _choice(row, began)) for row in rows(theirs, mine)]


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
    return Words(body=body, **kept | values)


def _texts(row: Row, side: Side) -> tuple[str, ...]:
    if row.kind == "same":
        return (row.after,)
    return {Side.THEIRS: (row.before,), Side.MINE: (row.after,), Side.BOTH: (row.before, row.after)}[side]


def _choice(row: Row, began: set[str]) -> Side | None:
    """Whose paragraph it is, if only one side touched it. ``before`` is theirs, ``after`` is mine."""
    theirs_new, mine_new = row.before.strip() not in began, row.after.strip() not in began
    match row.kind:
        case "same":
            return Side.MINE
        case "removed":  # theirs has it: they added it, or I took it out
            return Side.THEIRS if theirs_new else Side.MINE
        case "added":
            return Side.MINE if mine_new else Side.THEIRS
        case "changed":
            if theirs_new and mine_new:
                return None
            return Side.THEIRS if theirs_new else Side.MINE


def _side(value: str | None) -> Side | None:
    return Side(value) if value in set(Side) else None
