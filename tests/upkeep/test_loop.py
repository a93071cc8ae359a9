"""From a miss to a published answer, and back to the same question: the whole way, with the offline model."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import select
from sqlalchemy.orm import Session

from flask_cairnloop import Actor, Customer, Operator, receive, reply, resolve
from flask_cairnloop.clock import now
from flask_cairnloop.drafting.models import Draft
from flask_cairnloop.drafting.types import DraftKind
from flask_cairnloop.knowledge.models import Article, Revision
from flask_cairnloop.knowledge.service import Words, archive, publish, save_article
from flask_cairnloop.retrieval.types import Strength
from flask_cairnloop.testing import run_jobs
from flask_cairnloop.upkeep import queries, suggestions
from flask_cairnloop.upkeep.board import board
from flask_cairnloop.upkeep.models import CandidateState, GapCandidate, HistoryKind, Shelf
from flask_cairnloop.upkeep.suggestion_models import (
    ArticleSuggestion,
    SuggestionKind,
    SuggestionQuestion,
    SuggestionState,
)
from tests.support.gaps import clear

DAY, WEEK = timedelta(days=1), timedelta(days=7)
MINA, OMAR = Operator("mina", "Mina Keller"), Operator("omar", "Omar Reyes")
SHELF = {
    "kettle-descale": (
        "Descale the kettle",
        "Limescale makes the kettle slow and loud.\n\n1. Fill the kettle with water and two spoons of citric acid.\n"
        "2. Boil it and leave it for half an hour.\n3. Rinse it twice.",
    ),
    "kettle-lid": (
        "The lid of the kettle does not close",
        "A lid that does not close is mostly blocked by scale at the hinge. Clean the hinge with a soft brush.",
    ),
    "parcel-late": (
        "A parcel is late",
        "Parcels take two to four working days. After five days we ask the carrier, and send a new one at no cost.",
    ),
    "invoice-copy": (
        "A copy of an invoice",
        "Open Account, then Invoices, and choose Download beside the invoice. It is a PDF with your address.",
    ),
}
QUESTIONS = (
    "How can I pair my kettle with the phone app over Bluetooth?",
    "Pairing the kettle with my phone over Bluetooth does not work. How is it done?",
    "How do I connect the kettle to the phone app by Bluetooth?",
)
ANSWER = (
    "Hi Ada,\n\nto pair the kettle with the phone app, hold its power button for five seconds until the light blinks "
    "blue. Then open the app, choose Add a kettle, and pick the kettle from the Bluetooth list within one minute.\n\n"
    "Best,\nMina"
)


@pytest.fixture
def desk(make_app: Callable[..., Flask]) -> Iterator[Flask]:
    app = make_app()
    with app.app_context():
        session = app.extensions["sqlalchemy"].session
        clear(session)
        for article in session.scalars(select(Article).where(Article.state == "published", Article.slug.not_in(SHELF))):
            archive(session, article.id, actor=Actor.system("test"))  # what another test has written
        for slug, (title, body) in SHELF.items():
            article = save_article(session, slug=slug, title=title, body=body, actor=Actor.system("test"))
            if article.state.value == "draft":
                publish(session, article.id, actor=Actor.system("test"))
        session.commit()
        session.remove()
    run_jobs(app)
    return app


def within(app: Flask, work: Callable[[Session], Any]) -> Any:
    with app.app_context(), Session(app.extensions["cairnloop"].engine, expire_on_commit=False) as session:
        found = work(session)
        session.commit()
    run_jobs(app)
    return found


def ask(app: Flask, ref: str, words: str) -> int:
    message = within(
        app, lambda session: receive(session, customer=Customer(ref, name="Ada Lark"), body=words, channel="widget")
    )
    return int(message.conversation_id)


def draft_of(app: Flask, conversation_id: int) -> Draft:
    newest = select(Draft).where(Draft.conversation_id == conversation_id).order_by(Draft.id.desc()).limit(1)
    found: Draft = within(app, lambda session: session.scalars(newest).one())
    return found


def missed(app: Flask) -> tuple[int, list[int]]:
    """Three customers ask what no article answers; an operator answers two of them by hand."""
    conversations = [ask(app, f"loop-{number}", words) for number, words in enumerate(QUESTIONS)]
    for conversation_id in conversations[:2]:
        within(app, lambda session, number=conversation_id: reply(session, number, body=ANSWER, actor=MINA))
        within(app, lambda session, number=conversation_id: resolve(session, number, actor=MINA))
    rows = within(app, lambda session: queries.listed(session, Shelf.ASKING, now()).rows)
    assert len(rows) == 1, [row.label for row in rows]
    return int(rows[0].candidate.id), conversations


def suggestion(app: Flask, suggestion_id: int) -> ArticleSuggestion:
    found: ArticleSuggestion = within(app, lambda session: session.get_one(ArticleSuggestion, suggestion_id))
    return found


def test_a_question_that_nothing_answered_becomes_an_article_that_answers_it(desk: Flask) -> None:
    candidate_id, conversations = missed(desk)
    assert draft_of(desk, conversations[0]).kind is not DraftKind.REPLY

    asked = within(desk, lambda session: suggestions.request(session, candidate_id=candidate_id, actor=MINA))
    written = suggestion(desk, asked.id)
    assert (written.state, written.kind) == (SuggestionState.PENDING, SuggestionKind.ARTICLE)
    assert {source["conversation_id"] for source in written.sources if source["kind"] == "case"} == set(
        conversations[:2]
    )
    assert "hold its power button for five seconds" in written.body
    assert all("Ada" not in source["content"] for source in written.sources)
    assert within(desk, lambda session: session.get_one(GapCandidate, candidate_id)).state is CandidateState.ACCEPTED

    words = Words("", "Pair the kettle with the phone app over Bluetooth", written.body, tags=("kettle",))
    within(desk, lambda session: suggestions.edit(session, asked.id, words, actor=OMAR, seen=written.version))
    within(desk, lambda session: suggestions.approve(session, asked.id, actor=MINA))
    published = within(desk, lambda session: suggestions.publish(session, asked.id, actor=MINA))
    assert published.state is SuggestionState.PUBLISHED

    done = suggestion(desk, asked.id)
    assert done.asked_again_at is not None
    assert (done.answered_before, done.answered_after) == (0, done.asked)
    rows = within(
        desk,
        lambda session: session.scalars(
            select(SuggestionQuestion).where(SuggestionQuestion.suggestion_id == asked.id)
        ).all(),
    )
    assert {(row.after, row.place) for row in rows} == {(Strength.STRONG, 1)}
    assert all(row.before is not Strength.STRONG for row in rows)
    candidate = within(desk, lambda session: session.get_one(GapCandidate, candidate_id))
    assert (candidate.state, candidate.shelf) == (CandidateState.ANSWERED, Shelf.ANSWERED)
    history = within(desk, lambda session: queries.detail(session, candidate_id, now()).history)
    assert [step.kind for step in history][:3] == [HistoryKind.ANSWERED, HistoryKind.PUBLISHED, HistoryKind.SUGGESTED]

    shown = within(desk, lambda session: board(session, since=now() - WEEK, until=now() + DAY, step=DAY))
    (effect,) = shown.publications
    assert (effect.suggestion.id, effect.title) == (asked.id, "Pair the kettle with the phone app over Bluetooth")
    assert (effect.suggestion.answered_before, effect.suggestion.answered_after, effect.since) == (0, done.asked, 0)
    assert (shown.total.asked, shown.total.answered) == (3, 0)
    assert [(each.candidate_id, each.asked, each.before) for each in shown.unanswered] == [(candidate_id, 5, 0)]
    page = desk.test_client().get("/support/analytics/knowledge?days=7", headers={"X-Operator": "mina"})
    assert page.status_code == 200
    assert "Pair the kettle with the phone app over Bluetooth" in page.text

    again = draft_of(desk, ask(desk, "loop-later", QUESTIONS[0]))
    assert again.kind is DraftKind.REPLY
    assert {citation["article_id"] for citation in again.citations} == {done.article_id}


def test_a_revision_changes_what_it_says_and_nothing_else(desk: Flask) -> None:
    candidate_id, _ = missed(desk)
    target = within(desk, lambda session: session.scalars(select(Article).where(Article.slug == "kettle-lid")).one())
    asked = within(
        desk,
        lambda session: suggestions.request(
            session,
            candidate_id=candidate_id,
            actor=MINA,
            kind=SuggestionKind.REVISION,
            article_id=target.id,
        ),
    )
    written = suggestion(desk, asked.id)
    base = within(desk, lambda session: session.get_one(Revision, written.base_revision_id))
    assert written.kind is SuggestionKind.REVISION
    assert written.body.startswith(base.body)
    assert "power button" in written.body.removeprefix(base.body)


def test_asking_twice_leads_to_the_same_suggestion(desk: Flask) -> None:
    candidate_id, _ = missed(desk)
    first = within(desk, lambda session: suggestions.request(session, candidate_id=candidate_id, actor=MINA))
    second = within(desk, lambda session: suggestions.request(session, candidate_id=candidate_id, actor=OMAR))
    assert first.id == second.id


def test_a_conversation_is_followed_to_the_article_that_was_missing(desk: Flask) -> None:
    conversation_id = ask(desk, "loop-fix", QUESTIONS[0])
    within(desk, lambda session: reply(session, conversation_id, body=ANSWER, actor=MINA))
    mina = desk.test_client()
    mina.environ_base.update(HTTP_X_OPERATOR="mina", HTTP_ORIGIN="http://localhost")
    page = f"/support/conversations/{conversation_id}"
    assert mina.post(f"{page}/suggest").status_code == 303
    assert "An article is being suggested" in mina.get(page).text
    run_jobs(desk)
    shown = mina.get(page).text
    assert "An article is suggested" in shown
    (number,) = re.findall(r'id="fix-(\d+)"', shown)
    review = f"/support/knowledge/reviews/{number}"
    assert "hold its power button" in mina.get(review).text
    # The way into the editor leads back to where the operator came from.
    opened = mina.post(f"{review}/hand-off", data={"conversation": conversation_id}, follow_redirects=True)
    assert f'href="{page}" aria-label="Leave the editor"' in opened.text

    within(desk, lambda session: suggestions.approve(session, int(number), actor=OMAR))
    assert "Omar Reyes approved it. It is not published yet." in mina.get(page).text
    within(desk, lambda session: suggestions.publish(session, int(number), actor=OMAR))
    shown = mina.get(page).text
    assert "The article is published" in shown
    assert "Asked again, the question is answered now." in shown
