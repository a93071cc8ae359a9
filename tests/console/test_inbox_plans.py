"""No list is read through, however many conversations there are: what the database did for each page is looked at."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Flask

from bench.inbox import Reader, fill, pages

COUNT = 20_000
# A page looks at a thousand conversations at most, a search at two hundred with their messages, and each of the counts
# at as many as it can show; what is small is read whole, once for each row. All messages were ten times as many.
MOST = 15_000


def test_a_page_reads_a_bounded_part_however_many_there_are(
    make_app: Callable[..., Flask], fresh_database_url: str, steps: Callable[..., list[dict[str, Any]]]
) -> None:
    fill(fresh_database_url, COUNT)
    reader = Reader(make_app(database_url=fresh_database_url))
    for name, path in pages(reader, COUNT).items():
        found = steps(reader.app, lambda path=path: reader.get(path))
        rows = sum(looked_at(step) for step in found if "Relation Name" in step or "Index Name" in step)
        assert rows < MOST, name


def looked_at(step: dict[str, Any]) -> float:
    """The rows that a step read, also those that it did not keep."""
    kept = step["Actual Rows"] + step.get("Rows Removed by Filter", 0) + step.get("Rows Removed by Index Recheck", 0)
    return float(kept * step["Actual Loops"])
