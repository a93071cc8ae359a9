"""Questions that no article answered: counted, listed, and linked to by Home."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from flask import Flask
from flask.testing import FlaskClient

from flask_cairnloop import Actor, Operator
from flask_cairnloop.upkeep.models import GapReason, GapSource
from flask_cairnloop.upkeep.service import record_gap
from tests.console.conftest import Desk

PAGE = "/support/knowledge/gaps"


def asked(at_the_desk: Callable[..., Any], question: str, who: str, **about: Any) -> None:
    actor = Actor.operator(Operator(who, who.title()))
    about = {"source": GapSource.PALETTE, "reason": GapReason.NOT_COVERED, **about}
    at_the_desk(lambda session: record_gap(session, question, actor=actor, **about))


def test_what_is_asked_most_stands_first_and_home_counts_the_questions(
    app: Flask, operator_client: FlaskClient, at_the_desk: Callable[..., Any]
) -> None:
    assert "No question went without an answer" in operator_client.get(PAGE).get_data(as_text=True)
    conversation = Desk(app).ask()
    asked(at_the_desk, "Do you ship to the moon?", "mina")
    asked(at_the_desk, "Can a ferret drive the bus?", "mina")
    asked(at_the_desk, "can a ferret drive the bus", "omar", conversation_id=conversation)
    page = operator_client.get(PAGE).get_data(as_text=True)
    assert re.findall(r'class="gq">([^<]+)<', page) == ["can a ferret drive the bus", "Do you ship to the moon?"]
    assert "by 2 people" in page
    assert f"/support/conversations/{conversation}" in page
    home = operator_client.get("/support/").get_data(as_text=True)
    assert re.search(rf'href="{PAGE}"[^>]*><b>2</b><span>Without an answer', home)


def test_who_may_not_see_a_conversation_is_not_led_there(
    make_app: Callable[..., Flask], at_the_desk: Callable[..., Any], app: Flask
) -> None:
    conversation = Desk(app).ask()
    asked(at_the_desk, "What is beside this?", "mina", conversation_id=conversation)
    editor = make_app(OPERATOR_LOADER=lambda: Operator("eda", "Eda", permissions=frozenset({"knowledge.read"})))
    page = editor.test_client().get(PAGE).get_data(as_text=True)
    assert "What is beside this?" in page
    assert f"/conversations/{conversation}" not in page
