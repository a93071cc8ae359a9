"""Citation marks in a draft's text: ``[1]`` after the sentence it supports. They are for the operator only.

A mark is a number that the draft cites, in brackets, after a space or at the start of a line; marks may follow each
other directly. Everything else in brackets, such as ``items[0]`` or a footnote of the article, is the text's own.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator

from flask_cairnloop.drafting.types import Proposal

_RUN = re.compile(r"(?:(?<=\S)[ \t]+|^[ \t]*)((?:\[\d{1,2}\])+)", re.MULTILINE)


def find(body: str, numbers: Collection[int]) -> Iterator[tuple[int, int, list[int]]]:
    """Where marks stand: start, end and the numbers, in order. The space before belongs to them.

    Args:
        numbers: those that the draft cites.
    """
    for run in _RUN.finditer(body):
        marked = [int(number) for number in re.findall(r"\d+", run[1])]
        if all(number in numbers for number in marked):
            yield run.start(), run.end(), marked


def sent(proposal: Proposal) -> str:
    """A proposal's text as the customer would read it."""
    return without(proposal.body, {citation.number for citation in proposal.citations})


def without(body: str, numbers: Collection[int]) -> str:
    """The text as the customer reads it."""
    kept, end = [], 0
    for start, stop, _ in find(body, numbers):
        kept.append(body[end:start])
        end = stop
    text = "".join([*kept, body[end:]])
    return "\n".join(line.rstrip() for line in text.split("\n")).strip()
