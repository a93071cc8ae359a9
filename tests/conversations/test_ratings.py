"""What customers think of the help: asked where somebody wants it, changed for a while, and a low one is heard once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from flask_cairnloop import Customer, Operator, assign, receive, reopen, reply, resolve
from flask_cairnloop.actors import Actor
from flask_cairnloop.audit.models import AuditEntry
from flask_cairnloop.clock import now
from flask_cairnloop.conversations import bulk, ratings, sending, service
from flask_cairnloop.conversations.models import (
    Conversation,
    ConversationStatus,
    EventName,
    Mention,
    Message,
    RatedVia,
    Rating,
)
from flask_cairnloop.conversations.queries import timeline
from flask_cairnloop.errors import CustomerForgotten, IllegalTransition, InvalidInput, RatingClosed
from flask_cairnloop.hooks import ResolvedEvent
from flask_cairnloop.privacy.service import export, forget
from flask_cairnloop.testing import frozen, run_jobs

MINA, OMAR = Operator("mina", "Mina Keller"), Operator("omar", "Omar Reyes")


def answered(session: Session, customer: Customer, **keys: Any) -> Conversation:
    """A conversation that Mina has answered and resolved."""
    conversation = receive(session, customer=customer, body="Where is it?", channel="widget").conversation
    reply(session, conversation.id, actor=MINA, body="Here.")
    resolve(session, conversation.id, actor=MINA, **keys)
    session.commit()
    return conversation


def rate(session: Session, customer: Customer, conversation: Conversation, score: int, **keys: Any) -> Rating:
    service.rate(session, customer=customer, conversation_id=conversation.id, rating=score, **keys)
    session.commit()
    return of(session, conversation)


def of(session: Session, conversation: Conversation) -> Rating:
    found = ratings.newest(session, conversation.id)
    assert found is not None
    return found


def told(session: Session, conversation: Conversation) -> list[str]:
    """Whom the bell has told of it."""
    return list(session.scalars(select(Mention.operator_id).where(Mention.conversation_id == conversation.id)))


def turns(session: Session, conversation: Conversation) -> list[EventName]:
    rows = select(Message.event).where(Message.conversation_id == conversation.id, Message.event.is_not(None))
    return [event for event in session.scalars(rows.order_by(Message.sequence)) if event is not None]


# --- asking -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("usual", "asks", "asked"), [(True, None, 1), (True, False, 0), (False, None, 0), (False, True, 1)]
)
def test_whoever_resolves_decides_whether_to_ask(
    make_app: Callable[..., Flask], customer: Customer, usual: bool, asks: bool | None, asked: int
) -> None:
    with make_app(ASK_FOR_RATING=usual).app_context():
        from flask_cairnloop.context import current

        session = current().session()
        conversation = answered(session, customer, asks=asks)
        rows = select(func.count()).select_from(Rating).where(Rating.conversation_id == conversation.id)
        assert session.scalar(rows) == asked
        assert (conversation.rating_until is not None) is bool(asked)
        if not asked:
            with pytest.raises(RatingClosed, match="No rating is asked for"):
                service.rate(session, customer=customer, conversation_id=conversation.id, rating=5)
        session.rollback()
        session.close()


def test_each_resolution_is_asked_about_and_rated_by_itself(session: Session, customer: Customer) -> None:
    conversation = answered(session, customer)
    first = rate(session, customer, conversation, 4, comment="Quick")
    reply(session, conversation.id, actor=MINA, body="One more thing")
    session.commit()
    with pytest.raises(IllegalTransition):
        rate(session, customer, conversation, 5)
    session.rollback()
    resolve(session, conversation.id, actor=OMAR)
    session.commit()
    assert conversation.rating is None
    second = rate(session, customer, conversation, 5)
    assert second.id != first.id
    assert (first.score, first.comment, second.score, second.comment) == (4, "Quick", 5, None)
    assert (first.resolver_id, second.resolver_id) == ("mina", "omar")
    view = timeline(session, conversation.id, "mina")
    assert view.comments == {first.resolution: "Quick", second.resolution: None}


def test_with_a_reply_that_waits_and_with_several_at_once(app: Flask, session: Session, customer: Customer) -> None:
    conversation = receive(session, customer=customer, body="Where is it?", channel="widget").conversation
    sending.send_reply(
        session, conversation.id, actor=MINA, body="Here.", seen=conversation.last_sequence, resolves=True, asks=False
    )
    session.commit()
    run_jobs(app)
    session.refresh(conversation)
    assert (conversation.status, conversation.rating_until) == (ConversationStatus.RESOLVED, None)
    reopen(session, conversation.id, actor=MINA)
    done = bulk.do(session, [conversation.id], bulk.Step(bulk.Does.RESOLVE, asks=True), actor=Actor.operator(MINA))
    session.commit()
    assert conversation.rating_until is not None
    assert done.step_id is not None
    bulk.undo(session, done.step_id, actor=Actor.operator(MINA))
    session.commit()
    assert ratings.newest(session, conversation.id) is None
    assert conversation.rating_until is None
    hows = [
        message.data.get("how")
        for message in session.scalars(
            select(Message)
            .where(Message.conversation_id == conversation.id, Message.event == EventName.RESOLVED)
            .order_by(Message.sequence)
        )
    ]
    assert hows == ["reply", "several"]


# --- saying -----------------------------------------------------------------------------------------------------------


def test_it_is_changed_for_a_while_and_then_stays(session: Session, customer: Customer) -> None:
    conversation = answered(session, customer)
    rate(session, customer, conversation, 3, comment="Slow")
    rate(session, customer, conversation, 4)
    assert (of(session, conversation).score, of(session, conversation).comment) == (4, "Slow")
    rate(session, customer, conversation, 4, comment="")
    assert of(session, conversation).comment is None
    with frozen(now() + timedelta(days=1, seconds=1)):
        with pytest.raises(RatingClosed, match="cannot be rated any more"):
            rate(session, customer, conversation, 5)
        session.rollback()
    assert (of(session, conversation).score, conversation.rating) == (4, 4)
    # The same again says nothing new, and neither does a comment of the rating itself.
    assert turns(session, conversation) == [EventName.RESOLVED, EventName.RATED, EventName.RATED]


def test_nobody_answers_a_question_after_its_time(session: Session, customer: Customer) -> None:
    conversation = answered(session, customer)
    with frozen(now() + timedelta(days=14, seconds=1)), pytest.raises(RatingClosed):
        rate(session, customer, conversation, 5)
    session.rollback()
    assert conversation.rating is None


def test_a_comment_is_kept_redacted_and_what_does_not_fit_is_refused(session: Session, customer: Customer) -> None:
    conversation = answered(session, customer)
    words = f"{customer.name} here, error 0x80070005. Write to me@bakery.example"
    kept = rate(session, customer, conversation, 4, comment=words)
    assert kept.comment == "[name] here, error 0x80070005. Write to [email]"
    for wrong in ({"rating": 0}, {"rating": 6}, {"rating": 5, "comment": "x" * 2001}):
        with pytest.raises(InvalidInput):
            service.rate(session, customer=customer, conversation_id=conversation.id, **wrong)
        session.rollback()
    assert kept.score == 4


# --- a low one --------------------------------------------------------------------------------------------------------


def test_a_low_rating_tells_whoever_has_it_once_whatever_it_is_changed_to(session: Session, customer: Customer) -> None:
    conversation = answered(session, customer)
    rate(session, customer, conversation, 4)
    assert told(session, conversation) == []
    for score in (2, 1, 5, 1):
        rate(session, customer, conversation, score)
    assert told(session, conversation) == ["mina"]  # who resolved it, as nobody has it
    assert conversation.status is ConversationStatus.RESOLVED
    other = answered(session, Customer("another-one"))
    assign(session, other.id, actor=MINA, assignee=OMAR)
    rate(session, Customer("another-one"), other, 1)
    assert told(session, other) == ["omar"]
    entry = session.scalars(
        select(AuditEntry).where(AuditEntry.action == "conversation.low_rating", AuditEntry.subject_id == other.id)
    ).one()
    assert (entry.actor_id, entry.data) == ("system:low_rating", {"told": "omar", "reopens": False})


def test_where_there_is_nobody_to_be_told_it_comes_back_into_the_queue(session: Session, customer: Customer) -> None:
    conversation = receive(session, customer=customer, body="Where is it?", channel="widget").conversation
    resolve(session, conversation.id, actor=Actor.policy("closes"))
    session.commit()
    rate(session, customer, conversation, 1)
    assert told(session, conversation) == []
    assert (conversation.status, conversation.waiting_since is not None) == (ConversationStatus.OPEN, True)


@pytest.fixture
def reopening(make_app: Callable[..., Flask]) -> Flask:
    return make_app(LOW_RATING_DOES="reopen")


def test_a_low_rating_reopens_once_and_may_be_changed_meanwhile(reopening: Flask, customer: Customer) -> None:
    with reopening.app_context():
        session = reopening.extensions["sqlalchemy"].session
        conversation = answered(session, customer)
        for score in (2, 1, 5, 2):
            rate(session, customer, conversation, score, comment="Not what I asked")
        assert turns(session, conversation).count(EventName.REOPENED) == 1
        assert told(session, conversation) == ["mina"]
        assert (conversation.status, conversation.rating) == (ConversationStatus.OPEN, 2)
        resolve(session, conversation.id, actor=MINA)  # and again, for the next one
        session.commit()
        rate(session, customer, conversation, 1)
        assert turns(session, conversation).count(EventName.REOPENED) == 2
        session.remove()


def test_of_two_low_ratings_at_the_same_moment_one_is_acted_on(reopening: Flask, customer: Customer) -> None:
    with reopening.app_context():
        session = reopening.extensions["sqlalchemy"].session
        conversation = answered(session, customer)
        number = conversation.id
        session.remove()
    ready = threading.Barrier(2)

    def say(score: int) -> None:
        with reopening.app_context():
            session = reopening.extensions["sqlalchemy"].session()
            ready.wait(10)
            service.rate(session, customer=customer, conversation_id=number, rating=score)
            session.commit()

    both = [threading.Thread(target=say, args=(score,)) for score in (1, 2)]
    for one in both:
        one.start()
    for one in both:
        one.join(20)
    with reopening.app_context():
        session = reopening.extensions["sqlalchemy"].session
        conversation = session.get_one(Conversation, number)
        assert turns(session, conversation).count(EventName.REOPENED) == 1
        assert len(told(session, conversation)) == 1
        session.remove()


@pytest.mark.parametrize("keys", [{"LOW_RATING_DOES": "nothing"}, {"LOW_RATING": 0}])
def test_a_desk_may_want_nothing_to_follow(
    make_app: Callable[..., Flask], customer: Customer, keys: dict[str, Any]
) -> None:
    app = make_app(**keys)
    with app.app_context():
        session = app.extensions["sqlalchemy"].session
        conversation = answered(session, customer)
        rate(session, customer, conversation, 1)
        assert (told(session, conversation), conversation.status) == ([], ConversationStatus.RESOLVED)
        session.remove()


# --- the link, as the host is given it, and its page -----------------------------------------------------------------


@pytest.fixture
def events() -> list[ResolvedEvent]:
    return []


@pytest.fixture
def telling(make_app: Callable[..., Flask], events: list[ResolvedEvent]) -> Flask:
    def told(event: ResolvedEvent) -> None:
        events.append(event)
        if len(events) == 1:
            raise RuntimeError("the mail server is busy")

    return make_app(ON_CONVERSATION_RESOLVED=told, PUBLIC_URL="https://desk.example/app/", LOW_RATING_DOES="reopen")


def page_of(app: Flask, event: ResolvedEvent) -> tuple[FlaskClient, str]:
    """A browser in which nobody is signed in, and the address on this server."""
    assert event.rating_url is not None
    client = app.test_client()
    client.environ_base.update(HTTP_ORIGIN="http://localhost")
    return client, event.rating_url.removeprefix("https://desk.example/app")


def resolved(app: Flask, customer: Customer, **keys: Any) -> int:
    with app.app_context():
        session = app.extensions["sqlalchemy"].session
        number = answered(session, customer, **keys).id
        session.remove()
    run_jobs(app)
    return number


def kept(app: Flask, number: int) -> tuple[int | None, str | None, RatedVia | None]:
    with app.app_context():
        session = app.extensions["sqlalchemy"].session
        found = ratings.newest(session, number)
        session.remove()
        assert found is not None
        return found.score, found.comment, found.via


def test_the_event_says_who_how_and_where_to_rate_under_one_key(
    telling: Flask, events: list[ResolvedEvent], customer: Customer
) -> None:
    resolved(telling, customer, metadata={"case": 17, "why": ["paid"]})
    first, again = events
    assert first == again
    assert (first.actor_kind, first.actor_id, first.actor_name, first.how) == (
        "operator",
        "mina",
        "Mina Keller",
        "host",
    )
    assert first.metadata == {"case": 17, "why": ["paid"]}
    assert first.rating_url is not None
    assert first.rating_url.startswith("https://desk.example/app/support/rate/")
    assert first.rating_until is not None
    resolved(telling, Customer("somebody-else"), asks=False)
    assert (events[-1].rating_url, events[-1].rating_until, events[-1].metadata) == (None, None, {})


def test_metadata_that_do_not_fit_are_refused_before_anything_happens(session: Session, customer: Customer) -> None:
    conversation = receive(session, customer=customer, body="Where is it?", channel="widget").conversation
    session.commit()
    for wrong in ({"long": "x" * 4000}, {"nul": "a\x00"}, {"thing": object()}, {"number": float("nan")}):
        with pytest.raises(InvalidInput, match="Metadata"):
            resolve(session, conversation.id, actor=MINA, metadata=wrong)
    assert conversation.status is ConversationStatus.OPEN


def test_reading_the_page_changes_nothing_and_its_form_rates(
    telling: Flask, events: list[ResolvedEvent], customer: Customer
) -> None:
    number = resolved(telling, customer)
    client, address = page_of(telling, events[0])
    for method in ("get", "head"):
        answer = getattr(client, method)(f"{address}?score=1")
        assert (answer.status_code, answer.headers["Cache-Control"]) == (200, "no-store")
    page = client.get(f"{address}?score=4").get_data(as_text=True)
    assert "Set-Cookie" not in client.get(address).headers
    assert 'value="4" required checked' in page
    assert "<script" not in page
    assert kept(telling, number) == (None, None, None)

    answer = client.post(address, data={"score": "2", "comment": "Twice\r\nasked"})
    assert answer.status_code == 303
    page = client.get(answer.location).get_data(as_text=True)
    assert "Thank you" in page
    assert "You rated the help 2 of 5" in page
    assert kept(telling, number) == (2, "Twice\nasked", RatedVia.LINK)
    with telling.app_context():
        session = telling.extensions["sqlalchemy"].session
        assert session.get_one(Conversation, number).status is ConversationStatus.OPEN
        session.remove()
    assert client.post(address, data={"score": "5", "comment": ""}).status_code == 303
    assert kept(telling, number) == (5, None, RatedVia.LINK)
    with frozen(now() + timedelta(days=2)):
        assert client.post(address, data={"score": "1"}).status_code == 409
        closed = client.get(address)
        assert (closed.status_code, "cannot be changed any more" in closed.get_data(as_text=True)) == (410, True)
    assert kept(telling, number) == (5, None, RatedVia.LINK)


def test_what_is_no_rating_is_said_beside_the_form(
    telling: Flask, events: list[ResolvedEvent], customer: Customer
) -> None:
    number = resolved(telling, customer)
    client, address = page_of(telling, events[0])
    for form in ({}, {"score": "6"}, {"score": "4", "comment": "x" * 2001}):
        answer = client.post(address, data=form)
        assert answer.status_code == 422
        assert 'role="alert"' in answer.get_data(as_text=True)
    assert kept(telling, number) == (None, None, None)


def test_another_site_another_secret_and_half_a_link_rate_nothing(
    telling: Flask, events: list[ResolvedEvent], customer: Customer
) -> None:
    number = resolved(telling, customer)
    client, address = page_of(telling, events[0])
    assert client.post(address, data={"score": "1"}, headers={"Origin": "https://evil.example"}).status_code == 403
    for wrong in (
        address[:-3],
        f"{address}x",
        "/support/rate/nothing",
        f"/support/rate/{'a' * 3000}",
        "/support/rate/%FF",
    ):
        assert client.get(wrong).status_code == 404
        assert client.post(wrong, data={"score": "1"}).status_code == 404
    telling.config["SECRET_KEY_FALLBACKS"] = [telling.secret_key]
    telling.secret_key = "a newer secret of this app"
    assert client.get(address).status_code == 200
    telling.config["SECRET_KEY_FALLBACKS"] = []
    assert client.get(address).status_code == 404
    assert kept(telling, number) == (None, None, None)


def test_it_is_not_changed_more_often_than_the_limit(
    make_app: Callable[..., Flask], events: list[ResolvedEvent], customer: Customer
) -> None:
    app = make_app(ON_CONVERSATION_RESOLVED=events.append, RATE_LIMITS={"ratings": "2/hour"})
    number = resolved(app, customer)
    client, address = page_of(app, events[0])
    answers = [client.post(address, data={"score": score}) for score in "543"]
    assert [answer.status_code for answer in answers] == [303, 303, 429]
    assert int(answers[-1].headers["Retry-After"]) > 0
    assert kept(app, number)[0] == 4


def test_the_conversation_goes_on_and_the_link_waits_for_the_next_time(
    telling: Flask, events: list[ResolvedEvent], customer: Customer
) -> None:
    number = resolved(telling, customer)
    client, address = page_of(telling, events[0])
    with telling.app_context():
        session = telling.extensions["sqlalchemy"].session
        receive(session, customer=customer, body="Still not", channel="widget", conversation_id=number)
        session.commit()
        session.remove()
    assert client.post(address, data={"score": "1"}).status_code == 409
    assert "Your conversation goes on" in client.get(address).get_data(as_text=True)


def test_it_is_handed_out_and_forgotten_and_the_link_leads_nowhere(
    telling: Flask, events: list[ResolvedEvent], customer: Customer
) -> None:
    number = resolved(telling, customer, metadata={"secret": "theirs"})
    client, address = page_of(telling, events[0])
    client.post(address, data={"score": "4", "comment": "Patient with me"})
    with telling.app_context():
        session = telling.extensions["sqlalchemy"].session
        (held,) = export(session, customer.ref)["ratings"]
        assert (held["rating"], held["comment"]) == (4, "Patient with me")
        assert forget(session, customer.ref, actor=MINA).counts["ratings"] == 1
        session.commit()
        event = session.scalars(
            select(Message).where(Message.conversation_id == number, Message.event == EventName.RESOLVED)
        ).one()
        assert event.data == {"how": "host", "asks": True}
        with pytest.raises(CustomerForgotten):
            service.rate_by_link(session, of(session, session.get_one(Conversation, number)), score=1, comment=None)
        session.rollback()
        session.remove()
    assert client.get(address).status_code == 404
    assert kept(telling, number) == (4, None, RatedVia.LINK)
