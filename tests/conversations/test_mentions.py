"""Colleagues named in notes: found as they are meant, told once, and only where they may read."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from flask_cairnloop import Operator, Permission, Subject
from flask_cairnloop.conversations.mentions import named
from flask_cairnloop.conversations.models import Mention, Message, MessageKind
from tests.console.conftest import Desk

TEAM = (
    Operator("mina", "Mina Keller"),
    Operator("omar", "Omar Reyes"),
    Operator("omar2", "Omar Reyes-Okafor"),
    Operator("zoë", "Zoë"),
)


def directory(query: str) -> Sequence[Operator]:
    return [one for one in TEAM if one.name.casefold().startswith(query.casefold()[:3])]


@pytest.fixture
def desk(app: Flask) -> Desk:
    return Desk(app)


@pytest.mark.parametrize(
    ("text", "people", "unknown"),
    [
        ("@Mina Keller, please", ["mina"], []),
        ("@mina keller: and (@MINA)", ["mina"], []),
        ("ask @Zoë.", ["zoë"], []),
        ("@Omar Reyes or @Omar Reyes-Okafor?", ["omar", "omar2"], []),
        ("@Omar knows", [], ["Omar"]),  # there are two
        ("@Minas are not meant", [], ["Minas"]),
        ("write to a@mina.example or x.@mina", [], []),
        ("@ nobody @@mina", [], []),
        ("@nobody", [], ["nobody"]),
    ],
)
def test_whoever_is_meant_is_found(text: str, people: list[str], unknown: list[str]) -> None:
    found = named(text, directory)
    assert ([one.id for one in found.people], list(found.unknown)) == (people, unknown)


@given(st.text(alphabet="@MinaKelerOmarys .,\n-Zoë", max_size=80))
def test_any_text_is_read_and_names_each_once(text: str) -> None:
    found = named(text, directory)
    assert len({one.id for one in found.people}) == len(found.people) <= 10
    assert "@" in text or found.people == found.unknown == ()


@given(st.lists(st.sampled_from(TEAM), max_size=5))
def test_whole_names_are_found_wherever_they_stand(people: list[Operator]) -> None:
    text = " and ".join(f"@{one.name}" for one in people)
    assert list(named(text, directory).people) == list(dict.fromkeys(people))


def note(client: FlaskClient, conversation_id: int, body: str, client_id: str = "") -> Any:
    form = {"body": body, "client_id": client_id or str(uuid.uuid4())}
    headers = {"HX-Request": "true", "HX-Request-Type": "partial", "HX-Target": "div#timeline"}
    return client.post(f"/support/conversations/{conversation_id}/note", data=form, headers=headers)


def mentions(app: Flask, conversation_id: int) -> list[str]:
    with app.app_context():
        found = select(Mention.operator_id).filter_by(conversation_id=conversation_id).order_by(Mention.id)
        return list(app.extensions["sqlalchemy"].session.scalars(found))


def test_a_note_tells_whom_it_names_once_and_the_bell_counts_until_it_is_read(
    app: Flask, desk: Desk, sign_in: Callable[[str], FlaskClient]
) -> None:
    mina, omar = sign_in("mina"), sign_in("omar")
    conversation_id, client_id = desk.ask(), str(uuid.uuid4())
    body = "@Omar Reyes, @Mina Keller wrote this; @nobody reads it"
    answer = note(mina, conversation_id, body, client_id)
    assert "Omar Reyes is told" in answer.headers["HX-Trigger"]
    assert "Nobody was told as @nobody" in answer.headers["HX-Trigger"]
    assert '<b class="at">@Omar Reyes</b>' in answer.get_data(as_text=True)
    note(mina, conversation_id, body, client_id)
    assert mentions(app, conversation_id) == ["omar"]

    def bell() -> str:
        return omar.get("/support/").get_data(as_text=True).partition('id="bell-count"')[2].partition("</span>")[0]

    assert 'data-unread="1"' in bell()
    page = omar.get("/support/mentions").get_data(as_text=True)
    assert f'/support/conversations/{conversation_id}#m2"' in page
    assert omar.post("/support/mentions/read").status_code == 303
    assert 'data-unread="0"' in bell()
    note(mina, conversation_id, "@Omar Reyes, again")
    assert 'data-unread="1"' in bell()
    omar.post(f"/support/conversations/{conversation_id}/read", data={"sequence": "3"})
    assert 'data-unread="0"' in bell()


def test_who_may_not_read_a_conversation_is_neither_offered_nor_told(
    app: Flask, make_app: Callable[..., Flask]
) -> None:
    closed: list[int] = []

    def rule(operator: Operator, _permission: Permission, subject: Subject | None) -> bool:
        return operator.id != "omar" or subject is None or subject.id not in closed

    strict = make_app(AUTHORIZE=rule)
    closed.append(conversation_id := Desk(strict).ask())
    from tests.front_door.test_routes import browser

    mina = browser(strict, HTTP_X_OPERATOR="mina")
    assert mina.get(f"/support/conversations/{conversation_id}/people?q=omar").json == []
    answer = note(mina, conversation_id, "@Omar Reyes, look")
    assert "Nobody was told as @Omar Reyes" in answer.headers["HX-Trigger"]
    assert mentions(app, conversation_id) == []
    other = Desk(strict).ask()
    assert [one["name"] for one in mina.get(f"/support/conversations/{other}/people?q=omar").json] == ["Omar Reyes"]


def test_without_a_directory_a_note_is_a_note(make_app: Callable[..., Flask]) -> None:
    from tests.front_door.test_routes import browser

    app = make_app(OPERATORS=None)
    conversation_id = Desk(app).ask()
    assert note(browser(app, HTTP_X_OPERATOR="mina"), conversation_id, "@Omar Reyes?").status_code == 200
    assert mentions(app, conversation_id) == []
    with app.app_context():
        session = app.extensions["sqlalchemy"].session
        written = select(Message.body).filter_by(conversation_id=conversation_id, kind=MessageKind.NOTE)
        assert session.scalars(written).all() == ["@Omar Reyes?"]
