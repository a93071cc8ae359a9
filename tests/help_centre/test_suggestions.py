"""Articles that the chat names while a customer writes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import select
from sqlalchemy.orm import Session

from flask_cairnloop import Actor, Customer
from flask_cairnloop.knowledge.models import Article, Audience
from flask_cairnloop.knowledge.service import publish, save_article
from flask_cairnloop.testing import run_jobs
from tests.help_centre.test_pages import stranger
from tests.support.host import verifier

SOMEONE = Actor.system("test")
WORDS = "How do I true a bent wheel?"


@pytest.fixture(scope="module")
def config(config: dict[str, Any]) -> dict[str, Any]:
    return {**config, "HELP_URL_PREFIX": "/help"}


@pytest.fixture(autouse=True)
def _articles(app: Flask, at_the_desk: Callable[..., Any]) -> None:
    def write(session: Session) -> None:
        if session.scalar(select(Article.id).where(Article.slug == "wheels")) is not None:
            return  # an earlier test of the module has written them
        spokes = "Turn the spoke nipples a quarter turn at a time."
        for slug, title, body, audience in (
            ("wheels", "True a bent wheel", spokes, Audience.PUBLIC),
            ("wheels-inside", "True a bent wheel", f"{spokes} Ask Jo.", Audience.INTERNAL),
            ("hours", "Opening hours", "We are here from nine to six, except on Sundays.", Audience.PUBLIC),
        ):
            made = save_article(
                session, slug=slug, title=title, body=body, tags=["open"], audience=audience, actor=SOMEONE
            )
            publish(session, made.id, actor=SOMEONE)

    at_the_desk(write)
    run_jobs(app)


def offered(app: Flask, customer: Customer, text: str = WORDS) -> list[dict[str, str]]:
    with app.app_context():
        token = verifier.issue(customer)
    frames = [{"type": "join", "token": token, "conversation": None, "after": None}, {"type": "suggest", "text": text}]
    joined, said = stranger(app).post("/support/widget/messages", json=frames).json
    assert (joined["type"], said["type"]) == ("joined", "suggestions")
    return list(said["articles"])


def test_what_answers_is_offered_before_there_is_a_conversation(app: Flask, customer: Customer) -> None:
    assert offered(app, customer) == [{"title": "True a bent wheel", "slug": "wheels"}]
    assert offered(app, customer, "Who won the football final in Lisbon last year?") == []


def test_a_customer_is_offered_only_what_they_may_see(make_app: Callable[..., Flask], customer: Customer) -> None:
    assert offered(make_app(ARTICLE_SCOPE=lambda _: ["open"], HELP_TAGS=["open"]), customer) != []
    assert offered(make_app(ARTICLE_SCOPE=lambda _: ["members"], HELP_TAGS=["open"]), customer) == []
    assert offered(make_app(ARTICLE_SCOPE=lambda _: ["open"]), customer) == []


def test_nothing_is_offered_where_it_is_off_or_too_much_is_asked(
    make_app: Callable[..., Flask], customer: Customer
) -> None:
    assert offered(make_app(WIDGET_SUGGESTIONS=False), customer) == []
    assert offered(make_app(HELP_URL_PREFIX=""), customer) == []
    limited = make_app(RATE_LIMITS={"searches": "1/minute"})
    somebody = Customer(f"{customer.ref}-2", "Ada")
    assert [bool(offered(limited, somebody)) for _ in range(2)] == [True, False]
