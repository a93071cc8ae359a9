"""Forgetting a customer: whole or not at all, for good also when something else happens at that moment."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from redis import Redis
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from flask_cairnloop import (
    Customer,
    DraftKind,
    Grounding,
    Operator,
    Proposal,
    add_note,
    assign,
    open_conversation,
    receive,
    reopen,
    reply,
    resolve,
)
from flask_cairnloop.actors import Actor, ActorKind
from flask_cairnloop.audit.models import AuditEntry
from flask_cairnloop.clock import now
from flask_cairnloop.conversations import service as conversations
from flask_cairnloop.conversations.models import Conversation, ConversationStatus, CustomerRecord, Message
from flask_cairnloop.drafting import service as drafting
from flask_cairnloop.drafting.models import Draft, DraftState
from flask_cairnloop.errors import Conflict, CustomerForgotten, NotFound
from flask_cairnloop.jobs import Job, JobContext, JobState, enqueue, job
from flask_cairnloop.jobs import service as jobs
from flask_cairnloop.privacy.service import export, forget
from flask_cairnloop.testing import run_jobs
from tests.support import traces
from tests.support.databases import blocked
from tests.support.host import HostNote
from tests.support.processes import wait_until

OMAR = Operator("omar", "Omar Reyes")
MINA = Actor.operator(Operator("mina", "Mina Keller"))
Act = Callable[[Session], Any]


@job("quoting.body", max_attempts=1)
def quote(context: JobContext, *, conversation_id: int) -> None:
    """A job whose exception says what it read, as an exception may."""
    body = context.session.scalars(select(Message.body).where(Message.conversation_id == conversation_id)).first()
    raise ValueError(body)


def somebody() -> tuple[Customer, tuple[str, ...]]:
    """A customer nobody has seen, and the words that only they have."""
    mark = uuid.uuid4().hex[:10]
    words = (f"ref{mark}", f"name{mark}", f"mail{mark}", f"org{mark}", f"said{mark}")
    return Customer(words[0], f"Ana {words[1]}", f"{words[2]}@customer.example", words[3]), words


def ask(session: Session, customer: Customer, body: str = "", **keys: Any) -> int:
    body = body or f"Where is it? said{customer.ref[3:]}"
    message = receive(session, customer=customer, body=body, channel="widget", **keys)
    session.commit()
    return message.conversation_id


def gone(session: Session, redis: Redis, words: tuple[str, ...]) -> bool:
    session.rollback()
    return traces.found(session, redis, words) == set()


def test_it_is_whole_or_not_at_all(session: Session, redis: Redis) -> None:
    customer, words = somebody()
    ask(session, customer)
    before = traces.found(session, redis, words)
    session.add(HostNote(body="the host's own work"))
    forget(session, customer.ref, actor=MINA)
    session.rollback()
    assert traces.found(session, redis, words) == before != set()

    note = HostNote(body="begun")
    session.add(note)
    session.flush()
    note.body = "the host's own work, in one transaction"
    forget(session, customer.ref, actor=MINA)
    session.commit()
    assert gone(session, redis, words)
    assert note.body == "the host's own work, in one transaction"


def test_a_second_time_there_is_nobody_and_nothing_changes(session: Session) -> None:
    customer, _ = somebody()
    ask(session, customer)
    done = forget(session, customer.ref, actor=OMAR)
    session.commit()
    stand_in = session.get_one(CustomerRecord, done.customer_id).ref
    entries = session.scalar(select(func.count()).select_from(AuditEntry))
    for ref in (customer.ref, stand_in, "nobody", "", "a\x00b", "\udcff"):
        for act in (lambda ref=ref: forget(session, ref, actor=OMAR), lambda ref=ref: export(session, ref)):
            with pytest.raises(NotFound, match="No customer has this reference"):
                act()
    # Who has read the stand-in somewhere cannot bring it to life.
    revived = Customer(stand_in, "Somebody else")
    for act in (
        lambda: ask(session, revived),
        lambda: open_conversation(session, customer=revived, actor=OMAR, subject="Hello"),
    ):
        with pytest.raises(CustomerForgotten):
            act()
    session.commit()
    assert session.scalar(select(func.count()).select_from(AuditEntry)) == entries
    assert session.get_one(CustomerRecord, done.customer_id).name == "Forgotten customer"


def test_it_is_audited_without_words_and_everybody_else_stays(session: Session, redis: Redis) -> None:
    (customer, words), (other, others_words) = somebody(), somebody()
    ask(session, customer)
    theirs = ask(session, other)
    before = traces.found(session, redis, others_words)
    done = forget(session, customer.ref, actor=OMAR)
    session.commit()
    entry = session.scalars(
        select(AuditEntry).where(AuditEntry.action == "customer.forget").order_by(AuditEntry.id.desc())
    ).first()
    assert entry is not None
    assert (entry.actor_id, entry.subject_type, entry.subject_id) == ("omar", "customer", done.customer_id)
    assert (
        entry.data
        == dict(done.counts)
        == {
            "drafts": 1,
            "actions": 0,
            "follow_ups": 0,
            "suppressions": 0,
            "tokens": 0,
            "files": 0,
            "unsent": 0,
            "messages": 2,
            "ratings": 0,
            "conversations": 1,
            "service_levels": 0,
            "jobs": 1,
            "questions": 0,
            "suggestions": 0,
            "gaps": 0,
            "reasons": 0,
        }
    )
    assert gone(session, redis, words)
    assert traces.found(session, redis, others_words) == before
    assert session.get_one(Conversation, theirs).status is ConversationStatus.OPEN


def test_a_customer_may_have_themselves_forgotten(session: Session, redis: Redis) -> None:
    customer, words = somebody()
    ask(session, customer)
    forget(session, customer.ref, actor=customer)
    session.commit()
    assert gone(session, redis, words)
    assert session.scalars(select(CustomerRecord).where(CustomerRecord.ref == customer.ref)).all() == []


def test_a_customer_who_never_wrote_can_be_forgotten(session: Session, redis: Redis) -> None:
    customer, words = somebody()
    open_conversation(session, customer=customer, actor=customer, subject=f"About {words[4]}")
    session.commit()
    assert forget(session, customer.ref, actor=MINA).counts["messages"] == 1
    session.commit()
    assert gone(session, redis, words)


def test_what_they_did_in_conversations_of_others_is_found_as_well(session: Session, redis: Redis) -> None:
    (customer, words), (other, others_words) = somebody(), somebody()
    theirs = ask(session, other)
    helper = Customer(customer.ref, customer.name)
    reply(session, theirs, actor=helper, body=f"I had that too, {words[4]}", client_id=uuid.uuid4())
    resolve(session, theirs, actor=helper)  # before they have a row of their own
    session.commit()
    assert forget(session, customer.ref, actor=MINA).counts["messages"] == 2
    session.commit()
    assert gone(session, redis, words)
    conversation = session.get_one(Conversation, theirs)
    assert (conversation.preview, conversation.last_author_name) == ("[erased]", "Forgotten customer")
    assert {f"{others_words[4]} in messages", f"{others_words[0]} in customers"} <= traces.found(
        session, redis, others_words
    )


def test_open_conversations_are_closed_and_take_nothing_any_more(session: Session, redis: Redis) -> None:
    customer, words = somebody()
    conversation_id = ask(session, customer)
    forget(session, customer.ref, actor=MINA)
    session.commit()
    conversation = session.get_one(Conversation, conversation_id)
    assert (conversation.status, conversation.waiting_since) == (ConversationStatus.RESOLVED, None)
    draft = session.scalars(select(Draft).where(Draft.conversation_id == conversation_id)).one()
    assert (draft.state, draft.superseded_by) == (DraftState.SUPERSEDED, "forget")
    acts: tuple[Act, ...] = (
        lambda s: reply(s, conversation_id, actor=MINA, body=f"Dear {words[1]}"),
        lambda s: add_note(s, conversation_id, actor=MINA, body=f"It was {words[1]}"),
        lambda s: reopen(s, conversation_id, actor=MINA),
        lambda s: assign(s, conversation_id, actor=MINA, assignee=OMAR),
        lambda s: drafting.regenerate(s, conversation_id, actor=MINA),
        lambda s: drafting.approve(s, draft.id, actor=MINA, body=f"Dear {words[1]}"),
    )
    for act in acts:
        with pytest.raises(CustomerForgotten):
            act(session)
        session.commit()  # a host that goes on with its own work
    assert gone(session, redis, words)
    session.refresh(conversation)
    assert (conversation.status, conversation.assignee_id) == (ConversationStatus.RESOLVED, None)
    with pytest.raises(NotFound):
        ask(session, customer, conversation_id=conversation_id)
    session.rollback()


# --- at the same moment -----------------------------------------------------------------------------------------------


class Elsewhere:
    """Something in a thread, in an app context and a transaction of its own."""

    def __init__(self, app: Flask, act: Act) -> None:
        self.error: Exception | None = None
        self._app, self._act = app, act
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        with self._app.app_context():
            session = self._app.extensions["sqlalchemy"].session
            try:
                self._act(session)
                session.commit()
            except Exception as error:
                self.error = error
            session.remove()

    def end(self) -> Exception | None:
        self._thread.join(30)
        assert not self._thread.is_alive()
        return self.error


def test_a_message_that_comes_meanwhile_is_the_first_of_a_new_customer(
    app: Flask, session: Session, redis: Redis, database_url: str
) -> None:
    customer, _ = somebody()
    old = ask(session, customer)
    forget(session, customer.ref, actor=MINA)
    later = Elsewhere(app, lambda s: ask(s, customer, "And me?", resume=True))
    wait_until(lambda: blocked(database_url))
    session.commit()
    assert later.end() is None
    person = session.scalars(select(CustomerRecord).where(CustomerRecord.ref == customer.ref)).one()
    (new,) = session.scalars(select(Conversation).where(Conversation.customer_id == person.id)).all()
    assert (new.id != old, new.subject, new.last_sequence) == (True, "And me?", 1)
    assert session.get_one(Conversation, old).customer_id != person.id


def test_a_message_that_came_just_before_is_erased_with_the_others(
    app: Flask, session: Session, redis: Redis, database_url: str
) -> None:
    customer, words = somebody()
    conversation_id = ask(session, customer)
    receive(session, customer=customer, body=words[4], channel="widget", conversation_id=conversation_id)
    later = Elsewhere(app, lambda s: forget(s, customer.ref, actor=MINA))
    wait_until(lambda: blocked(database_url))
    session.commit()
    assert later.end() is None
    assert gone(session, redis, words)


@pytest.mark.parametrize("what", ["reply", "note", "rate", "seen"])
def test_what_waits_for_the_conversation_finds_it_closed(
    app: Flask, session: Session, redis: Redis, database_url: str, what: str
) -> None:
    customer, words = somebody()
    conversation_id = ask(session, customer)
    resolve(session, conversation_id, actor=MINA)
    session.commit()
    acts: dict[str, Act] = {
        "reply": lambda s: reply(s, conversation_id, actor=MINA, body=f"Dear {words[1]}"),
        "note": lambda s: add_note(s, conversation_id, actor=MINA, body=f"About {words[1]}"),
        "rate": lambda s: conversations.rate(
            s, customer=customer, conversation_id=conversation_id, rating=5, comment=words[4]
        ),
        "seen": lambda s: conversations.mark_seen(s, customer.ref, conversation_id, 2),
    }
    forget(session, customer.ref, actor=MINA)
    later = Elsewhere(app, acts[what])
    wait_until(lambda: blocked(database_url))
    session.commit()
    assert isinstance(later.end(), CustomerForgotten)
    assert gone(session, redis, words)


@pytest.mark.parametrize("ends", ["well", "badly"])
def test_a_draft_that_is_being_made_leaves_nothing(make_app: Callable[..., Flask], redis: Redis, ends: str) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def engine(grounding: Grounding) -> Proposal:
        begun.set()
        assert go_on.wait(30)
        if ends == "badly":
            raise ValueError(grounding.question)
        return Proposal(DraftKind.ESCALATION, grounding.question, grounding.question, (), "test")

    app = make_app(DRAFT_GENERATOR=engine)
    with app.app_context():
        session = app.extensions["sqlalchemy"].session
        customer, words = somebody()
        conversation_id = ask(session, customer)
        worker = threading.Thread(target=run_jobs, args=(app,))
        worker.start()
        assert begun.wait(30)
        session.rollback()
        forget(session, customer.ref, actor=MINA)
        session.commit()
        go_on.set()
        worker.join(30)
        assert gone(session, redis, words)
        draft = session.scalars(select(Draft).where(Draft.conversation_id == conversation_id)).one()
        assert (draft.state, draft.body, draft.question) == (DraftState.SUPERSEDED, "", "")
        work = session.scalars(
            select(Job).where(Job.arguments["conversation_id"].as_integer() == conversation_id)
        ).one()
        assert (work.state, work.last_error) == (JobState.DISCARDED, None)
        session.remove()


# --- jobs -------------------------------------------------------------------------------------------------------------


def test_what_an_exception_said_goes_and_nothing_waits(app: Flask, session: Session, redis: Redis) -> None:
    customer, words = somebody()
    conversation_id = ask(session, customer)
    dead = enqueue(session, "quoting.body", {"conversation_id": conversation_id})
    session.commit()
    run_jobs(app)
    assert f"{words[4]} in jobs" in traces.found(session, redis, words)
    later = receive(session, customer=customer, body="And?", channel="widget", conversation_id=conversation_id)
    session.commit()
    forget(session, customer.ref, actor=MINA)
    session.commit()
    assert gone(session, redis, words)
    assert session.get_one(Job, dead).state is JobState.DISCARDED
    assert run_jobs(app) == 0
    jobs.retry(session, dead, actor=MINA)  # it finds words of nobody
    session.commit()
    run_jobs(app)
    assert session.get_one(Job, dead, populate_existing=True).last_error == "ValueError: [erased]"
    assert later.conversation_id == conversation_id


def test_a_job_that_is_just_ending_is_not_waited_for(app: Flask, session: Session, redis: Redis) -> None:
    customer, words = somebody()
    conversation_id = ask(session, customer)
    held, let_go = threading.Event(), threading.Event()

    def hold(own: Session) -> None:
        about = Job.arguments["conversation_id"].as_integer() == conversation_id
        own.execute(update(Job).where(about).values(last_error=words[4]))
        held.set()
        assert let_go.wait(30)

    ending = Elsewhere(app, hold)
    assert held.wait(30)
    with pytest.raises(Conflict, match="Try again"):
        forget(session, customer.ref, actor=MINA)
    session.rollback()
    threading.Timer(0.3, let_go.set).start()
    # The command tries again by itself.
    done = app.test_cli_runner().invoke(args=["cairnloop", "customers", "forget", customer.ref, "--yes"])
    assert done.exit_code == 0, done.output
    assert ending.end() is None
    assert gone(session, redis, words)


# --- the command ------------------------------------------------------------------------------------------------------


def test_the_command_asks_first_and_says_what_it_did(app: Flask, session: Session, redis: Redis) -> None:
    customer, words = somebody()
    ask(session, customer)
    command = ["cairnloop", "customers", "forget", customer.ref]
    refused = app.test_cli_runner().invoke(args=command, input="n\n")
    assert refused.exit_code == 1
    assert f"Ana {words[1]}. Conversations: 1, with messages, notes and events: 1." in refused.stderr
    assert not gone(session, redis, words)
    done = app.test_cli_runner().invoke(args=command, input="y\n")
    assert done.exit_code == 0
    assert (
        done.stdout == "Forgotten. Erased: drafts 1, actions 0, follow_ups 0, suppressions 0, "
        "tokens 0, files 0, unsent 0, messages 2, ratings 0, conversations 1, "
        "service_levels 0, jobs 1, questions 0, suggestions 0, gaps 0, reasons 0.\n"
    )
    assert gone(session, redis, words)
    again = app.test_cli_runner().invoke(args=[*command, "--yes"])
    assert (again.exit_code, again.stdout) == (1, "")
    assert again.stderr == "Error: No customer has this reference.\n"


def test_the_export_holds_everything_as_json(app: Flask, session: Session) -> None:
    customer, words = somebody()
    conversation_id = ask(session, customer)
    run_jobs(app)
    reply(session, conversation_id, actor=OMAR, body="Here.")
    add_note(session, conversation_id, actor=MINA, body="A regular.")
    resolve(session, conversation_id, actor=MINA)
    conversations.rate(session, customer=customer, conversation_id=conversation_id, rating=4, comment="Quick")
    session.commit()

    printed = app.test_cli_runner().invoke(args=["cairnloop", "customers", "export", customer.ref])
    assert printed.exit_code == 0
    held = json.loads(printed.stdout)
    assert held["customer"]["ref"] == words[0]
    assert (held["customer"]["name"], held["customer"]["organization"]) == (f"Ana {words[1]}", words[3])
    (conversation,) = held["conversations"]
    assert (conversation["rating"], conversation["rating_comment"], conversation["status"]) == (4, "Quick", "resolved")
    assert [(m["kind"], m.get("body"), m.get("author")) for m in conversation["messages"]] == [
        ("customer", f"Where is it? {words[4]}", f"Ana {words[1]}"),
        ("reply", "Here.", "Omar Reyes"),
        ("note", "A regular.", None),  # about them, so theirs to read; who of the team wrote it is not
        ("event", None, None),
        ("event", None, None),
    ]
    assert "Mina" not in printed.stdout
    (draft,) = held["drafts"]
    assert words[4] in draft["question"]
    assert draft["declined"] is None
    assert [entry["action"] for entry in held["activity"]] == [
        "conversation.open",
        "message.receive",
        "conversation.rate",
    ]
    session.rollback()
    one_line = app.test_cli_runner().invoke(args=["cairnloop", "customers", "export", customer.ref, "--json"])
    assert json.loads(one_line.stdout)["customer"] == held["customer"]
    assert one_line.stdout.count("\n") == 1
    unknown = app.test_cli_runner().invoke(args=["cairnloop", "customers", "export", "nobody"])
    assert (unknown.exit_code, unknown.stdout) == (1, "")


def test_the_log_knows_customers_by_a_pseudonym_of_their_own(session: Session) -> None:
    names = []
    for _ in range(2):
        customer, _ = somebody()
        conversation_id = ask(session, customer)
        receive(session, customer=customer, body="And?", channel="widget", conversation_id=conversation_id)
        session.commit()
        found = session.scalars(
            select(AuditEntry.actor_id).where(
                AuditEntry.subject_id == conversation_id,
                AuditEntry.subject_type == "conversation",
                AuditEntry.actor_kind == ActorKind.CUSTOMER,
            )
        ).all()
        assert len(found) == 3
        assert len(set(found)) == 1
        names.append(found[0])
    assert names[0] != names[1]
    assert all(name.startswith("pseudonym-") and len(name) == 42 for name in names)


def test_what_was_noted_beside_a_discarded_draft_is_handed_out_and_goes(session: Session, customer: Customer) -> None:
    conversation_id = receive(session, customer=customer, body="Where is it?", channel="widget").conversation_id
    draft = drafting.open_draft(session, conversation_id)
    assert draft is not None
    draft.state, draft.kind, draft.body, draft.ready_at = DraftState.READY, DraftKind.REPLY, "Here.", now()
    session.flush()
    drafting.discard(session, draft.id, actor=MINA, reason="tone", note="She lost her father last week.")
    session.commit()
    (held,) = export(session, customer.ref)["drafts"]
    assert (held["reason"], held["note"]) == ("tone", "She lost her father last week.")
    forget(session, customer.ref, actor=MINA)
    session.commit()
    session.refresh(draft)
    assert (draft.decision_reason, draft.decision_note) == ("tone", None)
