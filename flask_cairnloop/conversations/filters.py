"""What a list of conversations is asked for: a state, filters and an order, as they stand in an address.

Pure: it reads what an address says and writes it back, and knows no database. What it does not understand it leaves
out, which shows more and never less.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date
from enum import StrEnum
from typing import Any, Final, Protocol

from flask_cairnloop.conversations.models import CHANNEL_LENGTH, TEAM_LENGTH, Priority
from flask_cairnloop.service_levels.targets import DueState

MOST_TAGS: Final = 5
TEXT_LENGTH: Final = 200
ID_LENGTH: Final = 200
BIGINT_MAX: Final = 2**63 - 1
DUE: Final = (DueState.SOON, DueState.BREACHED)  # what can be asked for


class View(StrEnum):
    """A work state, as the server reckons it. The value is what stands in ``?view=``."""

    WAITING = "waiting"
    NEW = "new"  # waiting, and nobody has answered yet
    DRAFT_READY = "draft_ready"
    APPROVAL = "approval"  # an action waits for a decision
    WAITING_ON_THEM = "waiting_on_them"
    SNOOZED = "snoozed"
    OPEN = "open"
    RESOLVED = "resolved"
    SPAM = "spam"
    ALL = "all"

    @classmethod
    def parse(cls, value: str | None, default: View | None = None) -> View:
        """The view of a query value. No value: ``default``; a value we do not know: everything, which hides nothing."""
        if not value:
            return default or cls.ALL
        try:
            return cls(value)
        except ValueError:
            return cls.ALL

    @property
    def is_open(self) -> bool:
        """Whether all that stands in it is open."""
        return self not in (View.RESOLVED, View.SPAM, View.ALL)

    def sorts_by(self, sort: Sort) -> bool:
        """Whether this order means something here: urgency and deadlines are of what is open, and there is an index of
        what is open alone."""
        return sort not in (Sort.PRIORITY, Sort.DUE) or (self.is_open and self is not View.SNOOZED)


class Sort(StrEnum):
    """An order. The value is what stands in ``?sort=``."""

    WAITING = "waiting"  # who waits longest; where nobody does, where least happened of late
    NEWEST = "newest"
    PRIORITY = "priority"
    DUE = "due"  # whose deadline comes first, or passed first; then what has none


class Values(Protocol):
    """What an address says, as Werkzeug's dictionaries give it."""

    def get(self, key: str, /) -> str | None: ...

    def getlist(self, key: str, /) -> list[str]: ...


@dataclass(frozen=True, slots=True)
class Filter:
    """One list.

    Args:
        assignee: ``"me"``, ``"nobody"``, an operator's id, or empty for whoever.
        tags: ids of tags that each of them bears.
        since, until: days between which somebody last wrote, both included.
        text: words that it holds, in its subject, its customer or its messages.
        due: how near its deadline is: due soon, or passed.
        sort: an order that was chosen; else the view's own.
    """

    view: View = View.WAITING
    assignee: str = ""
    team: str = ""
    tags: tuple[int, ...] = ()
    priority: Priority | None = None
    channel: str = ""
    since: date | None = None
    until: date | None = None
    text: str = ""
    due: DueState | None = None
    sort: Sort | None = None

    @classmethod
    def parse(cls, values: Values, default: View = View.WAITING) -> Filter:
        """The list that an address asks for."""
        return cls(
            view=View.parse(values.get("view"), default=default),
            assignee=_clean(values.get("assignee"), ID_LENGTH),
            team=_clean(values.get("team"), TEAM_LENGTH),
            tags=tuple(dict.fromkeys(_numbers(values.getlist("tag"))))[:MOST_TAGS],
            priority=Priority.parse(values.get("priority")),
            channel=_clean(values.get("channel"), CHANNEL_LENGTH),
            since=_day(values.get("since")),
            until=_day(values.get("until")),
            text=_clean(values.get("q"), TEXT_LENGTH),
            due=next((one for one in DUE if one.value == values.get("due")), None),
            sort=next((one for one in Sort if one.value == values.get("sort")), None),
        )

    def args(self) -> dict[str, Any]:
        """What stands in its address: parsed again, it is the same list."""
        said: dict[str, Any] = {"view": self.view.value}
        for name, value in (
            ("assignee", self.assignee),
            ("team", self.team),
            ("tag", [str(tag) for tag in self.tags]),
            ("priority", self.priority.word if self.priority else ""),
            ("channel", self.channel),
            ("since", self.since.isoformat() if self.since else ""),
            ("until", self.until.isoformat() if self.until else ""),
            ("q", self.text),
            ("due", self.due.value if self.due else ""),
            ("sort", self.sort.value if self.sort else ""),
        ):
            if value:
                said[name] = value
        return said

    @property
    def is_narrowed(self) -> bool:
        """Whether it asks for more than a state."""
        return self.bare != Filter(self.view)

    @property
    def bare(self) -> Filter:
        """The same in the view's own order."""
        return replace(self, sort=None)

    @property
    def order(self) -> Sort | None:
        """The order to show it in; ``None`` for the lists that stand in the order of their conversations."""
        if self.sort is not None:
            return self.sort if self.view.sorts_by(self.sort) else Sort.NEWEST
        if self.due is not None and self.view.sorts_by(Sort.DUE):
            return Sort.DUE
        match self.view:
            case View.WAITING | View.NEW | View.SNOOZED:
                return Sort.WAITING
            case View.DRAFT_READY | View.APPROVAL:
                return None
            case _:
                return Sort.NEWEST


def _clean(value: str | None, length: int) -> str:
    words = " ".join(unicodedata.normalize("NFC", value or "").split())
    return words[:length].strip() if words.isprintable() and words.encode(errors="ignore").decode() == words else ""


def _numbers(values: list[str]) -> Iterator[int]:
    for value in values:
        if re.fullmatch(r"[0-9]{1,19}", value, re.ASCII) and 0 < int(value) <= BIGINT_MAX:
            yield int(value)


def _day(value: str | None) -> date | None:
    if re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", value or "", re.ASCII) is None:
        return None
    try:
        day = date.fromisoformat(value or "")
    except ValueError:
        return None
    return day if 2000 <= day.year <= 2200 else None
