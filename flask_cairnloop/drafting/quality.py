"""How drafts do: taken as they stood, changed, thrown away and why, and how soon; by engine and by article.

A draft counts in the time in which its making began, whenever it was decided: so the numbers of a time add up.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from sqlalchemy import BigInteger, ColumnElement, Row, Select, case, cast, func, select, true
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Session

from flask_cairnloop.database.base import word
from flask_cairnloop.drafting.ledger import VENDORS
from flask_cairnloop.drafting.models import Draft, DraftState
from flask_cairnloop.drafting.service import DISCARD_REASONS
from flask_cairnloop.drafting.types import DraftKind

# Engines by the beginning of the names that drafts keep, for where only a few words are allowed.
FAMILIES: Final[Mapping[str, str]] = {"deterministic": "built_in", **{vendor: vendor for vendor in VENDORS}}
OTHER_FAMILY: Final = "own"
_CITED: Final = word("$[*].article_id")


@dataclass(frozen=True, slots=True)
class Quality:
    """What became of a group of drafts.

    Args:
        made: all of them. Those not named by another number still wait for a decision.
        escalated: how many handed over to a person instead of proposing words; they count below as well.
        approved: sent by an operator as they stood.
        automatic: sent because the policy allowed it.
        edited: sent with changes.
        discarded: thrown away, by reason.
        superseded: set aside because the conversation moved on.
        withheld: denied by the policy.
        changed: median share of words that was changed in those edited; ``None`` where none was.
        median, ninetieth: seconds from ready to an operator's decision; ``None`` where there was none.
    """

    made: int = 0
    escalated: int = 0
    approved: int = 0
    automatic: int = 0
    edited: int = 0
    discarded: Mapping[str, int] = field(default_factory=dict)
    superseded: int = 0
    withheld: int = 0
    changed: float | None = None
    median: float | None = None
    ninetieth: float | None = None

    @property
    def thrown_away(self) -> int:
        return sum(self.discarded.values())

    @property
    def waiting(self) -> int:
        decided = self.approved + self.automatic + self.edited + self.thrown_away
        return self.made - decided - self.superseded - self.withheld


@dataclass(frozen=True, slots=True)
class Figures:
    """The same by the engine that wrote them, and by the articles that they cite."""

    engines: Mapping[str, Quality]
    articles: Mapping[int, Quality]


def figures(session: Session, *, since: datetime, until: datetime) -> Figures:
    """How the drafts of a time did. Two queries.

    Args:
        since, until: from the one moment, up to the other without it.
    """
    return Figures(by_engine(session, since=since, until=until), by_article(session, since=since, until=until))


def by_engine(session: Session, *, since: datetime, until: datetime, families: bool = False) -> dict[str, Quality]:
    """By engine; one that was not written to the end has none and is left out. One query.

    Args:
        families: by the few words of :data:`FAMILIES` instead of by name.
    """
    key: Any = _family() if families else Draft.engine
    return _grouped(session, _of(key, since, until).group_by(key))


def by_article(session: Session, *, since: datetime, until: datetime) -> dict[int, Quality]:
    """By cited article; a draft that cites several counts for each. One query."""
    numbers = func.jsonb_path_query(Draft.citations, _CITED, type_=JSONB).column_valued("number")
    cited = select(cast(numbers, BigInteger).label("article_id")).distinct().lateral("cited")
    key = cited.c.article_id
    return _grouped(session, _of(key, since, until).join(cited, true()).group_by(key))


def of_article(session: Session, article_id: int, *, since: datetime, until: datetime) -> Quality:
    """Of the drafts that cite one article. One query."""
    cited = func.jsonb_path_query_array(Draft.citations, _CITED, type_=JSONB)
    found = session.execute(_of(word(""), since, until).where(cited.contains([article_id]))).one()
    return _quality(found)


def _of(key: ColumnElement[Any], since: datetime, until: datetime) -> Select[Any]:
    """The numbers of :class:`Quality`, not grouped yet."""
    alone = (Draft.state == DraftState.APPROVED) & Draft.decided_by.startswith("policy:")
    seconds = func.extract("epoch", Draft.decided_at - Draft.ready_at)
    by_operator = Draft.decided_at.is_not(None) & ~alone
    return select(
        key.label("key"),
        func.count().label("made"),
        _count(Draft.kind == DraftKind.ESCALATION, "escalated"),
        _count((Draft.state == DraftState.APPROVED) & ~alone, "approved"),
        _count(alone, "automatic"),
        _count(Draft.state == DraftState.EDITED, "edited"),
        *(
            _count((Draft.state == DraftState.DISCARDED) & (Draft.decision_reason == reason), f"discarded_{reason}")
            for reason in DISCARD_REASONS
        ),
        _count(Draft.state == DraftState.SUPERSEDED, "superseded"),
        _count(Draft.state == DraftState.WITHHELD, "withheld"),
        _percentile(0.5, Draft.changed, Draft.state == DraftState.EDITED, "changed"),
        _percentile(0.5, seconds, by_operator, "median"),
        _percentile(0.9, seconds, by_operator, "ninetieth"),
    ).where(Draft.created_at >= since, Draft.created_at < until, Draft.engine.is_not(None))


def _family() -> ColumnElement[str]:
    known = ((Draft.engine.startswith(start), word(family)) for start, family in FAMILIES.items())
    return case(*known, else_=word(OTHER_FAMILY))


def _count(which: ColumnElement[bool], name: str) -> Any:
    return func.count().filter(which).label(name)


def _percentile(share: float, of: Any, which: ColumnElement[bool], name: str) -> Any:
    return func.percentile_cont(share).within_group(of).filter(which).label(name)


def _grouped(session: Session, statement: Select[Any]) -> dict[Any, Quality]:
    return {row.key: _quality(row) for row in session.execute(statement.order_by("key"))}


def _quality(row: Row[Any]) -> Quality:
    values = dict(row._mapping)
    values.pop("key")
    counted = {reason: values.pop(f"discarded_{reason}") for reason in DISCARD_REASONS}
    return Quality(**values, discarded={reason: count for reason, count in counted.items() if count})
