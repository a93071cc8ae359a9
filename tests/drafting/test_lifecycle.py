"""A draft from question to decision: made once, withdrawn when it no longer fits, sent at most once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Literal, cast

import pytest
from flask import Flask
from sqlalchemy import select
from sqlalchemy.orm import Session

from flask_cairnloop import Customer, Operator, receive, reply, resolve
from flask_cairnloop.actors import Actor, ActorKind
from flask_cairnloop.audit.models import AuditEntry
from flask_cairnloop.config import LONGEST_HOOK
from flask_cairnloop.conversations.models import Conversation, Message, MessageKind
from flask_cairnloop.drafting import engine, service
from flask_cairnloop.drafting.models import Draft, DraftState
from flask_cairnloop.drafting.types import (
    Citation,
    Declined,
    DraftFailure,
    DraftKind,
    Grounding,
    PolicyDecision,
    Proposal,
)
from flask_cairnloop.errors import Conflict, IllegalTransition, InvalidInput, StaleConversation
from flask_cairnloop.hooks import DraftInfo
from flask_cairnloop.jobs import Job, JobState
from flask_cairnloop.jobs import service as job_service
from flask_cairnloop.jobs.registry import definition
from flask_cairnloop.knowledge.models import Audience
from flask_cairnloop.knowledge.service import publish, save_article
from flask_cairnloop.retrieval.local import default_embedder
from flask_cairnloop.retrieval.types import Strength
from flask_cairnloop.testing import run_jobs
from tests.support.articles import GAUGE
from tests.support.databases import blocked
from tests.support.processes import wait_until

MINA = Actor.operator(Operator("mina", "Mina Keller"))
QUESTION = "How do I reset the brass gauge after a power cut?"


@pytest.fixture(scope="module", autouse=True)
def _knowledge(database_url: str, redis_url: str, config: dict[str, object]) -> Iterator[None]:
    from tests.conftest import close
    from tests.support.host import make_host

    app = make_host(database_url, redis_url, **config)
    with app.app_context():
        session = app.extensions["sqlalchemy"].session
        article = save_article(session, slug="brass-gauge", title="Resetting the brass gauge", body=GAUGE, actor=MINA)
        publish(session, article.id, actor=MINA)
        for slug, title, body in (
            ("billing", "Reading your invoice", "Invoices are sent on the first of each month as a PDF by e-mail."),
            ("seats", "Adding a colleague", "Open Settings, choose People and send the invitation."),
        ):
            other = save_article(session, slug=slug, title=title, body=body, actor=MINA)
            publish(session, other.id, actor=MINA)
        session.commit()
        session.remove()
    run_jobs(app)
    close(app)


def ask(app: Flask, customer: Customer, body: str = QUESTION, conversation_id: int | None = None) -> int:
    with app.app_context():
        session = app.extensions["sqlalchemy"].session
        message = receive(session, customer=customer, body=body, channel="widget", conversation_id=conversation_id)
        session.commit()
        found = message.conversation_id
        session.remove()
    return found


def drafts(session: Session, conversation_id: int) -> list[Draft]:
    session.rollback()
    return list(
        session.scalars(
            select(Draft)
            .where(Draft.conversation_id == conversation_id)
            .order_by(Draft.id)
            .execution_options(populate_existing=True)
        )
    )


def replies(session: Session, conversation_id: int) -> list[Message]:
    session.rollback()
    return list(
        session.scalars(
            select(Message).where(Message.conversation_id == conversation_id, Message.kind == MessageKind.REPLY)
        )
    )


def ready(app: Flask, session: Session, customer: Customer, body: str = QUESTION) -> Draft:
    conversation_id = ask(app, customer, body)
    assert drafts(session, conversation_id)[-1].state is DraftState.GENERATING
    run_jobs(app)
    return drafts(session, conversation_id)[-1]


def test_a_covered_question_becomes_a_cited_reply(app: Flask, session: Session, customer: Customer) -> None:
    draft = ready(app, session, customer)
    assert (draft.state, draft.kind, draft.grounding) == (DraftState.READY, DraftKind.REPLY, Strength.STRONG)
    assert "Hold the brass button for ten seconds." in draft.body
    assert draft.citations[0]["title"] == "Resetting the brass gauge"
    assert draft.evidence
    assert draft.grounding_numbers["lanes"]["keyword"] == "ok"
    assert draft.policy is PolicyDecision.REQUIRE_APPROVAL


def test_an_uncovered_question_is_handed_to_a_person(app: Flask, session: Session, customer: Customer) -> None:
    draft = ready(app, session, customer, "Do you know a good recipe for pancakes with blueberries?")
    assert (draft.state, draft.kind) == (DraftState.READY, DraftKind.ESCALATION)
    with pytest.raises(Conflict):
        service.approve(session, draft.id, actor=MINA)


def test_approving_sends_the_words_without_the_numbers_once(app: Flask, session: Session, customer: Customer) -> None:
    draft = ready(app, session, customer)
    message = service.approve(session, draft.id, actor=MINA, seen=1)
    session.commit()
    assert message.body == service.without_marks(draft)
    assert "[1]" not in message.body
    assert message.data["citations"] == draft.citations
    assert (draft.state, draft.decided_by) == (DraftState.APPROVED, "mina")
    with pytest.raises(IllegalTransition):
        service.approve(session, draft.id, actor=MINA, seen=1)
    assert len(replies(session, draft.conversation_id)) == 1


def test_two_operators_at_once_send_one_message(app: Flask, session: Session, customer: Customer) -> None:
    draft = ready(app, session, customer)
    outcomes: list[str] = []

    def approve(name: str) -> None:
        with app.app_context():
            own = app.extensions["sqlalchemy"].session
            try:
                service.approve(own, draft.id, actor=Actor.operator(Operator(name, name.title())), seen=1)
                own.commit()
                outcomes.append("sent")
            except IllegalTransition as refused:
                own.rollback()
                outcomes.append(refused.state)

    threads = [threading.Thread(target=approve, args=(name,)) for name in ("mina", "omar", "mina", "omar")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["approved", "approved", "approved", "sent"]
    assert len(replies(session, draft.conversation_id)) == 1


def test_an_operators_changes_are_sent_and_named(app: Flask, session: Session, customer: Customer) -> None:
    draft = ready(app, session, customer)
    proposed = draft.body
    message = service.approve(session, draft.id, actor=MINA, seen=1, body="Hold it for ten seconds, please. [1]")
    session.commit()
    assert message.body == "Hold it for ten seconds, please."
    assert draft.state is DraftState.EDITED
    assert draft.body == proposed  # what the machine wrote stays as it was
    assert draft.changed is not None
    assert 0.3 < draft.changed < 1


def test_a_draft_sent_as_it_stands_is_not_changed(app: Flask, session: Session, customer: Customer) -> None:
    draft = ready(app, session, customer)
    service.approve(session, draft.id, actor=MINA, seen=1)
    assert draft.changed == 0


def test_an_engine_that_declines_leaves_the_draft_to_ours_with_its_reason(
    make_app: Callable[..., Flask], customer: Customer
) -> None:
    app = make_app(DRAFT_GENERATOR=lambda grounding: Declined("The model did not answer in time."))
    with app.app_context():
        session = app.extensions["sqlalchemy"].session
        draft = ready(app, session, customer)
        assert draft.engine == engine.ENGINE
        assert draft.declined == "The model did not answer in time."


def test_what_cannot_be_stored_is_left_out_of_an_operators_changes(
    app: Flask, session: Session, customer: Customer
) -> None:
    draft = ready(app, session, customer)
    message = service.approve(session, draft.id, actor=MINA, seen=1, body="Hold\x00 it.\r\nWait.\x00")
    assert message.body == "Hold it.\nWait."
    session.rollback()
    message = service.approve(session, draft.id, actor=MINA, seen=1, body=f"\x00{draft.body}")
    session.commit()
    assert draft.state is DraftState.APPROVED  # nothing was changed that anybody could see
    assert message.body == service.without_marks(draft)


@pytest.mark.parametrize("body", ["", "\x00", " [1] ", "x" * 10_001])
def test_an_operators_changes_that_cannot_be_sent_leave_the_draft_as_it_was(
    app: Flask, session: Session, customer: Customer, body: str
) -> None:
    draft = ready(app, session, customer)
    with pytest.raises(InvalidInput):
        service.approve(session, draft.id, actor=MINA, seen=1, body=body)
    session.commit()
    assert drafts(session, draft.conversation_id)[-1].state is DraftState.READY


def test_whoever_decides_may_have_a_name_of_any_length(app: Flask, session: Session, customer: Customer) -> None:
    draft = ready(app, session, customer)
    service.discard(session, draft.id, actor=Actor.operator(Operator("long", "N" * 201)), reason="wrong")
    session.commit()
    assert draft.decided_by_name == "N" * 200


def test_words_that_came_after_the_look_refuse_the_approval(app: Flask, session: Session, customer: Customer) -> None:
    draft = ready(app, session, customer)
    ask(app, customer, "Wait, does that reset the gauge for good?", draft.conversation_id)
    with pytest.raises(StaleConversation):
        service.approve(session, draft.id, actor=MINA, seen=1)
    session.rollback()
    run_jobs(app)
    newest = drafts(session, draft.conversation_id)[-1]
    assert (newest.state, newest.kind, newest.answers_sequence) == (DraftState.READY, DraftKind.REPLY, 2)
    with pytest.raises(StaleConversation):
        service.approve(session, newest.id, actor=MINA, seen=1)
    session.rollback()
    assert replies(session, draft.conversation_id) == []
    service.approve(session, newest.id, actor=MINA, seen=2)
    session.commit()
    assert len(replies(session, draft.conversation_id)) == 1


def test_a_draft_is_withdrawn_when_the_conversation_moves_on(app: Flask, session: Session, customer: Customer) -> None:
    conversation_id = ready(app, session, customer).conversation_id
    ask(app, customer, "And the silver one?", conversation_id)
    run_jobs(app)
    reply(session, conversation_id, actor=MINA, body="I will look")
    session.commit()
    ask(app, customer, "Thanks", conversation_id)
    resolve(session, conversation_id, actor=MINA)
    session.commit()
    run_jobs(app)  # nothing comes of the job that was under way
    assert [(d.state, d.superseded_by) for d in drafts(session, conversation_id)] == [
        (DraftState.SUPERSEDED, "customer"),
        (DraftState.SUPERSEDED, "reply"),
        (DraftState.SUPERSEDED, "resolve"),
    ]


def test_three_lines_in_a_row_make_one_draft(make_app: Callable[..., Flask], customer: Customer) -> None:
    app = make_app(DRAFT_DELAY=2.0)
    conversation_id = ask(app, customer, "Hello")
    ask(app, customer, "I have a question", conversation_id)
    ask(app, customer, QUESTION, conversation_id)
    assert run_jobs(app) == 1
    with app.app_context():
        session = app.extensions["sqlalchemy"].session
        states = [draft.state for draft in drafts(session, conversation_id)]
        assert states == [DraftState.READY]
        session.remove()


def test_words_that_arrive_while_a_draft_is_written_leave_no_draft_for_the_old_ones(
    make_app: Callable[..., Flask], customer: Customer
) -> None:
    def slow_policy(draft) -> str:  # type: ignore[no-untyped-def]
        if draft.question == QUESTION:
            ask(app, customer, "Never mind the gauge, my invoice is missing", draft.conversation_id)
        return "require_approval"

    app = make_app(AUTOMATION_POLICY=slow_policy)
    conversation_id = ask(app, customer)
    run_jobs(app)
    with app.app_context():
        session = app.extensions["sqlalchemy"].session
        (found,) = drafts(session, conversation_id)
        assert (found.state, found.answers_sequence) == (DraftState.READY, 2)
        assert "invoice" in found.question
        session.remove()


def test_discarding_needs_a_reason_and_leaves_the_customer_waiting(
    app: Flask, session: Session, customer: Customer
) -> None:
    draft = ready(app, session, customer)
    with pytest.raises(InvalidInput):
        service.discard(session, draft.id, actor=MINA, reason="because")
    session.rollback()
    with pytest.raises(InvalidInput):
        service.discard(session, draft.id, actor=MINA, reason="wrong", note="x" * 501)
    session.rollback()
    service.discard(session, draft.id, actor=MINA, reason="wrong", note=" The link\x00 is gone. ")
    session.commit()
    assert (draft.state, draft.decision_reason) == (DraftState.DISCARDED, "wrong")
    assert draft.decision_note == "The link is gone."
    conversation = session.get_one(Conversation, draft.conversation_id)
    assert conversation.waiting_since is not None


@pytest.mark.parametrize(
    ("decision", "state", "sent"),
    [
        ("allow", DraftState.APPROVED, True),
        ("deny", DraftState.WITHHELD, False),
        ("draft_only", DraftState.READY, False),
        ("require_approval", DraftState.READY, False),
        ("nonsense", DraftState.READY, False),
    ],
)
def test_what_the_policy_decides_is_what_happens(
    make_app: Callable[..., Flask], customer: Customer, decision: str, state: DraftState, sent: bool
) -> None:
    app = make_app(AUTOMATION_POLICY=lambda draft: decision)
    with app.app_context():
        session = app.extensions["sqlalchemy"].session
        draft = ready(app, session, customer)
        assert draft.state is state
        messages = replies(session, draft.conversation_id)
        assert bool(messages) is sent
        if sent:
            assert (messages[0].author_kind, messages[0].automatic) == (ActorKind.POLICY, True)
            assert messages[0].author_id.startswith("policy:")
        if decision == "deny":
            assert (draft.body, draft.evidence, draft.question) == ("", [], "")
            assert draft.policy_reason
        if decision == "draft_only":
            with pytest.raises(Conflict):
                service.approve(session, draft.id, actor=MINA)
        if decision == "nonsense":
            assert draft.policy is PolicyDecision.REQUIRE_APPROVAL
        session.remove()


def test_allow_does_not_reach_beyond_strong_replies(make_app: Callable[..., Flask], customer: Customer) -> None:
    app = make_app(AUTOMATION_POLICY=lambda draft: "allow")
    with app.app_context():
        session = app.extensions["sqlalchemy"].session
        draft = ready(app, session, customer, "Do you know a recipe for pancakes?")
        assert (draft.state, draft.policy) == (DraftState.READY, PolicyDecision.REQUIRE_APPROVAL)
        assert replies(session, draft.conversation_id) == []
        session.remove()


def test_an_internal_article_never_makes_an_answer_strong(make_app: Callable[..., Flask], customer: Customer) -> None:
    """However well it fits: what may be quoted then has nothing to do with the question."""
    app = make_app(AUTOMATION_POLICY=lambda draft: "allow")
    with app.app_context():
        session = app.extensions["sqlalchemy"].session
        secret = save_article(
            session,
            slug="chargebacks",
            title="Handling a disputed card payment",
            body="When a card payment is disputed, gather the receipt and answer the bank within seven days.",
            actor=MINA,
            audience=Audience.INTERNAL,
        )
        publish(session, secret.id, actor=MINA)
        session.commit()
        run_jobs(app)
        draft = ready(app, session, customer, "How is a disputed card payment handled with the bank here?")
        assert draft.kind is DraftKind.ESCALATION
        assert "internal" in draft.summary
        assert draft.evidence[0]["title"] == "Handling a disputed card payment"  # for the operator
        assert replies(session, draft.conversation_id) == []
        session.remove()


def test_the_last_failure_of_an_older_job_leaves_the_newer_draft_alone(
    make_app: Callable[..., Flask], customer: Customer
) -> None:
    asked: list[str] = []

    def engine(grounding: Grounding) -> Proposal:
        asked.append(grounding.question)
        if len(asked) == 3:  # the last attempt for the first words
            ask(app, customer, "And one more thing about it", grounding.conversation_id)
        if len(asked) <= 3:
            raise RuntimeError
        return Proposal(DraftKind.ESCALATION, "", "A person should look.", (), "test")

    app = make_app(DRAFT_GENERATOR=engine)
    conversation_id = ask(app, customer)
    run_jobs(app)
    with app.app_context():
        session = app.extensions["sqlalchemy"].session
        assert [(d.state, d.answers_sequence) for d in drafts(session, conversation_id)] == [(DraftState.READY, 2)]
        session.remove()


def test_the_last_failure_of_an_older_job_leaves_a_newer_draft_that_is_being_written_alone(
    make_app: Callable[..., Flask], customer: Customer
) -> None:
    tries: list[str] = []
    newer_is_written, older_is_dead = threading.Event(), threading.Event()
    newer: list[threading.Thread] = []

    def engine(grounding: Grounding) -> Proposal:
        if "one more thing" in grounding.question:
            newer_is_written.set()
            assert older_is_dead.wait(20)
            return Proposal(DraftKind.ESCALATION, "", "A person should look.", (), "test")
        tries.append(grounding.question)
        if len(tries) == 3:  # the last attempt for the first words
            ask(app, customer, "And one more thing about it", grounding.conversation_id)
            newer.append(threading.Thread(target=run_jobs, args=(app,)))
            newer[0].start()
            assert newer_is_written.wait(20)
        raise RuntimeError

    app = make_app(DRAFT_GENERATOR=engine)
    conversation_id = ask(app, customer)
    run_jobs(app)
    older_is_dead.set()
    newer[0].join()
    with app.app_context():
        session = app.extensions["sqlalchemy"].session
        assert [(d.state, d.answers_sequence) for d in drafts(session, conversation_id)] == [(DraftState.READY, 2)]
        session.remove()


def waiting_job(session: Session, conversation_id: int) -> Job:
    session.rollback()
    return session.scalars(
        select(Job)
        .where(Job.unique_key == f"drafting.draft:{conversation_id}")
        .order_by(Job.id.desc())
        .limit(1)
        .execution_options(populate_existing=True)
    ).one()


def test_discarding_a_waiting_job_fails_its_draft_and_retrying_it_makes_it_again(
    app: Flask, session: Session, customer: Customer
) -> None:
    conversation_id = ask(app, customer)
    waits = waiting_job(session, conversation_id)
    job_service.discard(session, waits.id, actor=MINA)
    session.commit()
    (draft,) = drafts(session, conversation_id)
    assert (draft.state, draft.failure) == (DraftState.FAILED, DraftFailure.JOB_DISCARDED)
    assert run_jobs(app) == 0

    job_service.retry(session, waits.id, actor=MINA)
    session.commit()
    (draft,) = drafts(session, conversation_id)
    assert (draft.state, draft.failure) == (DraftState.GENERATING, None)
    run_jobs(app)
    assert drafts(session, conversation_id)[0].state is DraftState.READY
    by = session.execute(
        select(AuditEntry.action, AuditEntry.actor_id)
        .where(AuditEntry.subject_type == "draft", AuditEntry.subject_id == draft.id)
        .order_by(AuditEntry.id)
    ).all()
    assert [tuple(row) for row in by] == [
        ("draft.generating", "system:drafting"),
        ("draft.failed", "mina"),
        ("draft.generating", "mina"),
        ("draft.ready", "system:drafting"),
    ]


def test_a_job_that_is_asked_for_again_meanwhile_is_not_discarded(
    app: Flask, session: Session, customer: Customer, database_url: str
) -> None:
    conversation_id = ask(app, customer)
    waits = waiting_job(session, conversation_id).id
    session.rollback()
    refused: list[Conflict] = []

    def discard() -> None:
        with app.app_context():
            own = app.extensions["sqlalchemy"].session
            try:
                job_service.discard(own, waits, actor=MINA)
            except Conflict as conflict:
                refused.append(conflict)
            own.commit()

    receive(session, customer=customer, body="And this", channel="widget", conversation_id=conversation_id)
    thread = threading.Thread(target=discard)
    thread.start()
    wait_until(lambda: blocked(database_url))
    session.commit()
    thread.join()
    assert len(refused) == 1
    assert waiting_job(session, conversation_id).state is JobState.QUEUED
    assert [d.state for d in drafts(session, conversation_id)] == [DraftState.GENERATING]
    run_jobs(app)
    assert drafts(session, conversation_id)[-1].state is DraftState.READY


def test_retrying_the_dead_job_makes_its_failed_draft_again(make_app: Callable[..., Flask], customer: Customer) -> None:
    awake: list[bool] = []

    def engine(grounding: Grounding) -> Proposal:
        if not awake:
            raise RuntimeError
        return Proposal(DraftKind.ESCALATION, "", "A person should look.", (), "test")

    app = make_app(DRAFT_GENERATOR=engine)
    with app.app_context():
        session = app.extensions["sqlalchemy"].session
        draft = ready(app, session, customer)
        assert draft.state is DraftState.FAILED
        dead = session.scalars(select(Job).where(Job.state == JobState.DEAD).order_by(Job.id.desc()).limit(1)).one()
        awake.append(True)
        job_service.retry(session, dead.id, actor=MINA)
        session.commit()
        assert drafts(session, draft.conversation_id)[0].state is DraftState.GENERATING  # its page says so at once
        run_jobs(app)
        (again,) = drafts(session, draft.conversation_id)
        assert (again.id, again.state, again.failure) == (draft.id, DraftState.READY, None)
        session.remove()


def test_a_draft_that_was_asked_for_names_who_asked(app: Flask, session: Session, customer: Customer) -> None:
    draft = ready(app, session, customer)

    def started_by(draft_id: int) -> str | None:
        wanted = (AuditEntry.subject_type == "draft", AuditEntry.subject_id == draft_id)
        return session.scalar(select(AuditEntry.actor_id).where(*wanted, AuditEntry.action == "draft.generating"))

    service.discard(session, draft.id, actor=MINA, reason="wrong")
    again = service.regenerate(session, draft.conversation_id, actor=Actor.operator(Operator("omar", "Omar Reyes")))
    session.commit()
    assert (started_by(draft.id), started_by(again.id)) == ("system:drafting", "omar")


def test_a_refused_discard_leaves_who_decided_as_it_was(app: Flask, session: Session, customer: Customer) -> None:
    draft = ready(app, session, customer)
    service.approve(session, draft.id, actor=MINA)
    session.commit()
    with pytest.raises(IllegalTransition):
        service.discard(session, draft.id, actor=Actor.operator(Operator("omar", "Omar Reyes")), reason="wrong")
    session.commit()  # a host that goes on with its own work
    assert drafts(session, draft.conversation_id)[-1].decided_by == "mina"


def bad_engine(grounding: Grounding) -> Proposal:
    made_up = Citation(1, 1, 1, 999_999, "Nowhere", "", "…")
    return Proposal(DraftKind.REPLY, "Trust me. [1]", "", (made_up,), "bad")


def raising_engine(grounding: Grounding) -> Proposal:
    raise RuntimeError("model is asleep")


def writing(**changes: str) -> Callable[[Grounding], Proposal]:
    """An engine whose proposal could be sent but for these texts."""

    def engine(grounding: Grounding) -> Proposal:
        found = next(passage for passage in grounding.passages if passage.public)
        quote = changes.get("quote", found.content[:80])
        citation = Citation(1, found.article_id, found.revision_id, found.chunk_id, found.title, found.heading, quote)
        return Proposal(
            DraftKind.REPLY,
            changes.get("body", "Hold it. [1]"),
            changes.get("summary", "One article."),
            (citation,),
            changes.get("engine", "test"),
        )

    return engine


def declining(reason: object) -> Callable[[Grounding], Declined]:
    """An engine that writes nothing, and gives whatever reason."""
    return lambda grounding: Declined(cast(str, reason))


def hanging_engine(grounding: Grounding) -> Proposal:
    time.sleep(1)
    return Proposal(DraftKind.ESCALATION, "", "Nobody hears this any more.", (), "late")


@pytest.mark.parametrize(
    ("engine", "reason"),
    [
        (bad_engine, DraftFailure.HOOK_INVALID),
        (lambda grounding: "text", DraftFailure.HOOK_INVALID),
        (raising_engine, DraftFailure.HOOK_RAISED),
        (hanging_engine, DraftFailure.HOOK_TIMEOUT),
        *(
            (writing(**unfit), DraftFailure.HOOK_INVALID)
            for unfit in (
                {"body": "Hold\x00 it. [1]"},
                {"body": "\ud800 [1]"},
                {"body": "[1]"},
                {"body": "x" * 10_001},
                {"summary": "\x00"},
                {"engine": "e\x00"},
                {"quote": "\x00"},
            )
        ),
        *((declining(reason), DraftFailure.HOOK_INVALID) for reason in ("", " ", "no\x00thing", 7)),
    ],
)
def test_an_engine_that_fails_or_makes_things_up_ends_in_a_failed_draft_that_can_be_made_again(
    make_app: Callable[..., Flask],
    customer: Customer,
    engine: Callable[[Grounding], object],
    reason: DraftFailure,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("flask_cairnloop.hooks.LONGEST_HOOK", 0.2)
    app = make_app(DRAFT_GENERATOR=engine)
    with app.app_context():
        session = app.extensions["sqlalchemy"].session
        draft = ready(app, session, customer)
        assert draft.state is DraftState.FAILED
        assert draft.failure == reason
        service.regenerate(session, draft.conversation_id, actor=MINA)
        session.commit()
        assert [d.state for d in drafts(session, draft.conversation_id)] == [
            DraftState.SUPERSEDED,
            DraftState.GENERATING,
        ]
        session.remove()


def test_an_engine_of_the_hosts_writes_as_long_as_what_is_sent_fits(
    make_app: Callable[..., Flask], customer: Customer
) -> None:
    app = make_app(DRAFT_GENERATOR=writing(body="Hold it. [1]"), MESSAGE_LIMIT=len("Hold it."))
    with app.app_context():
        session = app.extensions["sqlalchemy"].session
        message = receive(session, customer=customer, body="gauge", subject=QUESTION, channel="widget")
        session.commit()
        run_jobs(app)
        (draft,) = drafts(session, message.conversation_id)
        assert draft.state is DraftState.READY
        assert service.approve(session, draft.id, actor=MINA).body == "Hold it."
        session.remove()


@pytest.mark.parametrize(("limit", "kind"), [(40, DraftKind.ESCALATION), (260, DraftKind.REPLY)])
def test_no_draft_is_longer_than_a_message_may_be(
    make_app: Callable[..., Flask], customer: Customer, limit: int, kind: DraftKind
) -> None:
    app = make_app(MESSAGE_LIMIT=limit, AUTOMATION_POLICY=lambda draft: "allow")
    with app.app_context():
        session = app.extensions["sqlalchemy"].session
        message = receive(session, customer=customer, body="gauge", subject=QUESTION, channel="widget")
        session.commit()
        run_jobs(app)
        (draft,) = drafts(session, message.conversation_id)
        assert (draft.kind, draft.grounding) == (kind, Strength.STRONG)
        assert draft.state is (DraftState.APPROVED if kind is DraftKind.REPLY else DraftState.READY)
        session.remove()


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        ("HookFailed: CAIRNLOOP_DRAFT_GENERATOR timeout: no answer in time", DraftFailure.HOOK_TIMEOUT),
        ("The worker was lost while it ran.", DraftFailure.WORKER_LOST),
        (None, DraftFailure.WORKER_LOST),
        ("Its job was discarded before it ran.", DraftFailure.JOB_DISCARDED),
        ("OperationalError: server closed the connection", DraftFailure.OTHER),
        ("HookFailed: cleo wrote invalid: things", DraftFailure.OTHER),
        ("", DraftFailure.OTHER),
    ],
)
def test_the_last_error_of_a_job_is_kept_as_one_of_few_reasons(error: str | None, reason: DraftFailure) -> None:
    assert DraftFailure.of(error) is reason


def test_hooks_that_use_their_whole_time_leave_the_job_its_own(
    make_app: Callable[..., Flask], customer: Customer
) -> None:
    local = default_embedder()
    assert local is not None
    asked: list[str] = []

    class Counting:
        model = local.model
        dimensions = local.dimensions

        def embed(self, texts: Sequence[str], *, kind: Literal["query", "passage"]) -> Sequence[Sequence[float]]:
            asked.append(kind)
            return local.embed(texts, kind)

    def policy(draft: DraftInfo) -> str:
        asked.append("policy")
        return "require_approval"

    app = make_app(EMBEDDER=Counting(), AUTOMATION_POLICY=policy)
    run_jobs(app)  # what other tests have left
    asked.clear()
    ask(app, customer)
    run_jobs(app)
    assert asked == ["query", "query", "passage", "policy"]
    assert definition("drafting.draft").timeout >= len(asked) * LONGEST_HOOK + 30


def test_the_answer_to_our_question_is_searched_with_what_was_asked_before(
    app: Flask, session: Session, customer: Customer
) -> None:
    from flask_cairnloop.drafting import question

    conversation_id = ask(app, customer, "It does not work")
    draft = drafts(session, conversation_id)[-1]
    draft.state, draft.kind, draft.body = DraftState.READY, DraftKind.CLARIFICATION, "Which part?"
    service.approve(session, draft.id, actor=MINA)
    session.commit()
    ask(app, customer, "The brass gauge", conversation_id)
    asked = question.read(session, session.get_one(Conversation, conversation_id))
    assert asked.question == "It does not work\nThe brass gauge"
    assert asked.clarifications == 1
