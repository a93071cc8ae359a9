"""Who may find what: one condition, inside every lane's query, never a filter after it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection

from flask_cairnloop.database.base import quoted_schema, raw
from flask_cairnloop.knowledge.models import Audience

# Of an article.
ALLOWED: Final = """articles.state = 'published'
        AND (CAST(:audience AS text) IS NULL OR articles.audience = :audience)
        AND (CAST(:tags AS text[]) IS NULL OR articles.tags && CAST(:tags AS text[]))"""

# Of published articles, by their published words only.
VISIBLE: Final = """
    FROM {schema}.chunks
    JOIN {schema}.revisions ON revisions.id = chunks.revision_id AND revisions.state = 'published'
    JOIN {schema}.articles ON articles.id = chunks.article_id AND {allowed}
""".replace("{allowed}", ALLOWED)

# The same for the article of an outer row: its published words. `LIMIT` keeps the planner from joining whole tables.
PUBLISHED: Final = """
    SELECT revisions.id AS revision_id
    FROM {schema}.revisions JOIN {schema}.articles ON articles.id = revisions.article_id AND {allowed}
    WHERE revisions.state = 'published' AND revisions.article_id = {article} LIMIT 1
""".replace("{allowed}", ALLOWED)

_NAMES: Final = """
    SELECT articles.id AS article_id, revisions.id AS revision_id, revisions.title
    FROM {schema}.articles
    JOIN {schema}.revisions ON revisions.article_id = articles.id AND revisions.state = 'published'
    WHERE articles.id = ANY(CAST(:ids AS bigint[])) AND {allowed}
""".replace("{allowed}", ALLOWED)


@dataclass(frozen=True, slots=True)
class Scope:
    """Whose articles a search may find.

    Args:
        audience: only articles for these readers; all when left out.
        tags: only articles with one of these tags; all when left out, none when empty.
    """

    audience: Audience | None = None
    tags: Collection[str] | None = None

    @property
    def is_empty(self) -> bool:
        """Whether nothing can be found."""
        return self.tags is not None and not self.tags

    def values(self) -> dict[str, Any]:
        """What the condition's parameters stand for."""
        return {
            "audience": self.audience.value if self.audience else None,
            "tags": None if self.tags is None else sorted(self.tags),
        }


@dataclass(frozen=True, slots=True)
class Name:
    """What an article is called now, and the revision that says so."""

    title: str
    revision_id: int


def names(connection: Connection, article_ids: Collection[int], scope: Scope) -> dict[int, Name]:
    """Those of some articles that may be shown now, and what they are called now. One query at most."""
    if not article_ids or scope.is_empty:
        return {}
    values = {"ids": list(article_ids), **scope.values()}
    rows = connection.execute(raw(_NAMES, quoted_schema(connection)), values)
    return {row.article_id: Name(row.title, row.revision_id) for row in rows}
