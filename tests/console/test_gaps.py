"""Questions that no article answers: gathered, listed by how much they ask, decided on, and linked to by Home."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import text

from flask_cairnloop import Actor, Operator
from flask_cairnloop.testing import run_jobs
from flask_cairnloop.upkeep.models import GapReason, GapSource
from flask_cairnloop.upkeep.service import record_gap
from tests.console.conftest import Desk
from tests.support.gaps import clear

PAGE = "/support/knowledge/gaps"
FERRET, FERRET_TOO = "Can a ferret drive the bus?", "can a ferret drive the bus"


def asked(app: Flask, at_the_desk: Callable[..., Any], question: str, who: str, **about: Any) -> None:
    actor = Actor.operator(Operator(who, who.title()))
    about = {"source": GapSource.PALETTE, "reason": GapReason.NOT_COVERED, **about}
    at_the_desk(lambda session: record_gap(session, question, actor=actor, **about))
    run_jobs(app)


@pytest.fixture
def ferret(app: Flask, at_the_desk: Callable[..., Any]) -> str:
    """The address of the one gap there is, which two people asked about."""
    at_the_desk(clear)
    asked(app, at_the_desk, FERRET, "mina")
    asked(app, at_the_desk, FERRET_TOO, "omar")
    number = at_the_desk(lambda s: s.execute(text("SELECT max(id) FROM cairnloop.gap_candidates")).scalar_one())
    return f"{PAGE}/{number}"


def version(page: str) -> str:
    found = re.search(r'name="version" value="(\d+)"', page)
    assert found is not None
    return found[1]


def test_what_was_asked_by_several_stands_on_the_page_and_home_counts_it(
    app: Flask, operator_client: FlaskClient, at_the_desk: Callable[..., Any]
) -> None:
    at_the_desk(clear)
    assert "No question goes without an answer" in operator_client.get(PAGE).get_data(as_text=True)
    asked(app, at_the_desk, "Do you ship to the moon?", "mina")
    asked(app, at_the_desk, FERRET, "mina")
    asked(app, at_the_desk, FERRET_TOO, "omar")
    page = operator_client.get(PAGE).get_data(as_text=True)
    assert re.findall(r"data-row-link[^>]*>([^<]+)<", page) == [FERRET]
    assert "2 people" in page
    assert "for how many people" in page
    home = operator_client.get("/support/").get_data(as_text=True)
    assert re.search(rf'href="{PAGE}"[^>]*><b>1</b><span>Without an answer', home)
    few = operator_client.get(f"{PAGE}?state=few").get_data(as_text=True)
    assert re.findall(r"data-row-link[^>]*>([^<]+)<", few) == ["Do you ship to the moon?"]
    assert FERRET in operator_client.get(f"{PAGE}?state=nonsense&after=x").get_data(as_text=True)


def test_a_page_of_many_is_followed_by_the_next_with_few_queries(
    app: Flask, operator_client: FlaskClient, at_the_desk: Callable[..., Any], queries: Callable[[], Any]
) -> None:
    at_the_desk(
        lambda s: s.execute(
            text(
                "INSERT INTO cairnloop.gap_candidates (state, shelf, questions, events, askers, kinds, rank, first_at,"
                " last_at, changed, by_hand, version, events_then, created_at) SELECT 'open', 'faded', 0, 2, 2, '{}',"
                " n / 7, now(), now(), 0, false, 1, 0, now() FROM generate_series(1, 60) AS n"
            )
        )
    )
    with queries() as asked_for:
        page = operator_client.get(f"{PAGE}?state=faded").get_data(as_text=True)
    assert len(asked_for) <= 9
    first = re.findall(r"data-row-link href=\"([^\"]+)\"", page)
    following = re.search(r'class="more"><a class="btn" href="([^"]+)"', page)
    assert following is not None
    page = operator_client.get(following[1].replace("&amp;", "&")).get_data(as_text=True)
    second = re.findall(r"data-row-link href=\"([^\"]+)\"", page)
    assert len(first) == 50
    assert len(set(first) | set(second)) == 60
    at_the_desk(lambda s: s.execute(text("DELETE FROM cairnloop.gap_candidates WHERE shelf = 'faded'")))


def test_its_page_shows_what_was_asked_and_takes_decisions(
    app: Flask, operator_client: FlaskClient, at_the_desk: Callable[..., Any], ferret: str, queries: Callable[[], Any]
) -> None:
    conversation = Desk(app).ask()
    asked(app, at_the_desk, "may a ferret drive the bus", "omar", conversation_id=conversation)
    with queries() as asked_for:
        page = operator_client.get(ferret).get_data(as_text=True)
    assert len(asked_for) <= 13
    assert FERRET in page
    assert f"/support/conversations/{conversation}" in page
    seen = version(page)
    answer = operator_client.post(f"{ferret}/dismiss", data={"version": seen, "reason": "not_ours", "note": "No bus"})
    assert answer.status_code == 303
    page = operator_client.get(ferret).get_data(as_text=True)
    assert "not what we support" in page
    assert "dismissed it" in page
    late = operator_client.post(f"{ferret}/accept", data={"version": seen})
    assert late.status_code == 409
    assert "since you last looked" in late.get_data(as_text=True)
    for step, form in (("reopen", {}), ("snooze", {"until": "week"}), ("assign", {"to": "me"}), ("accept", {})):
        current = version(operator_client.get(ferret).get_data(as_text=True))
        answer = operator_client.post(f"{ferret}/{step}", data={"version": current, **form})
        assert answer.status_code == 303, step
    page = operator_client.get(ferret).get_data(as_text=True)
    assert "Accepted" in page
    assert "sees to it" in page
    assert operator_client.post(f"{ferret}/snooze", data={"until": "never"}).status_code == 422
    assert operator_client.get(f"{PAGE}/999999999").status_code == 404


def test_who_may_not_edit_may_look_and_decides_nothing(make_app: Callable[..., Flask], app: Flask, ferret: str) -> None:
    reader = make_app(OPERATOR_LOADER=lambda: Operator("eda", "Eda", permissions=frozenset({"knowledge.read"})))
    client = reader.test_client()
    page = client.get(ferret).get_data(as_text=True)
    assert FERRET in page
    assert "/accept" not in page
    assert "/conversations/" not in page
    assert client.post(f"{ferret}/accept", headers={"Origin": "http://localhost"}).status_code == 403
