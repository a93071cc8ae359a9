"""Presenters are total: whatever a row holds, a person reads calm words."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flask_cairnloop.console import presenters
from flask_cairnloop.console.knowledge import anchored
from flask_cairnloop.console.presenters import Times
from flask_cairnloop.console.rendering import zone_named
from flask_cairnloop.knowledge.rendering import render

NOW = datetime(2026, 3, 10, 12, 0, tzinfo=UTC)
TIMES = Times(NOW, UTC)


@pytest.mark.parametrize(
    ("age", "words"),
    [
        (timedelta(seconds=-5), "now"),
        (timedelta(seconds=59), "now"),
        (timedelta(minutes=31), "31m"),
        (timedelta(hours=5, minutes=59), "5h"),
        (timedelta(days=3), "3d"),
        (timedelta(days=50), "7w"),
        (timedelta(days=800), "2y"),
    ],
)
def test_how_long_ago(age: timedelta, words: str) -> None:
    assert TIMES.ago(NOW - age) == words


def test_days_are_those_of_the_reader() -> None:
    late = datetime(2026, 3, 9, 23, 30, tzinfo=UTC)
    assert TIMES.day(late) == "Yesterday"
    assert Times(NOW, ZoneInfo("Europe/Helsinki")).day(late) == "Today"
    assert TIMES.day(datetime(2025, 11, 19, tzinfo=UTC)) == "Wednesday 19 November 2025"
    assert TIMES.stamp(datetime(2025, 11, 19, tzinfo=UTC)) == "19 Nov 2025"
    assert TIMES.full(NOW) == "Tuesday 10 March 2026, 12:00 UTC"
    assert {TIMES.ago(None), TIMES.day(None), TIMES.stamp(None), TIMES.clock(None), TIMES.full(None)} == {"–"}


@pytest.mark.parametrize("name", [None, "", "Nowhere/City", "../../etc/passwd", "Europe", "x" * 200, "\x00", "%2Fetc"])
def test_a_zone_that_is_none_is_utc(name: str | None) -> None:
    assert zone_named(name) is UTC
    assert str(zone_named("Europe%2FBerlin")) == "Europe/Berlin"


@pytest.mark.parametrize(
    ("waiting", "drafts", "words"),
    [
        (None, None, "The queue could not be counted"),
        (0, 0, "Nobody is waiting for an answer"),
        (1, 0, "One customer is waiting for an answer"),
        (3, 1, "Three customers are waiting, one draft is ready to check"),
        (12, 11, "12 customers are waiting, 11 drafts are ready to check"),
        (1000, None, "999+ customers are waiting for an answer"),
    ],
)
def test_the_headline_is_made_of_the_counts(waiting: int | None, drafts: int | None, words: str) -> None:
    assert presenters.headline(waiting, drafts) == words
    assert presenters.count(None) == "–"


@given(st.text(max_size=200))
def test_any_text_is_a_person_and_a_line(text: str) -> None:
    person = presenters.person(text)
    assert person.name
    assert 1 <= len(person.initials) <= 6
    assert 1 <= person.tint <= 4
    words = str(presenters.linkified(text))
    assert "<script" not in words
    assert "<" not in words.replace("<a ", "").replace("</a>", "")


def test_addresses_become_links_and_nothing_else_does() -> None:
    words = str(presenters.linkified('See https://a.example/x?y=1&z="q". javascript:alert(1) <b>'))
    assert '<a href="https://a.example/x?y=1&amp;z=' in words
    assert words.count("<a ") == 1
    assert "&lt;b&gt;" in words


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=200)
@given(JSON, st.text(max_size=100))
def test_any_snapshot_gives_sources_and_text(stored: object, body: str) -> None:
    sources = presenters.sources(stored)
    presenters.pieces(body, {source.number for source in sources})


def test_marks_become_numbers_only_where_a_source_is() -> None:
    cut = presenters.pieces("Yes. [1] Array[2] stays.\n\nSecond [9]", {1})
    assert cut == (
        (("text", "Yes."), ("cite", "1"), ("text", " Array[2] stays.")),
        (("text", "Second [9]"),),
    )


def test_a_source_link_meets_the_heading_it_was_made_for() -> None:
    html = anchored(render("Start\n\n## By *e-mail* & phone\n\nWords\n\n## By e-mail & phone\n\n# <i>x</i>"))
    fragment = presenters.passage_fragment("Account › By e-mail & phone", "**Bold** first")
    assert fragment == "#section-by-e-mail-phone"
    assert str(html).count(f'id="{fragment[1:]}"') == 1
