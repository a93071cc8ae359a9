"""Finding rows by the words that stand in them: what a person types, as PostgreSQL's text search understands it.

No word is stemmed and none is left out: names, addresses and titles are found by how their words begin.
"""

from __future__ import annotations

import re
import unicodedata

MOST_WORDS = 8
LONGEST_WORD = 60
# What stands between the parts of addresses, names and numbers. PostgreSQL would keep them as one word.
BETWEEN = "@./_-+&=?#~:"

_WORD = re.compile(r"[^\W_]+")


def words_of(text: str) -> tuple[str, ...]:
    """The words of what a person typed, in their order, compared however they were written."""
    return tuple(_WORD.findall(unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())))


def beginnings(typed: str) -> str | None:
    """What to look for, as ``to_tsquery`` reads it: every word may be the beginning of one. ``None`` without a word."""
    words = _WORD.findall(unicodedata.normalize("NFC", typed))[:MOST_WORDS]
    return " & ".join(f"{word[:LONGEST_WORD]}:*" for word in words) or None


def whole(typed: str) -> str | None:
    """The same words as they stand. The database knows how common a word is, but guesses at beginnings."""
    wanted = beginnings(typed)
    return wanted and wanted.replace(":*", "")


def terms(text: str) -> str:
    """The expression by which rows are found, as SQL: word for word as an index holds it, see migration 6.

    Args:
        text: SQL as well.
    """
    return f"to_tsvector('simple', translate({text}, '{BETWEEN}', '{' ' * len(BETWEEN)}'))"
