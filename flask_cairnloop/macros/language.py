"""The language of macros: plain text in which ``{{customer.name}}`` stands for a value.

Nothing else can be said in it: no condition, no call, no escape. A value is never read as a macro again, so that a
customer who is called ``{{operator.name}}`` is called just that.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from flask_cairnloop.errors import InvalidInput

# Variable -> what it stands for, as the library page says it.
VARIABLES: Final[Mapping[str, str]] = {
    "customer.name": "The customer’s name",
    "customer.first_name": "The first word of it",
    "customer.email": "Their e-mail address",
    "customer.organization": "Their company",
    "operator.name": "Your name",
    "operator.first_name": "The first word of it",
    "conversation.id": "The conversation’s number",
    "conversation.subject": "Its subject",
}
_VARIABLE: Final = re.compile(r"\{\{[ \t]*([a-z_]+(?:\.[a-z_]+)*)[ \t]*\}\}")


@dataclass(frozen=True, slots=True)
class Variable:
    """A place in a text that a value goes into."""

    name: str

    def __str__(self) -> str:
        return f"{{{{{self.name}}}}}"


Part = str | Variable


class Unset(InvalidInput):
    """A macro needs values that are not there.

    Args:
        names: the variables without a value, in the order of the text.
    """

    def __init__(self, names: Sequence[str]) -> None:
        spoken = ", ".join(f"{{{{{name}}}}}" for name in names)
        super().__init__("body", f"There is no value for {spoken} here, so this was not used.")
        self.names = tuple(names)


def parse(text: str) -> tuple[Part, ...]:
    """A text in its parts: never two strings in a row, and never an empty one.

    Raises:
        InvalidInput: two opening braces do not begin a variable we know; the message says in which line.
    """
    parts: list[Part] = []
    end = 0
    while (start := text.find("{{", end)) >= 0:
        found = _VARIABLE.match(text, start)
        line = text.count("\n", 0, start) + 1
        if found is None:
            raise InvalidInput("body", f"Line {line}: write a variable as {{{{customer.name}}}}.")
        if found[1] not in VARIABLES:
            raise InvalidInput("body", f"Line {line}: there is no variable {{{{{found[1]}}}}}.")
        if start > end:
            parts.append(text[end:start])
        parts.append(Variable(found[1]))
        end = found.end()
    if end < len(text):
        parts.append(text[end:])
    return tuple(parts)


def missing(parts: Sequence[Part], values: Mapping[str, str | None]) -> tuple[str, ...]:
    """The variables of a text that have no value, each once."""
    names = [part.name for part in parts if isinstance(part, Variable)]
    return tuple(dict.fromkeys(name for name in names if not (values.get(name) or "").strip()))


def render(parts: Sequence[Part], values: Mapping[str, str | None]) -> str:
    """A text with its values.

    Raises:
        Unset: one of them is missing or empty.
    """
    if names := missing(parts, values):
        raise Unset(names)
    return "".join(part if isinstance(part, str) else (values[part.name] or "") for part in parts)


def left_in(text: str) -> tuple[str, ...]:
    """The variables we know that still stand in a text somebody is about to send, each once."""
    return tuple(dict.fromkeys(name for name in _VARIABLE.findall(text) if name in VARIABLES))
