"""Conversations in the states that pages show, made through the services; and a counter of queries."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import event, func, select

from flask_cairnloop import Actor, Customer, propose_action, receive
from flask_cairnloop.clock import now
from flask_cairnloop.conversations.models import Conversation, PendingReply
from flask_cairnloop.drafting import service as drafting
from flask_cairnloop.drafting.models import Draft, DraftState
from flask_cairnloop.drafting.types import DraftKind, PolicyDecision
from flask_cairnloop.governance import service as actions
from flask_cairnloop.knowledge import service as articles
from flask_cairnloop.knowledge.service import Words
from flask_cairnloop.macros.models import Macro
from flask_cairnloop.outbound import queries as outbound_queries
from flask_cairnloop.outbound import service as outbound
from flask_cairnloop.outbound import suppression, templates
from flask_cairnloop.outbound.models import OutboundDelivery, OutboundSuppression
from flask_cairnloop.outbound.types import DeliveryState, Source
from flask_cairnloop.retrieval.memory import remember, views
from flask_cairnloop.retrieval.types import Strength
from flask_cairnloop.testing import run_jobs
from flask_cairnloop.upkeep import candidates, clustering, handoffs, suggestions
from flask_cairnloop.upkeep.models import GapReason, GapSource
from flask_cairnloop.upkeep.service import keep
from tests.support.databases import idle_in_transaction
from tests.support.host import OPERATORS
from tests.support.suggestions import suggested
from tests.support.tools import PEOPLE

CITATION = {
    "number": 1,
    "article_id": 7,
    "revision_id": 9,
    "chunk_id": 11,
    "title": "Reset your password",
    "heading": "Account › By e-mail",
    "quote": "The link works for 30 minutes.",
}

LETTERS = str.maketrans("0123456789", "ghijklmnop")  # words that nothing takes for a number, or for a key


class Desk:
    """Puts real rows behind the pages."""

    def __init__(self, app: Flask) -> None:
        self.app = app

    def ask(
        self, body: str = "How do I reset my password?", *, customer: Customer | None = None, into: int | None = None
    ) -> int:
        """A customer's message; returns the conversation's id."""
        customer = customer or Customer(f"c-{uuid.uuid4().hex[:10]}", "Cleo Marsh", None, "Marsh Bakery")
        with self.app.app_context():
            session = self.app.extensions["sqlalchemy"].session
            message = receive(session, customer=customer, body=body, channel="widget", conversation_id=into)
            session.commit()
            return message.conversation_id

    def gap(self, *, accepted: bool = False, question: str = "") -> int:
        """A question that no article answers, of which nobody else asks anything like it."""
        with self.app.app_context():
            session = self.app.extensions["sqlalchemy"].session
            event = keep(
                session,
                question or " ".join(uuid.uuid4().hex[:8].translate(LETTERS) for _ in range(3)),
                source=GapSource.HELP_SEARCH,
                reason=GapReason.NOT_COVERED,
                actor=Actor.system("test"),
                visitor=uuid.uuid4().hex,
            )
            assert event is not None
            number = clustering.join(session, event.id, None)
            assert number is not None
            if accepted:
                candidates.accept(session, number, actor=OPERATORS["mina"])
            session.commit()
            return number

    def suggestion(self, *, state: str = "pending", **about: Any) -> int:
        """A suggested article, for a gap of its own where none is named."""
        about = about if {"candidate_id", "conversation_id"} & about.keys() else {"candidate_id": self.gap(), **about}
        with self.app.app_context():
            session = self.app.extensions["sqlalchemy"].session
            found = suggested(session, **about)
            if state == "approved":
                suggestions.approve(session, found.id, actor=OPERATORS["omar"])
            if state == "rejected":
                suggestions.reject(session, found.id, actor=OPERATORS["omar"], reason="not_needed")
            session.commit()
            return found.id

    def suggestion_for(self, endpoint: str) -> int:
        """A suggested article in a state in which this route has something to do, opened in Mina's editor."""
        states = {"publish_suggestion": "approved", "reopen_suggestion": "rejected"}
        number = self.contested() if endpoint == "merge_review" else self.suggestion(state=states.get(endpoint, ""))
        with self.app.app_context():
            session = self.app.extensions["sqlalchemy"].session
            token = handoffs.offer(session, number, operator_id="mina")
            handoffs.take(session, token, suggestion_id=number, operator_id="mina")
            session.commit()
        return number

    def contested(self, *, mine: str = "Two words.", theirs: str = "", draft: bool = True) -> int:
        """A change of an article's second paragraph, in whose way Omar's draft, or what he published, was found.

        Args:
            theirs: what he made of the same paragraph; left out, he changed the first one.
        """
        omar = Actor.operator(OPERATORS["omar"])
        with self.app.app_context():
            session = self.app.extensions["sqlalchemy"].session
            made = articles.create_article(
                session, Words(f"ferrets-{uuid.uuid4().hex[:8]}", "Ferrets", "One.\n\nTwo."), actor=omar
            )
            articles.publish(session, made.id, actor=omar)
            number, body = made.id, f"One.\n\n{theirs}" if theirs else "One, anew.\n\nTwo."
            found = suggested(
                session, candidate_id=self.gap(), article_id=number, title="Ferrets", body=f"One.\n\n{mine}"
            ).id
            words = Words(made.slug, "Ferrets", body)
            articles.edit_article(session, number, words, edits=made.edits, actor=omar)
            if not draft:
                articles.publish(session, number, actor=omar)
            suggestions.approve(session, found, actor=omar)
            session.commit()
            return int(found)

    def macro(self, owner: str = "", body: str = "Hello!") -> int:
        """A macro, of the whole team unless it has an owner."""
        with self.app.app_context():
            session = self.app.extensions["sqlalchemy"].session
            name = uuid.uuid4().hex[:12]
            macro = Macro(owner_id=owner, name=name, body=body, actions=["resolve", "assign"], edited_by="Mina Keller")
            session.add(macro)
            session.commit()
            return macro.id

    def pending(self, conversation_id: int, by: str = "mina", **values: Any) -> int:
        """A reply that can still be taken back."""
        with self.app.app_context():
            session = self.app.extensions["sqlalchemy"].session
            about = {"seen": 9, "resolves": False, "citations": [], "send_at": now() + timedelta(seconds=60)}
            who = {"author_id": by, "author_name": OPERATORS[by].name}
            reply = PendingReply(
                conversation_id=conversation_id, state="pending", body="A word.", **(about | who | values)
            )
            session.add(reply)
            session.commit()
            return reply.id

    def action(self, conversation_id: int | None, tool: str = "tag", by: str = "ada", **inputs: Any) -> int:
        """An action, where the host has the tools of :mod:`tests.support.tools`."""
        with self.app.app_context():
            session = self.app.extensions["sqlalchemy"].session
            given = {"mark": uuid.uuid4().hex[:8], **inputs}
            made = propose_action(session, tool, given, actor=PEOPLE[by], conversation_id=conversation_id)
            session.commit()
            return made.id

    def action_for(self, endpoint: str, conversation_id: int) -> int:
        """An action in a state in which this route has something to do."""
        if endpoint == "settle_action":
            action = self.action(conversation_id, "webhook", how="raise")
            self._decide(lambda session: actions.approve(session, action, actor=PEOPLE["ben"]))
            run_jobs(self.app)
            return action
        action = self.action(conversation_id, by="lee" if endpoint == "withdraw_action" else "ada")
        until, ben = now() + timedelta(days=1), PEOPLE["ben"]
        if endpoint == "back_action":
            self._decide(lambda s: actions.defer(s, action, actor=ben, until=until, reason="Later"))
        elif endpoint == "propose_again":
            self._decide(lambda s: actions.reject(s, action, actor=ben, reason="No"))
        return action

    def template(self, body: str = "Did it help?") -> int:
        """A template of the team's for follow-ups."""
        with self.app.app_context():
            session = self.app.extensions["sqlalchemy"].session
            name = f"T {uuid.uuid4().hex[:8]}"
            made = templates.save(
                session, None, operator=OPERATORS["mina"], name=name, subject="Hello", body=body, cancel_on_reply=True
            )
            session.commit()
            return int(made.id)

    def envelope(self, *conversations: int, sent: bool = False, body: str = "Did it help?") -> int:
        """The preview of a follow-up to the customers of these conversations, or one that was sent."""
        template = self.template(body)
        with self.app.app_context():
            session = self.app.extensions["sqlalchemy"].session
            chosen = outbound_queries.of_conversations(session, conversations)
            mina, source = OPERATORS["mina"], Source.SELECTION
            made = outbound.preview(session, chosen, template, actor=mina, source=source)
            if sent:
                outbound.submit(session, made.id, actor=mina)
            session.commit()
            return int(made.id)

    def delivery(self, conversation_id: int, state: DeliveryState = DeliveryState.SCHEDULED) -> int:
        """A follow-up that is in this state."""
        envelope = self.envelope(conversation_id, sent=True)
        with self.app.app_context():
            session = self.app.extensions["sqlalchemy"].session
            found = session.scalars(select(OutboundDelivery).filter_by(envelope_id=envelope)).one()
            found.state = state
            if state is DeliveryState.FAILED:
                found.failure = "There is no such address."
            session.commit()
            return int(found.id)

    def suppressed(self) -> int:
        """Somebody who gets no follow-ups."""
        with self.app.app_context():
            session = self.app.extensions["sqlalchemy"].session
            suppression.add(session, f"c-{uuid.uuid4().hex[:10]}", actor=OPERATORS["mina"])
            session.commit()
            return int(session.scalars(select(func.max(OutboundSuppression.id))).one())

    def outbound_for(self, endpoint: str) -> tuple[int, int]:
        """An envelope and a delivery about which a form of this name is sent."""
        endpoint = endpoint.removeprefix("cairnloop.")
        if endpoint == "split_envelope":
            limit = self.app.extensions["cairnloop"].settings.bulk_limit
            return self.envelope(*(self.ask() for _ in range(limit + 1))), 0
        states = {"retry_envelope": DeliveryState.FAILED, "retry_delivery": DeliveryState.FAILED}
        if endpoint.endswith("_delivery") or endpoint in ("cancel_envelope", "retry_envelope"):
            settles = endpoint == "settle_delivery"
            number = self.delivery(
                self.ask(), DeliveryState.UNCERTAIN if settles else states.get(endpoint, DeliveryState.SCHEDULED)
            )
            return int(self.get(OutboundDelivery, number).envelope_id), number
        return self.envelope(self.ask()), 0

    def _decide(self, decision: Callable[[Any], Any]) -> None:
        with self.app.app_context():
            session = self.app.extensions["sqlalchemy"].session
            decision(session)
            session.commit()

    def draft(self, conversation_id: int, **changes: Any) -> int:
        """Bring the open draft into the state a page is to show; by default a ready, well grounded reply."""
        values: dict[str, Any] = {
            "state": DraftState.READY,
            "kind": DraftKind.REPLY,
            "body": "Choose Forgot password. [1]",
            "summary": "Answered from one article.",
            "citations": [CITATION],
            "grounding": Strength.STRONG,
            "policy": PolicyDecision.REQUIRE_APPROVAL,
            "ready_at": now(),
        } | changes
        with self.app.app_context():
            session = self.app.extensions["sqlalchemy"].session
            draft = drafting.open_draft(session, conversation_id)
            assert draft is not None
            for name, value in values.items():
                setattr(draft, name, value)
            session.commit()
            return draft.id

    def answered(self, article_id: int, conversation_id: int, question: str = "When do you open?") -> int:
        """An article that has answered a question; returns the id of that answer."""
        with self.app.app_context():
            session = self.app.extensions["sqlalchemy"].session
            customer_id = session.get_one(Conversation, conversation_id).customer_id
            remember(session, conversation_id, customer_id, 1, question, [article_id])
            session.commit()
            (view,), _ = views(session, article_id)
            return view.answer_id

    def get(self, model: type, id_: int) -> Any:
        with self.app.app_context():
            return self.app.extensions["sqlalchemy"].session.get(model, id_)

    def state(self, draft_id: int) -> DraftState:
        state: DraftState = self.get(Draft, draft_id).state
        return state


@pytest.fixture
def desk(app: Flask) -> Desk:
    return Desk(app)


@pytest.fixture
def fragment(operator_client: FlaskClient) -> Callable[..., Any]:
    """``fragment("POST", path, target, **form)``: what htmx would send for Mina."""

    def send(method: str, path: str, target: str = "div#timeline", **form: Any) -> Any:
        headers = {"HX-Request": "true", "HX-Request-Type": "partial", "HX-Target": target}
        return operator_client.open(path, method=method, data=form or None, headers=headers)

    return send


@pytest.fixture
def steps() -> Callable[..., list[dict[str, Any]]]:
    """``steps(app, read)``: the steps PostgreSQL takes, and took, for the SELECTs of ``read()``."""

    def explain(app: Flask, read: Callable[[], Any]) -> list[dict[str, Any]]:
        asked: list[tuple[str, Any]] = []

        def note(_c: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
            if statement.lstrip().upper().startswith("SELECT"):
                asked.append((statement, parameters))

        with app.app_context():
            engine = app.extensions["sqlalchemy"].engine
        event.listen(engine, "before_cursor_execute", note)
        try:
            read()
        finally:
            event.remove(engine, "before_cursor_execute", note)
        with engine.connect() as connection:
            plans = [
                connection.exec_driver_sql(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", parameters).scalar_one()
                for statement, parameters in asked
            ]
        return [step for plan in plans for step in within(plan[0]["Plan"])]

    def within(step: dict[str, Any]) -> Iterator[dict[str, Any]]:
        yield step
        for part in step.get("Plans", ()):
            yield from within(part)

    return explain


@pytest.fixture
def waiting_transactions(database_url: str) -> Callable[[], int]:
    """How many connections to this database hold a transaction open and do nothing in it, as while host code runs."""
    return partial(idle_in_transaction, database_url)


@pytest.fixture
def queries(app: Flask) -> Callable[[], Any]:
    """``with queries() as seen: ...`` collects the SELECTs of this app."""

    @contextmanager
    def collect() -> Iterator[list[str]]:
        seen: list[str] = []

        def note(_c: Any, _cursor: Any, statement: str, *_: Any) -> None:
            if statement.lstrip().upper().startswith("SELECT"):
                seen.append(statement)

        with app.app_context():
            engine = app.extensions["sqlalchemy"].engine
        event.listen(engine, "before_cursor_execute", note)
        try:
            yield seen
        finally:
            event.remove(engine, "before_cursor_execute", note)

    return collect
