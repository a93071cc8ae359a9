"""Satisfaction in the console: asked or not by whoever resolves, seen where it was said, added up honestly."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable
from datetime import timedelta
from html import unescape
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import event, select, text
from sqlalchemy.orm import Session

from flask_cairnloop import Customer, Operator, assign, receive, resolve
from flask_cairnloop.actors import Actor
from flask_cairnloop.clock import now
from flask_cairnloop.conversations import ratings, satisfaction, service, triage
from flask_cairnloop.conversations.models import Conversation, Rating
from tests.console.conftest import Desk

MINA, OMAR = Operator("mina", "Mina Keller"), Operator("omar", "Omar Reyes")


@pytest.fixture(autouse=True)
def _nothing_before(app: Flask) -> None:
    with app.app_context(), app.extensions["sqlalchemy"].engine.begin() as connection:
        connection.execute(text("DELETE FROM cairnloop.ratings"))


def rated(session: Session, score: int | None, *, by: Operator = MINA, days: int = 0, **said: Any) -> int:
    """A conversation of this operator that was resolved, and rated so many days ago."""
    customer = Customer(f"c-{uuid.uuid4().hex[:8]}", said.pop("name", "Cleo Marsh"))
    number = receive(session, customer=customer, body="Where is it?", channel="widget").conversation_id
    assign(session, number, actor=by, assignee=by)
    if tag := said.pop("tag", None):
        triage.tag(session, number, actor=Actor.operator(by), tag_id=triage.tag_named(session, tag).id)
    resolve(session, number, actor=by)
    if score is not None:
        service.rate(session, customer=customer, conversation_id=number, rating=score, **said)
    moment = now() - timedelta(days=days)
    asked = ratings.newest(session, number)
    assert asked is not None
    asked.asked_at, asked.rated_at = moment, moment if score is not None else None
    session.commit()
    return number


def words(page: str) -> str:
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", page)).split())


@pytest.fixture
def analytics(operator_client: FlaskClient) -> Callable[..., str]:
    def read(**query: Any) -> str:
        answer = operator_client.get("/support/analytics", query_string=query)
        assert answer.status_code == 200
        return answer.text

    return read


def test_few_ratings_have_no_average_and_the_page_says_why(session: Session, analytics: Callable[..., str]) -> None:
    assert "Nobody was asked in this time" in words(analytics())
    for score in (5, 1, None):
        rated(session, score)
    page = words(analytics())
    assert "2 ratings in this time. From 5 on there is an average" in page
    assert "Asked 3 , 2 answered" in page
    assert "Average –" in page


def test_ratings_are_added_up_by_time_person_and_tag(session: Session, analytics: Callable[..., str]) -> None:
    for score in (5, 5, 4, 4, 2):
        rated(session, score, by=OMAR, tag="Parcel")
    rated(session, 3)
    rated(session, 1, days=40)
    page = words(analytics())
    assert "Average 3.8 of 5" in page
    assert "Omar Reyes 5 4.0 1" in page
    assert "Mina Keller 1 – 0" in page
    assert "Parcel 5 4.0 1" in page
    assert "Ratings 7" in words(analytics(days=90))
    for nonsense in ({"days": "0"}, {"days": "x"}, {"show": "x"}, {"after": "x"}):
        assert words(analytics(**nonsense)).count("Average 3.8 of 5") == 1


def test_comments_lead_to_their_conversation_and_may_be_the_low_ones_alone(
    session: Session, analytics: Callable[..., str]
) -> None:
    good = rated(session, 5, comment="Quick <b>", name="Good Person")
    bad = rated(session, 1, comment="Not what I asked", name="Bad Person")
    page = analytics()
    assert f'/conversations/{good}"' in page
    assert "Quick &lt;b&gt;" in page
    low = analytics(show="low")
    assert (f'/conversations/{bad}"' in low, f'/conversations/{good}"' in low) == (True, False)


def test_comments_go_on_page_by_page(
    session: Session, analytics: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(satisfaction, "COMMENTS", 2)
    for number in range(5):
        rated(session, 5, comment=f"Comment {number}", days=number)
    seen: list[str] = []
    query: dict[str, str] = {}
    for _ in range(3):
        page = analytics(**query)
        seen += re.findall(r"Comment \d", page)
        more = re.search(r"class=\"more\".*?after=([0-9-]+)", page)
        query = {"after": more[1]} if more else {}
    assert seen == [f"Comment {number}" for number in range(5)]
    assert query == {}


def test_comments_of_conversations_that_the_host_keeps_back_are_left_out(
    make_app: Callable[..., Flask], session: Session
) -> None:
    kept_back = rated(session, 1, comment="Secret")
    shown = rated(session, 1, comment="Open")
    app = make_app(AUTHORIZE=lambda operator, permission, subject: subject is None or subject.id != kept_back)
    client = app.test_client()
    page = client.get("/support/analytics", headers={"X-Operator": "mina"}).text
    assert ("Secret" in page, "Open" in page, f'/conversations/{shown}"' in page) == (False, True, True)


def test_it_is_for_those_who_may(sign_in: Callable[[str], FlaskClient]) -> None:
    assert sign_in("reader").get("/support/analytics").status_code == 403
    assert "/support/analytics" not in sign_in("reader").get("/support/inbox").text


def test_it_takes_its_number_of_queries_and_walks_the_indexes(app: Flask, session: Session) -> None:
    for score in (1, 5):
        rated(session, score, comment="Words")
    asked: list[str] = []
    engine = app.extensions["sqlalchemy"].engine
    session.rollback()
    listener = lambda conn, cursor, statement, *_: asked.append(statement)  # noqa: E731
    event.listen(engine, "before_cursor_execute", listener)
    try:
        until = now() + timedelta(minutes=1)
        satisfaction.report(session, since=until - timedelta(days=30), until=until, step=timedelta(days=1))
        satisfaction.comments(session, since=until - timedelta(days=30), until=until)
    finally:
        event.remove(engine, "before_cursor_execute", listener)
    assert len(asked) == 5
    session.execute(text("SET LOCAL enable_seqscan = off"))
    given = "score IS NOT NULL AND rated_at >= now() - interval '1 day' AND rated_at < now()"
    plan = session.scalars(text(f"EXPLAIN SELECT score FROM cairnloop.ratings WHERE {given}")).all()
    assert "Index Only Scan using ix_ratings_rated_at" in " ".join(plan)
    session.rollback()


# --- asking, where it is resolved -------------------------------------------------------------------------------------


def asked_for(session: Session, conversation_id: int) -> bool:
    session.rollback()
    return session.scalar(select(Rating.id).where(Rating.conversation_id == conversation_id)) is not None


@pytest.mark.parametrize(("usual", "other"), [(True, "quiet"), (False, "ask")])
def test_each_way_to_resolve_asks_as_the_desk_does_and_can_the_other_way(
    make_app: Callable[..., Flask], usual: bool, other: str
) -> None:
    app = make_app(ASK_FOR_RATING=usual)
    desk, client = Desk(app), app.test_client()
    headers = {"Origin": "http://localhost", "X-Operator": "mina"}

    def send(path: str, **form: str) -> None:
        answer = client.post(f"/support{path}", data=form, headers=headers)
        assert answer.status_code in (200, 303), answer.text

    with app.app_context():
        session = app.extensions["sqlalchemy"].session
        for asking, wanted in (("", usual), (other, not usual)):
            one, two, three, four = (desk.ask() for _ in range(4))
            send(f"/conversations/{one}/resolve", seen="1", asking=asking)
            then = f"resolve:{asking}" if asking else "resolve"
            words = {"body": "Here.", "seen": "1", "client_id": str(uuid.uuid4())}
            send(f"/conversations/{two}/reply", **words, then=then)
            send("/inbox/several", id=str(three), set=f"resolve:{asking}")
            macro = {"ask": "ask", "quiet": "ask_nothing", "": "resolve"}[asking]
            send(f"/conversations/{four}/reply", **(words | {"client_id": str(uuid.uuid4())}), does=macro)
            for number in (one, two, three, four):
                assert session.get_one(Conversation, number, populate_existing=True).resolved_at is not None
                assert asked_for(session, number) is wanted
        page = client.get(f"/support/conversations/{desk.ask()}", headers=headers).text
        assert f'name="asking" value="{other}"' in page
        assert f'name="then" value="resolve:{other}"' in page
        assert f'name="set" value="resolve:{other}"' in page
        session.remove()


def test_a_rating_stands_in_the_thread_the_lists_and_the_bell(session: Session, operator_client: FlaskClient) -> None:
    number = rated(session, 2, comment="Not what I asked")
    thread = words(operator_client.get(f"/support/conversations/{number}").text)
    assert "Rated 2 of 5" in thread
    assert "rated 2 of 5: “Not what I asked”" in thread
    listed = operator_client.get("/support/inbox?view=resolved").text
    row = listed[listed.index(f'id="row-{number}"') :].partition("</li>")[0]
    assert 'class="word num danger"' in row
    assert "Rated 2 of 5" in words(row).replace("Rated2", "Rated 2")
    bell = words(operator_client.get("/support/mentions").text)
    assert "Cleo Marsh" in bell
    assert "Rated the help 2 of 5" in bell
