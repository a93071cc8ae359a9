"""Follow-ups: what is previewed is what is sent, to those who may get it, at most once, and each end is on record."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from flask_cairnloop import Customer, follow_up, receive, resolve, signals
from flask_cairnloop.audit.models import AuditEntry
from flask_cairnloop.clock import now
from flask_cairnloop.conversations import service as conversations
from flask_cairnloop.conversations import triage
from flask_cairnloop.conversations.models import Conversation, ConversationStatus, CustomerRecord, Message, MessageKind
from flask_cairnloop.errors import Conflict, IllegalTransition, InvalidInput, NotFound, NotSent, StaleTemplate
from flask_cairnloop.jobs import Job, JobState
from flask_cairnloop.jobs import service as jobs
from flask_cairnloop.outbound import jobs as outbound_jobs
from flask_cairnloop.outbound import service, suppression, templates
from flask_cairnloop.outbound.models import OutboundDelivery, OutboundEnvelope
from flask_cairnloop.outbound.types import DeliveryState, EnvelopeState, Reason, Source
from flask_cairnloop.privacy.service import export, forget
from flask_cairnloop.testing import enqueued, frozen, run_jobs
from tests.outbound.conftest import ACTOR, MINA, OMAR, Desk, Post, SafePost

S = DeliveryState
DAY = datetime(2027, 3, 2, 12, 0, tzinfo=UTC)


@pytest.fixture(scope="module")
def config(config: dict[str, Any]) -> dict[str, Any]:
    return {**config, "BULK_LIMIT": 3, "HOOK_TIMEOUT": 0.5}


def thread(desk: Desk, conversation: int) -> list[tuple[str, str]]:
    chosen = select(Message.kind, Message.body).where(Message.conversation_id == conversation)
    return desk.do(lambda s: [(kind.value, body) for kind, body in s.execute(chosen.order_by(Message.sequence))])


def audited(desk: Desk, subject: str, number: int) -> list[str]:
    chosen = select(AuditEntry.action).where(AuditEntry.subject_type == subject, AuditEntry.subject_id == number)
    return desk.do(lambda s: list(s.scalars(chosen.order_by(AuditEntry.id))))


# --- one --------------------------------------------------------------------------------------------------------------


def test_the_text_that_was_previewed_is_what_the_host_and_the_customer_get(posting: Desk, post: Post) -> None:
    customer = posting.customer("Cleo Marsh", email="cleo@example.org")
    conversation = posting.asked(customer)
    posting.do(lambda s: resolve(s, conversation, actor=MINA))
    envelope = posting.preview([conversation], posting.template())
    shown = posting.rows(envelope.id)[0]
    assert shown.body == "Hello Cleo,\n\ndid it help?\n\nMina"
    assert shown.subject == "About Where is it?"
    posting.submit(envelope.id, OMAR)
    run_jobs(posting.app)
    row = posting.row(shown.id)
    taken = post.to(customer.ref)[0]
    assert (row.state, row.attempt) == (S.DELIVERED, 1)
    assert (taken.body, taken.subject, taken.key, taken.attempt) == (shown.body, shown.subject, shown.key, 1)
    assert taken.customer == customer
    assert taken.author == OMAR.name
    assert thread(posting, conversation)[-1] == ("follow_up", shown.body)
    said = posting.do(lambda s: conversations.customer_messages(s, customer.ref, conversation)[-1])
    assert (said.kind, said.body, said.author_name) == (MessageKind.FOLLOW_UP, shown.body, OMAR.name)
    status = posting.do(lambda s: s.get_one(Conversation, conversation).status)
    assert status is ConversationStatus.RESOLVED  # it reopens nothing
    assert audited(posting, "follow_up", shown.id) == ["outbound.hand_over", "outbound.deliver"]


def test_without_a_host_that_delivers_it_stands_in_the_chat_alone(desk: Desk) -> None:
    conversation = desk.asked(desk.customer())
    envelope = desk.preview([conversation], desk.template())
    assert not envelope.hooked
    desk.submit(envelope.id)
    told: list[dict[str, Any]] = []

    def hear(_: Flask, **payload: Any) -> None:
        told.append(payload)

    signals.outbound_delivered.connect(hear, desk.app)
    run_jobs(desk.app)
    row = desk.rows(envelope.id)[0]
    assert row.state is S.DELIVERED
    assert thread(desk, conversation)[-1] == ("follow_up", row.body)
    assert told == [{"delivery_id": row.id, "envelope_id": envelope.id, "conversation_id": conversation}]
    waits = desk.do(lambda s: s.get_one(Conversation, conversation).waiting_since)
    assert waits is not None  # it is no answer to what the customer asked


def test_a_host_sends_one_by_the_public_function(posting: Desk, post: Post) -> None:
    customer = posting.customer()
    conversation = posting.asked(customer)

    def send(key: str = "k", **keys: Any) -> int:
        return posting.do(lambda s: follow_up(s, conversation, actor=MINA, key=key, **keys).id)

    first = send(body="  Is it well?\r\n")
    assert send(body="Something else") == first
    run_jobs(posting.app)
    assert [one.body for one in post.to(customer.ref)] == ["Is it well?"]
    assert post.to(customer.ref)[0].subject == "Where is it?"
    name = posting.template_name(posting.template("Dear {{customer.name}}"))
    send("other", template=name, subject="Your order")
    run_jobs(posting.app)
    assert [(one.subject, one.body) for one in post.to(customer.ref)][1:] == [("Your order", "Dear Cleo Marsh")]
    for wrong in ({}, {"body": "x", "template": name}, {"body": " "}, {"body": "x", "subject": ""}):
        with pytest.raises(InvalidInput):
            send("another", **wrong)
    with pytest.raises(InvalidInput, match="time zone"):
        send("another", body="x", send_at=datetime(2027, 1, 1))  # noqa: DTZ001
    with pytest.raises(NotFound):
        send("another", template="no such")


def test_the_public_function_says_why_a_customer_gets_none(desk: Desk) -> None:
    customer = desk.customer()
    conversation = desk.asked(customer)
    desk.do(lambda s: suppression.add(s, customer.ref, actor=MINA))
    with pytest.raises(NotSent) as refused:
        desk.do(lambda s: follow_up(s, conversation, actor=MINA, body="Hello"))
    assert refused.value.reason == "suppressed"
    assert not enqueued(desk.app, service.JOB)


# --- the preview ------------------------------------------------------------------------------------------------------


def test_the_preview_says_who_is_left_out_and_why(desk: Desk) -> None:
    cleo, nameless, spammer, out, forgotten = (
        desk.customer(),
        desk.customer(None),
        desk.customer(),
        desk.customer(),
        desk.customer(),
    )
    places = {one.ref: desk.asked(one) for one in (cleo, nameless, spammer, out, forgotten)}
    desk.do(lambda s: triage.mark_spam(s, places[spammer.ref], actor=ACTOR))
    desk.do(lambda s: suppression.add(s, out.ref, actor=MINA))
    desk.do(lambda s: forget(s, forgotten.ref, actor=MINA))
    foreign = desk.asked(desk.customer())
    template = desk.template()
    again = [places[cleo.ref], places[cleo.ref]]
    chosen = [*again, places[nameless.ref], places[spammer.ref], places[out.ref], places[forgotten.ref], foreign]
    allowed = set(places.values())
    envelope = desk.preview(chosen, template, allowed=allowed)
    rows = desk.rows(envelope.id)
    assert [row.reason for row in rows] == [
        None,
        Reason.DUPLICATE,
        Reason.VARIABLE,
        Reason.SPAM,
        Reason.SUPPRESSED,
        Reason.FORGOTTEN,
        Reason.FORBIDDEN,
    ]
    assert rows[2].missing == ["customer.first_name"]
    assert (envelope.chosen, envelope.eligible, envelope.state) == (7, 1, EnvelopeState.PREVIEWED)
    assert all(row.body == "" for row in rows[1:])
    desk.submit(envelope.id)
    run_jobs(desk.app)
    assert [row.state for row in desk.rows(envelope.id)] == [S.DELIVERED, *[S.SKIPPED] * 6]
    second = desk.preview([places[cleo.ref]], template)
    assert desk.rows(second.id)[0].had_at is not None  # it says that they had this one, and leaves it to the person
    with pytest.raises(Conflict, match="nobody"):
        desk.submit(desk.preview([places[out.ref]], template).id)


def test_a_text_that_has_grown_too_long_is_left_out(make_app: Callable[..., Flask]) -> None:
    desk = Desk(make_app(MESSAGE_LIMIT=30))
    envelope = desk.preview(
        [desk.asked(desk.customer("Bartholomew Ashworth the Third"))], desk.template("{{customer.name}}!")
    )
    assert desk.rows(envelope.id)[0].reason is Reason.TOO_LONG


def test_one_of_a_template_is_on_its_way_to_a_customer_at_a_time(desk: Desk) -> None:
    customer = desk.customer()
    conversation, template = desk.asked(customer), desk.template()
    first, second = desk.preview([conversation], template), desk.preview([conversation], template)
    desk.submit(first.id)
    third = desk.preview([conversation], template)
    assert desk.rows(third.id)[0].reason is Reason.OPEN
    desk.submit(second.id)  # it was previewed before
    assert [row.reason for row in desk.rows(second.id)] == [Reason.OPEN]
    other = desk.preview([conversation], desk.template("Another one"))
    desk.submit(other.id)
    run_jobs(desk.app)
    bodies = [body for kind, body in thread(desk, conversation) if kind == "follow_up"]
    assert bodies == ["Hello Cleo,\n\ndid it help?\n\nMina", "Another one"]


def test_what_a_template_says_is_its_language(desk: Desk) -> None:
    for field, subject, body in (("subject", "{{nobody.name}}", "x"), ("body", "x", "{{ oh no")):
        with pytest.raises(InvalidInput) as refused:
            desk.template(body, subject)
        assert refused.value.field == field


def test_a_template_is_saved_over_nobody_and_archived_once(desk: Desk) -> None:
    template = desk.template(name="Nudge")

    def save(edits: int, **keys: Any) -> Any:
        keys = {"name": "Nudge", "subject": "S", "body": "B", "cancel_on_reply": False, **keys}
        return desk.do(lambda s: templates.save(s, template, operator=OMAR, edits=edits, **keys))

    assert save(1).edits == 2
    with pytest.raises(StaleTemplate):
        save(1)
    with pytest.raises(Conflict, match="already"):
        desk.template(name="NUDGE")
    desk.do(lambda s: templates.archive(s, template, operator=MINA))
    for wrong in (lambda: save(2), lambda: desk.do(lambda s: templates.archive(s, template, operator=MINA))):
        with pytest.raises(IllegalTransition):
            wrong()
    with pytest.raises(IllegalTransition):
        desk.preview([desk.asked(desk.customer())], template)
    assert desk.template(name="Nudge") != template


# --- over the cap -----------------------------------------------------------------------------------------------------


def test_more_than_the_cap_are_refused_on_record_and_can_be_split(desk: Desk) -> None:
    places = [desk.asked(desk.customer()) for _ in range(7)]
    envelope = desk.preview(places, desk.template())
    assert (envelope.state, envelope.eligible, envelope.cap) == (EnvelopeState.REFUSED, 7, 3)
    assert audited(desk, "envelope", envelope.id) == ["envelope.refuse"]
    with pytest.raises(IllegalTransition, match="refused"):
        desk.submit(envelope.id)
    texts = [row.body for row in desk.rows(envelope.id)]
    parts = desk.do(lambda s: service.split(s, envelope.id, actor=OMAR))
    with pytest.raises(IllegalTransition, match="split"):
        desk.do(lambda s: service.split(s, envelope.id, actor=OMAR))
    assert [part.eligible for part in parts] == [3, 3, 1]
    assert [row.body for part in parts for row in desk.rows(part.id)] == texts
    for part in parts:
        desk.submit(part.id)
    run_jobs(desk.app)
    assert [thread(desk, place)[-1][0] for place in places] == ["follow_up"] * 7


def test_exactly_the_cap_is_allowed_and_a_cap_that_was_lowered_counts(
    make_app: Callable[..., Flask], desk: Desk
) -> None:
    envelope = desk.preview([desk.asked(desk.customer()) for _ in range(3)], desk.template())
    assert envelope.state is EnvelopeState.PREVIEWED
    stricter = Desk(make_app(BULK_LIMIT=2))
    assert stricter.submit(envelope.id).state is EnvelopeState.REFUSED
    assert not enqueued(desk.app, service.JOB)
    assert len(stricter.do(lambda s: service.split(s, envelope.id, actor=MINA))) == 2


def test_far_too_many_are_refused_without_being_looked_at(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "MOST", 4)
    envelope = desk.preview([desk.asked(desk.customer()) for _ in range(5)], desk.template())
    assert (envelope.state, envelope.eligible, desk.rows(envelope.id)) == (EnvelopeState.REFUSED, 5, [])
    with pytest.raises(Conflict, match="Choose the customers again"):
        desk.do(lambda s: service.split(s, envelope.id, actor=MINA))


def test_two_who_press_send_at_once_send_once(posting: Desk, post: Post) -> None:
    customers = [posting.customer() for _ in range(3)]
    envelope = posting.preview([posting.asked(one) for one in customers], posting.template())
    start, ends = threading.Barrier(2), []

    def press(actor: Any) -> None:
        start.wait()
        try:
            posting.submit(envelope.id, actor)
            ends.append("sent")
        except IllegalTransition as refused:
            ends.append(refused.state)

    threads = [threading.Thread(target=press, args=(who,)) for who in (MINA, OMAR)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert sorted(ends) == ["sent", "submitted"]
    run_jobs(posting.app)
    assert [len(post.to(one.ref)) for one in customers] == [1, 1, 1]


def test_a_preview_is_good_for_a_day_and_its_texts_go(desk: Desk) -> None:
    place = desk.asked(desk.customer())
    with frozen(now() - timedelta(days=2)):
        old = desk.preview([place], desk.template())
    with pytest.raises(Conflict, match="older than a day"):
        desk.submit(old.id)
    desk.do(lambda s: outbound_jobs.let_go(desk.app.extensions["cairnloop"], s))
    row = desk.rows(old.id)[0]
    assert (row.state, row.reason, row.body) == (S.CANCELLED, Reason.DISCARDED, "")
    fresh = desk.preview([place], desk.template())
    desk.do(lambda s: service.discard(s, fresh.id, actor=OMAR))
    with pytest.raises(IllegalTransition, match="discarded"):
        desk.submit(fresh.id)


# --- when -------------------------------------------------------------------------------------------------------------


def test_what_is_due_in_quiet_hours_waits_for_their_end(make_app: Callable[..., Flask], post: Post) -> None:
    desk = Desk(make_app(ON_OUTBOUND=post, QUIET_HOURS="21:00-08:00", QUIET_HOURS_ZONE="Europe/Berlin"))
    customer = desk.customer()
    place = desk.asked(customer)
    with frozen(DAY.replace(hour=21)):  # 22:00 there
        envelope = desk.sent_to([place])
        assert desk.rows(envelope.id)[0].due_at == DAY.replace(day=3, hour=7)
        run_jobs(desk.app)
        assert not post.to(customer.ref)
    with frozen(DAY.replace(day=3, hour=7, minute=1)):
        run_jobs(desk.app)
    assert len(post.to(customer.ref)) == 1


def test_a_job_that_comes_late_into_quiet_hours_waits_too(make_app: Callable[..., Flask], post: Post) -> None:
    desk = Desk(make_app(ON_OUTBOUND=post, QUIET_HOURS="21:00-08:00"))
    customer = desk.customer()
    with frozen(DAY.replace(hour=20, minute=59)):
        envelope = desk.sent_to([desk.asked(customer)])
    with frozen(DAY.replace(hour=22)):
        run_jobs(desk.app)
        row = desk.rows(envelope.id)[0]
        assert (row.state, row.due_at) == (S.SCHEDULED, DAY.replace(day=3, hour=8))
    with frozen(DAY.replace(day=3, hour=8)):
        run_jobs(desk.app)
    assert len(post.to(customer.ref)) == 1


def test_a_follow_up_leaves_at_its_time_unless_the_customer_writes_before(posting: Desk, post: Post) -> None:
    stays, replies, elsewhere = (posting.customer() for _ in range(3))
    with frozen(DAY):
        places = [posting.asked(one) for one in (stays, replies, elsewhere)]
        envelope = posting.preview(places, posting.template(), send_at=DAY + timedelta(days=2))
        posting.submit(envelope.id)
        run_jobs(posting.app)
        posting.do(lambda s: receive(s, customer=replies, body="Thanks", channel="widget", conversation_id=places[1]))
        posting.do(lambda s: receive(s, customer=elsewhere, body="A new thing", channel="widget"))
    assert not post.taken
    with frozen(DAY + timedelta(days=2)):
        run_jobs(posting.app)
    assert [row.reason for row in posting.rows(envelope.id)] == [None, Reason.REPLIED, Reason.REPLIED]
    assert [one.customer.ref for one in post.taken] == [stays.ref]


def test_words_of_a_customer_stop_it_within_seconds_where_the_template_says_so(posting: Desk, post: Post) -> None:
    customer = posting.customer()
    with frozen(DAY):
        place = posting.asked(customer)
        later = {"send_at": DAY + timedelta(days=1)}
        stops = posting.preview([place], posting.template("A"), **later)
        goes = posting.preview([place], posting.template("B", cancel_on_reply=False), **later)
        posting.submit(stops.id)
        posting.submit(goes.id)
        posting.asked(customer, "Never mind")
        posting.do(lambda s: outbound_jobs.cancel_replied(posting.app.extensions["cairnloop"], s))
    assert (posting.rows(stops.id)[0].state, posting.rows(goes.id)[0].state) == (S.CANCELLED, S.SCHEDULED)
    with frozen(DAY + timedelta(days=1)):
        run_jobs(posting.app)
    assert [one.body for one in post.to(customer.ref)] == ["B"]


def test_who_is_not_to_be_written_to_any_more_when_it_leaves_gets_none(posting: Desk, post: Post) -> None:
    out, spammer = posting.customer(), posting.customer()
    places = [posting.asked(one) for one in (out, spammer)]
    envelope = posting.sent_to(places)
    posting.do(lambda s: suppression.add(s, out.ref, actor=MINA))
    posting.do(lambda s: triage.mark_spam(s, places[1], actor=ACTOR))
    run_jobs(posting.app)
    assert [row.reason for row in posting.rows(envelope.id)] == [Reason.SUPPRESSED, Reason.SPAM]
    assert not post.taken


def test_a_customer_without_a_conversation_gets_one_with_it(posting: Desk, post: Post) -> None:
    customer = posting.customer()

    def known(session: Session) -> int:
        session.add(CustomerRecord(ref=customer.ref, name=customer.name))
        session.flush()
        return session.scalars(select(CustomerRecord.id).where(CustomerRecord.ref == customer.ref)).one()

    number, template = posting.do(known), posting.template("Hello {{customer.name}}", "News")
    envelope = posting.do(
        lambda s: service.preview(s, [service.Recipient(number, None)], template, actor=MINA, source=Source.CUSTOMERS)
    )
    posting.submit(envelope.id)
    run_jobs(posting.app)
    row = posting.rows(envelope.id)[0]
    assert (row.state, row.body) == (S.DELIVERED, "Hello Cleo Marsh")
    assert row.conversation_id is not None
    assert thread(posting, row.conversation_id) == [("follow_up", row.body)]
    assert posting.do(lambda s: s.get_one(Conversation, row.conversation_id).subject) == "News"
    answered = posting.asked(customer, "Thank you")
    assert answered == row.conversation_id


# --- what the host may do ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ways", "state", "taken", "failure"),
    [
        (["take and say so"], S.DELIVERED, 1, None),
        (["later", "answer later", "take"], S.DELIVERED, 1, None),
        (["refuse"], S.FAILED, 0, "There is no such address."),
        (["answer failed"], S.FAILED, 0, "No such address."),
        (["later"] * 5, S.FAILED, 0, "The post is closed."),
        (["take and raise"], S.UNCERTAIN, 1, "Your app failed: RuntimeError."),
        (["raise"], S.UNCERTAIN, 0, "Your app failed: RuntimeError."),
        (["answer nonsense"], S.UNCERTAIN, 0, "Your app failed: str."),
        (["take and hang"], S.UNCERTAIN, 1, "Your app did not answer in time."),
    ],
)
def test_how_the_host_ends_it_is_how_it_ends(
    posting: Desk, post: Post, ways: list[str], state: DeliveryState, taken: int, failure: str | None
) -> None:
    customer = posting.customer()
    post.ways[customer.ref] = list(ways)
    envelope = posting.sent_to([posting.asked(customer)])
    for _ in ways:
        run_jobs(posting.app, within=timedelta(minutes=5))
    post.waits.set()
    row = posting.rows(envelope.id)[0]
    assert (row.state, row.failure, row.attempt) == (state, failure, len(ways))
    assert len(post.to(customer.ref)) == taken
    assert row.reference == ("post-1" if ways == ["take and say so"] else None)
    follow_ups = [body for kind, body in thread(posting, row.conversation_id or 0) if kind == "follow_up"]
    assert follow_ups == ([row.body] if state is S.DELIVERED else [])


@pytest.mark.parametrize("between", ["nothing", "cancelled", "replied", "suppressed"])
def test_what_an_earlier_attempt_may_have_sent_is_not_said_to_have_stayed(
    make_app: Callable[..., Flask], between: str
) -> None:
    post = SafePost()
    desk = Desk(make_app(ON_OUTBOUND=post))
    customer = desk.customer()
    post.ways[customer.ref] = ["take and raise", "refuse"]
    envelope = desk.sent_to([desk.asked(customer)])
    run_jobs(desk.app, within=timedelta(0))
    (row,) = desk.rows(envelope.id)
    assert (row.state, len(post.taken)) == (S.SCHEDULED, 1)
    match between:
        case "cancelled":
            desk.do(lambda s: service.cancel(s, row.id, actor=OMAR))
        case "replied":
            desk.asked(customer, "Thanks")
        case "suppressed":
            desk.do(lambda s: suppression.add(s, customer.ref, actor=OMAR))
    run_jobs(desk.app, within=timedelta(minutes=5))
    assert (desk.row(row.id).state, len(post.taken)) == (S.UNCERTAIN, 1)


def test_a_person_settles_what_nobody_knows(posting: Desk, post: Post) -> None:
    reached, lost = posting.customer(), posting.customer()
    for one in (reached, lost):
        post.ways[one.ref] = ["raise"]
    envelope = posting.sent_to([posting.asked(reached), posting.asked(lost)])
    run_jobs(posting.app)
    first, second = (row.id for row in posting.rows(envelope.id))
    with pytest.raises(InvalidInput, match="how you know"):
        posting.do(lambda s: service.send_again(s, second, actor=OMAR, reason=" "))
    posting.do(lambda s: service.mark_delivered(s, first, actor=OMAR, reason="It is in their post box."))
    posting.do(lambda s: service.send_again(s, second, actor=OMAR, reason="Their log has nothing."))
    for settle in (service.mark_delivered, service.send_again):
        with pytest.raises(IllegalTransition):
            posting.do(lambda s, settle=settle: settle(s, first, actor=MINA, reason="Again"))
    run_jobs(posting.app)
    assert [row.state for row in posting.rows(envelope.id)] == [S.DELIVERED, S.DELIVERED]
    assert (len(post.to(reached.ref)), len(post.to(lost.ref))) == (0, 1)
    assert post.to(lost.ref)[0].key == posting.row(second).key
    assert audited(posting, "follow_up", first) == ["outbound.hand_over", "outbound.uncertain", "outbound.deliver"]
    assert audited(posting, "follow_up", second)[2:4] == ["outbound.send_again", "outbound.hand_over"]


def test_a_person_stops_what_waits_and_tries_again_what_failed(posting: Desk, post: Post) -> None:
    failing, waiting = posting.customer(), posting.customer()
    post.ways[failing.ref] = ["refuse"]
    with frozen(DAY):
        template = posting.template()
        failed = posting.submit(posting.preview([posting.asked(failing)], template).id)
        run_jobs(posting.app)
        waits = posting.preview([posting.asked(waiting)], template, send_at=DAY + timedelta(days=1))
        posting.submit(waits.id)
        assert posting.do(lambda s: service.retry_failed(s, waits.id, actor=OMAR)) == 0
        assert posting.do(lambda s: service.cancel_pending(s, waits.id, actor=OMAR)) == 1
        assert posting.do(lambda s: service.retry_failed(s, failed.id, actor=OMAR)) == 1
        with pytest.raises(IllegalTransition):
            posting.do(lambda s: service.retry(s, posting.rows(failed.id)[0].id, actor=OMAR))
        run_jobs(posting.app)
    with frozen(DAY + timedelta(days=1)):
        run_jobs(posting.app)
    assert posting.rows(failed.id)[0].state is S.DELIVERED
    row = posting.rows(waits.id)[0]
    assert (row.state, row.reason) == (S.CANCELLED, Reason.PERSON)
    assert [one.customer.ref for one in post.taken] == [failing.ref]


def test_a_job_that_is_discarded_or_run_again_never_sends_twice(posting: Desk, post: Post) -> None:
    customer = posting.customer()
    envelope = posting.sent_to([posting.asked(customer)])

    def job(session: Session) -> Job:
        return session.scalars(select(Job).where(Job.name == service.JOB).order_by(Job.id.desc())).first()  # type: ignore[return-value]

    number = posting.do(job).id
    posting.do(lambda s: jobs.discard(s, number, actor=ACTOR))
    assert posting.rows(envelope.id)[0].state is S.FAILED
    run_jobs(posting.app)
    assert not post.taken
    posting.do(lambda s: service.retry_failed(s, envelope.id, actor=MINA))
    run_jobs(posting.app)
    posting.do(lambda s: s.execute(Job.__table__.update().where(Job.id == number).values(state=JobState.DEAD)))
    with pytest.raises(Conflict, match="envelope"):
        posting.do(lambda s: jobs.retry(s, number, actor=ACTOR))
    assert len(post.to(customer.ref)) == 1


# --- who gets none ----------------------------------------------------------------------------------------------------


def test_a_customer_opts_out_by_the_link_that_came_with_it(posting: Desk, post: Post) -> None:
    customer = posting.customer()
    place = posting.asked(customer)
    posting.sent_to([place])
    run_jobs(posting.app)
    path = post.to(customer.ref)[0].opt_out
    assert path.startswith("/support/")
    assert customer.ref not in path
    token = path.rsplit("/", 1)[1]
    assert posting.do(lambda s: suppression.opt_out(s, token)) is True
    assert posting.do(lambda s: suppression.opt_out(s, token)) is False
    with pytest.raises(NotFound):
        posting.do(lambda s: suppression.opt_out(s, token[:-2]))
    assert posting.rows(posting.preview([place], posting.template()).id)[0].reason is Reason.SUPPRESSED


def test_who_wants_none_gets_none_after_being_forgotten_and_under_a_new_key(
    make_app: Callable[..., Flask], desk: Desk
) -> None:
    customer = desk.customer()
    desk.asked(customer)
    desk.do(lambda s: suppression.add(s, customer.ref, actor=MINA))
    assert desk.do(lambda s: export(s, customer.ref))["no_follow_ups"][0]["by"] == "operator"
    desk.do(lambda s: forget(s, customer.ref, actor=MINA))
    listed = desk.do(lambda s: suppression.listed(s)[0][0])
    assert (listed.customer, listed.entry.customer_id) == (None, None)
    place = desk.asked(customer, "Me again")
    template = desk.template()
    assert desk.rows(desk.preview([place], template).id)[0].reason is Reason.SUPPRESSED
    newer = make_app(FLASK_SECRET_KEY="a newer one", FLASK_SECRET_KEY_FALLBACKS=[desk.app.secret_key])
    assert Desk(newer).rows(Desk(newer).preview([place], template).id)[0].reason is Reason.SUPPRESSED
    desk.do(lambda s: suppression.remove(s, listed.entry.id, actor=OMAR, reason="They asked for it."))
    assert desk.rows(desk.preview([place], template).id)[0].reason is None


def test_forgetting_a_customer_stops_and_erases_their_follow_ups(posting: Desk, post: Post) -> None:
    customer = posting.customer()
    place = posting.asked(customer)
    sent = posting.sent_to([place])
    run_jobs(posting.app)
    waits = posting.preview([place], posting.template(), send_at=now() + timedelta(days=1))
    posting.submit(waits.id)
    seen = posting.preview([place], posting.template("Just looked at"))
    told = posting.do(lambda s: export(s, customer.ref))["follow_ups"]
    assert [(one["state"], one["body"][:9]) for one in told] == [
        ("delivered", "Hello Cle"),
        ("scheduled", "Hello Cle"),
        ("previewed", "Just look"),
    ]
    posting.do(lambda s: forget(s, customer.ref, actor=MINA))
    for envelope, state in ((sent, S.DELIVERED), (waits, S.CANCELLED), (seen, S.CANCELLED)):
        row = posting.rows(envelope.id)[0]
        assert (row.state, row.body, row.subject) == (state, "[erased]", "[erased]")
    run_jobs(posting.app, within=timedelta(days=2))
    assert len(post.taken) == 1


def test_what_is_leaving_at_this_moment_is_not_forgotten_over(posting: Desk, post: Post) -> None:
    customer = posting.customer()
    post.ways[customer.ref] = ["take and hang"]
    posting.sent_to([posting.asked(customer)])
    runs = threading.Thread(target=run_jobs, args=(posting.app,))
    runs.start()
    assert post.called.wait(10)
    with pytest.raises(Conflict):
        posting.do(lambda s: forget(s, customer.ref, actor=MINA))
    post.waits.set()
    runs.join()
    posting.do(lambda s: forget(s, customer.ref, actor=MINA))


# --- the database -----------------------------------------------------------------------------------------------------


def test_the_database_refuses_two_on_their_way_and_states_without_their_facts(desk: Desk) -> None:
    envelope = desk.preview([desk.asked(desk.customer())], desk.template())
    row = desk.rows(envelope.id)[0]
    for values in (
        {"state": S.SCHEDULED},
        {"state": S.SKIPPED},
        {"state": S.FAILED},
        {"state": S.DELIVERED},
        {"state": S.SENDING},
        {"body": ""},
    ):
        with pytest.raises(IntegrityError):
            desk.do(
                lambda s, values=values: s.execute(
                    OutboundDelivery.__table__.update().where(OutboundDelivery.id == row.id).values(values)
                )
            )
    desk.submit(envelope.id)

    def twin(session: Session) -> None:
        found = session.get_one(OutboundDelivery, row.id)
        session.add(
            OutboundDelivery(
                envelope_id=envelope.id,
                position=9,
                state=S.SCHEDULED,
                due_at=now(),
                customer_id=found.customer_id,
                template_id=found.template_id,
                cancel_on_reply=False,
                body="x",
            )
        )
        session.flush()

    with pytest.raises(IntegrityError, match="uq_outbound_deliveries_open"):
        desk.do(twin)


def test_old_envelopes_go_when_the_host_says_so_and_nothing_of_them_is_on_its_way(
    make_app: Callable[..., Flask],
) -> None:
    desk = Desk(make_app(RETENTION_OUTBOUND=60))
    with frozen(now() - timedelta(hours=1)):
        over, waits = desk.asked(desk.customer()), desk.asked(desk.customer())
        done = desk.sent_to([over])
        run_jobs(desk.app)
        pending = desk.preview([waits], desk.template(), send_at=now() + timedelta(days=1))
        desk.submit(pending.id)
    desk.do(lambda s: outbound_jobs.cut(desk.app.extensions["cairnloop"], s))
    assert desk.do(lambda s: (s.get(OutboundEnvelope, done.id), s.get_one(OutboundEnvelope, pending.id).id)) == (
        None,
        pending.id,
    )
    assert thread(desk, over)[-1][0] == "follow_up"


def test_a_customer_who_is_nobody_gets_nothing(desk: Desk) -> None:
    with pytest.raises(InvalidInput):
        desk.preview([], desk.template())
    with pytest.raises(NotFound):
        desk.do(lambda s: follow_up(s, 987_654_321, actor=Customer("x"), body="Hello"))
