"""A desk with a host that delivers, fails and hangs as a test says, and remembers what it was given."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import select
from sqlalchemy.orm import Session

from flask_cairnloop import Actor, Customer, Delivery, PermanentFailure, RetryableFailure, receive
from flask_cairnloop.conversations.models import Conversation
from flask_cairnloop.outbound import service, templates
from flask_cairnloop.outbound.models import OutboundDelivery, OutboundEnvelope, OutboundTemplate
from flask_cairnloop.outbound.service import Recipient
from flask_cairnloop.outbound.types import Source
from tests.support.host import OPERATORS

MINA, OMAR = OPERATORS["mina"], OPERATORS["omar"]
BODY = "Hello {{customer.first_name}},\n\ndid it help?\n\n{{operator.first_name}}"


class Post:
    """An ``ON_OUTBOUND``. What it does next with a customer stands in ``ways`` under their reference."""

    def __init__(self) -> None:
        self.taken: list[Delivery] = []
        self.ways: dict[str, list[str]] = {}
        self.waits = threading.Event()
        self.called = threading.Event()

    def __call__(self, delivery: Delivery) -> Delivery | None:
        ways = self.ways.get(delivery.customer.ref) or ["take"]
        way = ways.pop(0)
        match way:
            case "refuse":
                raise PermanentFailure("There is no such address.")
            case "later":
                raise RetryableFailure("The post is closed.")
            case "raise":
                raise RuntimeError("a customer's words")
            case "answer failed":
                return delivery.failed("No such address.")
            case "answer later":
                return delivery.later("Come back.")
            case "answer nonsense":
                return "sent"  # type: ignore[return-value]
        self.taken.append(delivery)
        match way:
            case "take and raise":
                raise RuntimeError("after it was sent")
            case "take and hang":
                self.called.set()
                self.waits.wait(10)
            case "take and say so":
                return delivery.sent("post-1")
        return None

    def to(self, ref: str) -> list[Delivery]:
        return [one for one in self.taken if one.customer.ref == ref]


class SafePost(Post):
    """The same, which sends once however often it is called with one key."""

    idempotent = True


@pytest.fixture
def post() -> Post:
    return Post()


@pytest.fixture
def posted(make_app: Callable[..., Flask], post: Post) -> Flask:
    """An app whose host delivers follow-ups."""
    return make_app(ON_OUTBOUND=post)


class Desk:
    """What people at the desk do, each in a transaction of its own."""

    def __init__(self, app: Flask) -> None:
        self.app = app

    def do(self, work: Callable[[Session], Any]) -> Any:
        with self.app.app_context():
            session: Session = self.app.extensions["sqlalchemy"].session()
            session.expire_on_commit = False  # what is handed out can be read afterwards
            try:
                found = work(session)
                session.commit()
                session.expunge_all()
                return found
            finally:
                session.rollback()
                session.close()

    def customer(self, name: str | None = "Cleo Marsh", **known: Any) -> Customer:
        return Customer(f"c-{uuid.uuid4().hex[:10]}", name, **known)

    def asked(self, customer: Customer, body: str = "Where is it?") -> int:
        return self.do(
            lambda s: receive(s, customer=customer, body=body, channel="widget", resume=True).conversation_id
        )

    def template(self, body: str = BODY, subject: str = "About {{conversation.subject}}", **keys: Any) -> int:
        keys = {"cancel_on_reply": True, "name": f"T {uuid.uuid4().hex[:8]}", **keys}
        return self.do(lambda s: templates.save(s, None, operator=MINA, subject=subject, body=body, **keys).id)

    def template_name(self, template_id: int) -> str:
        return self.do(lambda s: s.get_one(OutboundTemplate, template_id).name)

    def recipients(self, conversations: Sequence[int]) -> list[Recipient]:
        def read(session: Session) -> list[Recipient]:
            found = {one.id: one for one in session.scalars(select(Conversation))}
            return [Recipient(found[one].customer_id, one) for one in conversations]

        return self.do(read)

    def preview(self, conversations: Sequence[int], template_id: int, **keys: Any) -> OutboundEnvelope:
        wanted = self.recipients(conversations)
        keys = {"actor": MINA, "source": Source.SELECTION, **keys}
        return self.do(lambda s: service.preview(s, wanted, template_id, **keys))

    def submit(self, envelope: int, actor: Any = MINA) -> OutboundEnvelope:
        return self.do(lambda s: service.submit(s, envelope, actor=actor))

    def rows(self, envelope: int) -> list[OutboundDelivery]:
        chosen = select(OutboundDelivery).where(OutboundDelivery.envelope_id == envelope)
        return self.do(lambda s: list(s.scalars(chosen.order_by(OutboundDelivery.position))))

    def row(self, delivery: int) -> OutboundDelivery:
        return self.do(lambda s: s.get_one(OutboundDelivery, delivery))

    def sent_to(self, conversations: Sequence[int], **keys: Any) -> OutboundEnvelope:
        """Preview and send to these at once."""
        envelope = self.preview(conversations, self.template(**keys))
        return self.submit(envelope.id)


@pytest.fixture
def desk(app: Flask) -> Desk:
    return Desk(app)


@pytest.fixture
def posting(posted: Flask) -> Desk:
    """The desk of an app whose host delivers."""
    return Desk(posted)


ACTOR = Actor.operator(MINA)
