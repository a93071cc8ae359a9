"""How the knowledge base does: what it answers, what it does not, and what came of writing for it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, time, timedelta

from flask import Blueprint
from werkzeug.wrappers import Response

from flask_cairnloop.console.access import reading, requires
from flask_cairnloop.console.analytics import HIGH, TIMES, days_asked
from flask_cairnloop.console.rendering import page, times
from flask_cairnloop.hooks import Permission
from flask_cairnloop.upkeep.board import FEWEST, SETTLED, Board, Span, board


def register(blueprint: Blueprint) -> None:
    blueprint.add_url_rule("/analytics/knowledge", "knowledge_board", knowledge_board)


@dataclass(frozen=True, slots=True)
class Bar:
    """One step of a time, as the chart draws it: parts from below, as (tone, height, y)."""

    span: Span
    parts: tuple[tuple[str, float, float], ...]


@requires(Permission.ANALYTICS_READ, Permission.KNOWLEDGE_READ)
def knowledge_board() -> Response:
    """What the articles answered in a time, what they did not, and the effect of what was published."""
    days = days_asked()
    here = times()
    tomorrow = datetime.combine(here.now.astimezone(here.zone).date() + timedelta(days=1), time(), here.zone)
    since, step = tomorrow - timedelta(days=days), timedelta(days=TIMES[days][1])
    with reading() as session:
        found = board(session, since=since, until=tomorrow, step=step)
    return page(
        "knowledge_board.html",
        days=days,
        choices={number: words for number, (words, _) in TIMES.items()},
        board=found,
        bars=_bars(found),
        high=HIGH,
        fewest=FEWEST,
        settled=SETTLED.days,
    )


def _bars(found: Board) -> list[Bar]:
    most = max((span.asked for span in found.spans), default=0) or 1
    bars = []
    for span in found.spans:
        parts, y = [], float(HIGH)
        for tone, count in zip(("good", "middle", "bad"), (span.answered, span.partly, span.unanswered), strict=True):
            height = round(count / most * HIGH, 2)
            y -= height
            if count:
                parts.append((tone, height, round(y, 2)))
        bars.append(Bar(span, tuple(parts)))
    return bars
