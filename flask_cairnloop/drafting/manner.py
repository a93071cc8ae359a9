"""How the desk speaks: greeting, closing and name as the host configured them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from flask_cairnloop.config import Settings

GREETING: Final = "Hi {name},"
CLOSING: Final = "Does that solve it? If not, just write back here."

LONGEST: Final = 300

_NAME: Final = re.compile(r"(?P<before>[ ,]*)\{name(?:\|(?P<otherwise>[^{}|]*))?\}")
_PERSON: Final = re.compile(r"[^\W\d_][^\d_@/:<>{}\[\]]*")


@dataclass(frozen=True, slots=True)
class Manner:
    """How the host wants customers to be spoken to.

    Args:
        greeting: first line; ``{name}`` is the customer's first name, ``{name|there}`` also says what stands there for
            a customer without one. Empty: none.
        closing: last paragraph of an answer. Empty: none.
        team: who takes over when a person has to answer.
    """

    greeting: str = GREETING
    closing: str = CLOSING
    team: str = "Support"

    def greets(self, name: str | None) -> str:
        """The greeting for a customer; it reads well without a name, and without what would not be one."""
        called = first_name(name)

        def put(match: re.Match[str]) -> str:
            word = called or match["otherwise"] or ""
            return f"{match['before']}{word}" if word else ""

        line = " ".join(_NAME.sub(put, self.greeting).split()).lstrip(" ,")
        return line[:1].upper() + line[1:]


def of(settings: Settings) -> Manner:
    """As the host configured it."""
    return Manner(settings.draft_greeting, settings.draft_closing, settings.product_name)


def first_name(name: str | None) -> str:
    """How somebody is called: the first of their names, all of them after a title; nothing for a handle or address."""
    words = " ".join((name or "").split())
    if not words or not _PERSON.fullmatch(words) or len(words) > 60:
        return ""
    first = words.split()[0]
    if len(first.rstrip(".")) < 2 or first.endswith("."):
        return words if " " in words else ""
    return first.rstrip(",")


def wrong_with_greeting(line: str) -> str | None:
    """What is wrong with a configured greeting; ``None`` when nothing is."""
    rest = _NAME.sub("", line)
    if "{" in rest or "}" in rest:
        return "only {name} may stand in braces, or {name|there} with what to say without a name"
    return _wrong_with(line)


def wrong_with_closing(line: str) -> str | None:
    """What is wrong with a configured closing; ``None`` when nothing is."""
    if "{" in line or "}" in line:
        return "nothing may stand in braces: it is sent as it is"
    return _wrong_with(line)


def _wrong_with(line: str) -> str | None:
    if not line.isprintable():
        return "it must be one line"
    if re.search(r"\[\d{1,2}\]", line):
        return "a number in brackets is the mark of a source"
    return None if len(line) <= LONGEST else f"it must have at most {LONGEST} characters"
