"""Reading the audit log: pages of it, what is newer, and everything that a filter leaves.

The log only grows, so no way to ask for something reads all of it: what a person typed becomes names of actions and
actors, numbers, and entries with such words, and each of these is read from the newest end of its own index.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from sqlalchemy import ColumnElement, Select, and_, func, select, text, tuple_, union_all
from sqlalchemy.orm import Session

from flask_cairnloop.actors import ActorKind
from flask_cairnloop.audit.models import AuditEntry, AuditText
from flask_cairnloop.database.base import quoted_schema, raw
from flask_cairnloop.database.words import beginnings
from flask_cairnloop.paging import Cursor

PAGE_SIZE: Final = 50
MOST_ACTORS: Final = 200
MOST_TEXTS: Final = 500  # newest entries whose words hold what was typed
NEWER_LIMIT: Final = 100
EXPORT_BATCH: Final = 1_000

# Loose index scans: PostgreSQL has none of its own, see https://wiki.postgresql.org/wiki/Loose_indexscan.
_ACTORS = """
WITH RECURSIVE seen AS (
    SELECT kinds.kind, first.actor_id FROM unnest(CAST(:kinds AS text[])) AS kinds (kind) CROSS JOIN LATERAL (
        SELECT actor_id FROM {schema}.audit_entries WHERE actor_kind = kinds.kind ORDER BY actor_id LIMIT 1
    ) AS first
    UNION ALL
    SELECT seen.kind, next.actor_id FROM seen CROSS JOIN LATERAL (
        SELECT actor_id FROM {schema}.audit_entries
        WHERE actor_kind = seen.kind AND actor_id > seen.actor_id ORDER BY actor_id LIMIT 1
    ) AS next
)
SELECT seen.kind, seen.actor_id, last.actor_name FROM seen CROSS JOIN LATERAL (
    SELECT actor_name FROM {schema}.audit_entries
    WHERE actor_kind = seen.kind AND actor_id = seen.actor_id ORDER BY occurred_at DESC, id DESC LIMIT 1
) AS last
LIMIT :limit
"""

_ACTIONS = """
WITH RECURSIVE seen AS (
    (SELECT action FROM {schema}.audit_entries ORDER BY action LIMIT 1)
    UNION ALL
    SELECT next.action FROM seen CROSS JOIN LATERAL (
        SELECT action FROM {schema}.audit_entries WHERE action > seen.action ORDER BY action LIMIT 1
    ) AS next
)
SELECT action FROM seen
"""


@dataclass(frozen=True, slots=True)
class ActorSeen:
    """Somebody of the team, or something automatic, that has an entry. ``name`` as they were called last."""

    kind: ActorKind
    id: str
    name: str

    @property
    def key(self) -> tuple[ActorKind, str]:
        return self.kind, self.id


@dataclass(frozen=True, slots=True)
class Typed:
    """What a person typed, and what of the log it may mean.

    Args:
        words: as they were typed.
        actions, actors: those whose name holds them.
        number: of an entry or of what one is about.
    """

    words: str = ""
    actions: frozenset[str] = frozenset()
    actors: frozenset[tuple[ActorKind, str]] = frozenset()
    number: int | None = None


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which entries. Everything narrows; what is left out does not.

    Args:
        thread: a kind of thing and its number. Of a conversation, its drafts belong to it.
        since, until: from this moment on, and before that one.
    """

    typed: Typed = field(default_factory=Typed)
    actor: tuple[ActorKind, str] | None = None
    action: str | None = None
    thread: tuple[str, int] | None = None
    since: datetime | None = None
    until: datetime | None = None

    @property
    def narrowed(self) -> bool:
        return self != Wanted()


@dataclass(frozen=True, slots=True)
class AuditPage:
    """Newest first.

    Args:
        words: what was said beside an entry, by its id, where that is not erased.
        after: where the next page starts; ``None`` on the last.
    """

    entries: list[AuditEntry]
    words: dict[int, str]
    after: Cursor | None


def audit_page(session: Session, wanted: Wanted, *, after: Cursor | None = None, limit: int = PAGE_SIZE) -> AuditPage:
    """One page of the log."""
    found = list(session.scalars(_entries(session, wanted, before=after, limit=limit + 1)))
    entries = found[:limit]
    more = Cursor(entries[-1].occurred_at, entries[-1].id) if len(found) > limit else None
    return AuditPage(entries, _words(session, entries), more)


def newer(session: Session, wanted: Wanted, than: Cursor) -> int:
    """How many entries have come since, up to ``NEWER_LIMIT``."""
    place = tuple_(AuditEntry.occurred_at, AuditEntry.id) > tuple_(than.at, than.id)
    newest = _entries(session, wanted, limit=NEWER_LIMIT, further=place).order_by(None).subquery()
    return session.scalar(select(func.count()).select_from(newest)) or 0


def everything(session: Session, wanted: Wanted) -> Iterator[tuple[AuditEntry, str | None]]:
    """All entries that are wanted, newest first, with what was said beside them, a batch in memory at a time."""
    after: Cursor | None = None
    while True:
        page = audit_page(session, wanted, after=after, limit=EXPORT_BATCH)
        yield from ((entry, page.words.get(entry.id)) for entry in page.entries)
        session.expunge_all()
        after = page.after
        if after is None:
            return


def actors(session: Session) -> list[ActorSeen]:
    """Who has entries, customers left out: they stand in the log under pseudonyms."""
    kinds = [kind.value for kind in ActorKind if kind is not ActorKind.CUSTOMER]
    rows = session.execute(raw(_ACTORS, quoted_schema(session)), {"kinds": kinds, "limit": MOST_ACTORS})
    found = [ActorSeen(ActorKind(kind), actor_id, name or actor_id) for kind, actor_id, name in rows]
    return sorted(found, key=lambda actor: (actor.kind is not ActorKind.OPERATOR, actor.name.casefold(), actor.id))


def actions(session: Session) -> list[str]:
    """Which actions have entries."""
    return list(session.scalars(raw(_ACTIONS, quoted_schema(session))))


def _entries(
    session: Session,
    wanted: Wanted,
    *,
    limit: int,
    before: Cursor | None = None,
    further: ColumnElement[bool] | None = None,
) -> Select[AuditEntry]:
    conditions = list(_conditions(wanted))
    if before is not None:
        conditions.append(tuple_(AuditEntry.occurred_at, AuditEntry.id) < tuple_(before.at, before.id))
    if further is not None:
        conditions.append(further)
    newest_first = AuditEntry.occurred_at.desc(), AuditEntry.id.desc()
    plain = select(AuditEntry).order_by(*newest_first).limit(limit)
    if not wanted.typed.words:
        return plain.where(*conditions)
    branches = [
        select(AuditEntry.id).where(branch, *conditions).order_by(*newest_first).limit(limit).subquery()
        for branch in _branches(session, wanted.typed)
    ]
    if not branches:
        return plain.where(text("false"))
    ids = union_all(*(select(branch.c.id) for branch in branches)).subquery()
    return plain.where(AuditEntry.id.in_(select(ids.c.id)))


def _conditions(wanted: Wanted) -> Iterator[ColumnElement[bool]]:
    if wanted.actor is not None:
        kind, actor_id = wanted.actor
        yield AuditEntry.actor_kind == kind
        yield AuditEntry.actor_id == actor_id
    if wanted.action is not None:
        yield AuditEntry.action == wanted.action
    if wanted.since is not None:
        yield AuditEntry.occurred_at >= wanted.since
    if wanted.until is not None:
        yield AuditEntry.occurred_at < wanted.until
    if wanted.thread is not None:
        kind_of, number = wanted.thread
        itself = and_(AuditEntry.subject_type == kind_of, AuditEntry.subject_id == number)
        if kind_of == "conversation":
            inside = and_(
                AuditEntry.data.has_key("conversation_id"),  # the condition of the index
                AuditEntry.data["conversation_id"].astext == str(number),
            )
            yield itself | inside
        else:
            yield itself


def _branches(session: Session, typed: Typed) -> Iterator[ColumnElement[bool]]:
    """Each meaning of what was typed, as a condition that one index answers."""
    for action in sorted(typed.actions):
        yield AuditEntry.action == action
    for kind, actor_id in sorted(typed.actors):
        yield and_(AuditEntry.actor_kind == kind, AuditEntry.actor_id == actor_id)
    if typed.number is not None:
        yield AuditEntry.id == typed.number
        for kind_of in _subjects(session):
            yield and_(AuditEntry.subject_type == kind_of, AuditEntry.subject_id == typed.number)
    query = beginnings(typed.words)
    if query is not None:
        spoken = (
            select(AuditText.entry_id)
            .where(func.to_tsvector(text("'simple'"), AuditText.words).op("@@")(func.to_tsquery("simple", query)))
            .order_by(AuditText.entry_id.desc())
            .limit(MOST_TEXTS)
        )
        yield AuditEntry.id.in_(spoken.subquery().select())


def _subjects(session: Session) -> list[str]:
    """Kinds of things that entries are about."""
    statement = _ACTIONS.replace("action", "subject_type")
    return list(session.scalars(raw(statement, quoted_schema(session))))


def _words(session: Session, entries: Iterable[AuditEntry]) -> dict[int, str]:
    ids = [entry.id for entry in entries if entry.text_digest is not None]
    if not ids:
        return {}
    rows = session.execute(select(AuditText.entry_id, AuditText.words).where(AuditText.entry_id.in_(ids)))
    return {entry_id: words for entry_id, words in rows}  # noqa: C416 - rows are no pairs to mypy
