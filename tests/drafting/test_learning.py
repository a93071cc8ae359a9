"""What answers teach: a question answered once is found first the next time in other words, until it is forgotten."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator

import pytest
from flask import Flask
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from flask_cairnloop import Customer, Operator, receive, reopen, reply, resolve, search
from flask_cairnloop.actors import Actor
from flask_cairnloop.drafting import service
from flask_cairnloop.drafting.lifecycle import LEARN_DISCARD
from flask_cairnloop.drafting.models import Draft, DraftState
from flask_cairnloop.drafting.types import DraftKind
from flask_cairnloop.jobs import enqueue
from flask_cairnloop.knowledge.models import Article, ArticleState, Audience
from flask_cairnloop.knowledge.service import archive, publish, save_article
from flask_cairnloop.privacy.service import forget
from flask_cairnloop.retrieval import memory
from flask_cairnloop.retrieval.grounding import assess
from flask_cairnloop.retrieval.models import PastAnswer, PastQuestion, ResolvedCase
from flask_cairnloop.retrieval.types import SearchResults
from flask_cairnloop.testing import run_jobs

MINA = Actor.operator(Operator("mina", "Mina Keller"))
LAMP = "The lamp of the reading desk stays dark when I press the round switch below it"
IN_OTHER_WORDS = "pressing the round switch under my reading desk gives no light from its lamp"

ALIKE = "Opening the reading room"

Write = Callable[..., Article]


@pytest.fixture
def write(app: Flask, session: Session) -> Write:
    """Publish an article and index it."""

    def make(title: str, body: str, **about: object) -> Article:
        slug = f"{uuid.uuid4().hex[:8]}"
        article = save_article(session, slug=slug, title=title, body=body, actor=MINA, **about)  # type: ignore[arg-type]
        publish(session, article.id, actor=MINA)
        session.commit()
        run_jobs(app)
        return article

    return make


def asked(session: Session, customer: Customer, body: str) -> int:
    message = receive(session, customer=customer, body=body, channel="widget")
    session.commit()
    return message.conversation_id


def answered_with(app: Flask, session: Session, customer: Customer, body: str, article: Article) -> int:
    """Ask, and send a reply that rests on an article."""
    conversation_id = asked(session, customer, body)
    reply(session, conversation_id, actor=MINA, body=f"Please see {article.source_url}.")
    session.commit()
    run_jobs(app)
    return conversation_id


def titles(results: SearchResults) -> list[str]:
    return [passage.title for passage in results.passages]


@pytest.fixture
def fuse(session: Session, write: Write) -> Iterator[Article]:
    """An article that is worded unlike how people ask for it, beside one that is worded more alike."""
    other = write(ALIKE, "The reading room opens at nine. Its lights go out at ten in the evening.")
    address = f"https://help.example/{uuid.uuid4()}"
    article = write("Fuse F3", "When there is no light, replace fuse F3 in the board.", source_url=address)
    yield article
    session.rollback()
    for each in (other, article):
        if session.get_one(Article, each.id).state is ArticleState.PUBLISHED:
            archive(session, each.id, actor=MINA)
    session.commit()


def test_a_question_answered_once_is_found_first_in_other_words_until_its_customer_is_forgotten(
    app: Flask, session: Session, customer: Customer, fuse: Article
) -> None:
    assert titles(search(session, IN_OTHER_WORDS))[0] == ALIKE
    answered_with(app, session, customer, LAMP, fuse)
    found = search(session, IN_OTHER_WORDS)
    assert titles(found)[0] == "Fuse F3"
    best = found.passages[0]
    assert (best.memory_rank, best.answered) == (1, 1)
    assert best.parts["memory"] > 0

    forget(session, customer.ref, actor=MINA)
    session.commit()
    after = search(session, IN_OTHER_WORDS)
    assert titles(after)[0] == ALIKE
    assert after.answered == 0


def test_what_an_approved_draft_cited_is_learned(
    app: Flask, session: Session, customer: Customer, write: Write
) -> None:
    article = write("Resetting the brass gauge", "To reset the brass gauge, hold the brass button for ten seconds.")
    question = "How do I reset the brass gauge?"
    conversation_id = asked(session, customer, question)
    run_jobs(app)
    draft = session.scalars(select(Draft).where(Draft.conversation_id == conversation_id)).one()
    assert draft.state is DraftState.READY
    service.approve(session, draft.id, actor=MINA)
    session.commit()
    run_jobs(app)
    (view,), count = memory.views(session, article.id)
    assert (view.question, view.conversation_id, count) == (question, conversation_id, 1)


def test_words_are_redacted_before_they_are_kept(
    app: Flask, session: Session, customer: Customer, fuse: Article
) -> None:
    person = Customer(customer.ref, "Ottilie Brandt", "ottilie@brandt.example")
    words = "I am Ottilie, write to ottilie@brandt.example or call +49 30 901820. The lamp is dark, code E-77"
    conversation_id = answered_with(app, session, person, words, fuse)
    reply(session, conversation_id, actor=MINA, body="Done, Ottilie.")
    resolve(session, conversation_id, actor=MINA)
    session.commit()
    run_jobs(app)
    past = session.scalars(select(PastQuestion).where(PastQuestion.conversation_id == conversation_id)).one()
    case = session.get_one(ResolvedCase, conversation_id)
    kept = f"{past.question} {case.title} {case.resolution}"
    assert not {"ottilie", "brandt", "901820"} & set(kept.lower().replace("@", " ").replace(",", " ").split())
    assert "E-77" in kept


def test_an_archived_article_never_answers_however_often_it_did(
    app: Flask, session: Session, customer: Customer, fuse: Article
) -> None:
    answered_with(app, session, customer, LAMP, fuse)
    archive(session, fuse.id, actor=MINA)
    session.commit()
    run_jobs(app)
    found = search(session, LAMP)
    assert "Fuse F3" not in titles(found)
    assert found.missed > 0  # what answered it is gone: nothing published answers it now


def test_an_internal_article_is_never_brought_to_a_customer_by_memory(
    app: Flask, session: Session, customer: Customer, write: Write
) -> None:
    secret = write(
        "Fuse F9, staff only", "Fuse F9 is in the cellar.", audience=Audience.INTERNAL, source_url="https://h.example/9"
    )
    answered_with(app, session, customer, LAMP, secret)
    assert "Fuse F9, staff only" in titles(search(session, IN_OTHER_WORDS))
    assert "Fuse F9, staff only" not in titles(search(session, IN_OTHER_WORDS, audience=Audience.PUBLIC))


def test_an_operator_can_say_that_it_did_not_answer_and_take_that_back(
    app: Flask, session: Session, customer: Customer, fuse: Article
) -> None:
    answered_with(app, session, customer, LAMP, fuse)
    (view,), _ = memory.views(session, fuse.id)
    memory.reject(session, fuse.id, view.answer_id, actor=MINA)
    memory.reject(session, fuse.id, view.answer_id, actor=MINA)  # saying it twice is saying it once
    session.commit()
    assert titles(search(session, IN_OTHER_WORDS))[0] == ALIKE
    memory.restore(session, fuse.id, view.answer_id, actor=MINA)
    session.commit()
    assert titles(search(session, IN_OTHER_WORDS))[0] == "Fuse F3"


def test_a_customer_weighs_once_however_often_they_ask(app: Flask, session: Session, fuse: Article) -> None:
    one, other = (Customer(f"weigh-{uuid.uuid4().hex}", "A") for _ in range(2))
    answered_with(app, session, one, LAMP, fuse)
    once = search(session, IN_OTHER_WORDS).passages[0].parts["memory"]
    answered_with(app, session, one, LAMP, fuse)
    assert search(session, IN_OTHER_WORDS).passages[0].parts["memory"] == pytest.approx(once, abs=1e-3)
    answered_with(app, session, other, LAMP, fuse)
    assert search(session, IN_OTHER_WORDS).passages[0].parts["memory"] > once + 0.05


def test_a_resolved_case_assists_is_no_evidence_and_goes_on_reopen(
    app: Flask, session: Session, customer: Customer
) -> None:
    words = "My violet teapot hums a low tone whenever the kitchen window is open"
    conversation_id = asked(session, customer, words)
    reply(session, conversation_id, actor=MINA, body="Turn its lid by a quarter: it only hums when the lid is loose.")
    resolve(session, conversation_id, actor=MINA)
    session.commit()
    run_jobs(app)
    found = search(session, words)
    assert found.cases[0].conversation_id == conversation_id
    assert all("teapot" not in passage.content for passage in found.passages)
    ((case, similarity),) = memory.cases(session, found.cases[:1])
    assert "quarter" in case.resolution
    assert similarity > 0.9

    reopen(session, conversation_id, actor=MINA)
    session.commit()
    assert conversation_id not in [case.conversation_id for case in search(session, words).cases]
    assert memory.cases(session, found.cases[:1]) == []


def test_questions_that_no_article_answered_keep_the_next_one_from_being_claimed(
    app: Flask, session: Session, write: Write
) -> None:
    write("Payouts", "Payouts arrive on the second working day of a month in the account you chose.")
    question = "When do payouts arrive in the account I chose?"
    before = assess(question, search(session, question))
    for number in range(3):
        person = Customer(f"missed-{number}-{uuid.uuid4().hex}", "A")
        conversation_id = asked(session, person, question)
        reply(session, conversation_id, actor=MINA, body="We looked into it and sent it again.")
        resolve(session, conversation_id, actor=MINA)
        session.commit()
        run_jobs(app)
    after = assess(question, search(session, question))
    assert before.score > 0.6 > after.score
    assert after.reason == "unanswered_before"


def test_a_question_of_ours_is_no_answer(app: Flask, session: Session, customer: Customer) -> None:
    conversation_id = asked(session, customer, "It does not work, please help")
    run_jobs(app)
    draft = session.scalars(select(Draft).where(Draft.conversation_id == conversation_id)).one()
    assert draft.kind is DraftKind.CLARIFICATION
    service.approve(session, draft.id, actor=MINA)
    session.commit()
    run_jobs(app)
    assert session.scalar(select(PastQuestion.id).where(PastQuestion.conversation_id == conversation_id)) is None


@pytest.fixture
def discarded(
    app: Flask, session: Session, customer: Customer, write: Write
) -> Iterator[Callable[[str], tuple[int, Article]]]:
    """``discarded(reason)``: a grounded reply thrown away for a reason; its conversation, and the article it cited.

    What that taught is forgotten again: the next test asks the same.
    """
    articles: list[Article] = []

    def make(reason: str) -> tuple[int, Article]:
        words = "To bleed the copper valve, open its screw for ten seconds."
        article = write("Bleeding the copper valve", words, source_url=f"https://help.example/{uuid.uuid4()}")
        articles.append(article)
        conversation_id = asked(session, customer, "How do I bleed the copper valve?")
        run_jobs(app)
        draft = session.scalars(select(Draft).where(Draft.conversation_id == conversation_id)).one()
        assert (draft.state, draft.kind) == (DraftState.READY, DraftKind.REPLY)
        service.discard(session, draft.id, actor=MINA, reason=reason)
        session.commit()
        run_jobs(app)
        return conversation_id, article

    yield make
    session.rollback()
    forget(session, customer.ref, actor=MINA)
    for article in articles:
        archive(session, article.id, actor=MINA)
    session.commit()


def learned(session: Session, conversation_id: int) -> list[tuple[int, int]]:
    """Of each question kept of a conversation: where it stands, and how many articles answered it."""
    asked = (
        select(PastQuestion.sequence, func.count(PastAnswer.id))
        .outerjoin(PastAnswer, PastAnswer.question_id == PastQuestion.id)
        .where(PastQuestion.conversation_id == conversation_id)
        .group_by(PastQuestion.sequence)
        .order_by(PastQuestion.sequence)
    )
    return [(row[0], row[1]) for row in session.execute(asked)]


@pytest.mark.parametrize(
    ("reason", "kept"),
    [("wrong", [(1, 0)]), ("incomplete", [(1, 0)]), ("tone", []), ("not_needed", []), ("other", [])],
)
def test_a_draft_that_did_not_answer_makes_its_question_one_that_no_article_answers(
    session: Session, discarded: Callable[[str], tuple[int, Article]], reason: str, kept: list[tuple[int, int]]
) -> None:
    conversation_id, _ = discarded(reason)
    assert learned(session, conversation_id) == kept
    if kept:
        (question,) = session.scalars(
            select(PastQuestion.question).where(PastQuestion.conversation_id == conversation_id)
        )
        assert search(session, question).missed > 0


@pytest.mark.parametrize("wrote_again", [False, True])
def test_an_answer_that_cites_an_article_after_all_takes_that_back(
    app: Flask,
    session: Session,
    customer: Customer,
    discarded: Callable[[str], tuple[int, Article]],
    wrote_again: bool,
) -> None:
    conversation_id, article = discarded("incomplete")
    if wrote_again:
        receive(session, customer=customer, body="And how long?", channel="widget", conversation_id=conversation_id)
    reply(session, conversation_id, actor=MINA, body=f"Please see {article.source_url}.")
    enqueue(session, LEARN_DISCARD, newest_discard(session, conversation_id))  # it may come late, and twice
    session.commit()
    run_jobs(app)
    assert learned(session, conversation_id) == [(2 if wrote_again else 1, 1)]


def newest_discard(session: Session, conversation_id: int) -> dict[str, int]:
    draft_id = session.scalars(
        select(Draft.id).where(Draft.conversation_id == conversation_id, Draft.state == DraftState.DISCARDED)
    ).one()
    return {"conversation_id": conversation_id, "draft_id": draft_id}
