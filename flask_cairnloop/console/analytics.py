"""How the desk does: what customers said of the help, over time and by who helped."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, time, timedelta
from typing import Final

from flask import Blueprint, request
from werkzeug.wrappers import Response

from flask_cairnloop.console.access import reading, requires, visible
from flask_cairnloop.console.rendering import page, times
from flask_cairnloop.context import current
from flask_cairnloop.conversations import satisfaction
from flask_cairnloop.conversations.satisfaction import FEW, Report, Tally
from flask_cairnloop.hooks import Permission
from flask_cairnloop.paging import Cursor

# What can be looked at: days, what it is called, and days of one bar.
TIMES: Final = {7: ("7 days", 1), 30: ("30 days", 1), 90: ("90 days", 7), 365: ("A year", 28)}
USUAL: Final = 30
HIGH: Final = 96  # units of the chart's height


def register(blueprint: Blueprint) -> None:
    blueprint.add_url_rule("/analytics", "analytics", analytics)


@dataclass(frozen=True, slots=True)
class Bar:
    """One step of a time, as the chart draws it: parts from below, as (tone, height, y)."""

    begins: datetime
    tally: Tally
    parts: tuple[tuple[str, float, float], ...]


@requires(Permission.ANALYTICS_READ, Permission.CONVERSATIONS_READ)
def analytics() -> Response:
    """Ratings of a time: how many of each, over time, by person and by tag, and what was said beside them."""
    days = days_asked()
    here = times()
    tomorrow = datetime.combine(here.now.astimezone(here.zone).date() + timedelta(days=1), time(), here.zone)
    since, step = tomorrow - timedelta(days=days), timedelta(days=TIMES[days][1])
    only_low = request.args.get("show") == "low"
    up_to = current().settings.low_rating if only_low else 5
    with reading() as session:
        report = satisfaction.report(session, since=since, until=tomorrow, step=step)
        after = Cursor.parse(request.args.get("after"))
        found = satisfaction.comments(session, since=since, until=tomorrow, up_to=up_to, after=after)
    more = found[satisfaction.COMMENTS - 1].rating if len(found) > satisfaction.COMMENTS else None
    rows = found[: satisfaction.COMMENTS]
    shown = list(visible(rows, Permission.CONVERSATIONS_READ, "conversation", lambda said: said.conversation.id))
    return page(
        "analytics.html",
        days=days,
        choices={number: words for number, (words, _) in TIMES.items()},
        report=report,
        bars=_bars(report, current().settings.low_rating),
        high=HIGH,
        few=FEW,
        only_low=only_low,
        comments=shown,
        left_out=len(shown) < len(rows),
        more=Cursor(more.rated_at, more.id) if more is not None and more.rated_at is not None else None,
    )


def days_asked() -> int:
    """The time that was asked for, in days."""
    chosen = request.args.get("days", "")
    return int(chosen) if chosen in map(str, TIMES) else USUAL


def _bars(report: Report, low: int) -> list[Bar]:
    """Bars of ratings: the low ones, those in between, and 4 and 5, on top of each other."""
    most = max((span.tally.count for span in report.spans), default=0) or 1
    bars = []
    for span in report.spans:
        bad = span.tally.up_to(low)
        good = sum(span.tally.scores[max(low, 3) :])
        parts, y = [], float(HIGH)
        for tone, count in (("good", good), ("middle", span.tally.count - good - bad), ("bad", bad)):
            height = round(count / most * HIGH, 2)
            y -= height
            if count:
                parts.append((tone, height, round(y, 2)))
        bars.append(Bar(span.begins, span.tally, tuple(parts)))
    return bars
