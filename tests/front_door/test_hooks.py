"""Host callables: absent, raising, hanging or answering nonsense, each has its designed outcome."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import select
from sqlalchemy.orm import Session

from flask_cairnloop import (
    ConversationInfo,
    Customer,
    Operator,
    Permission,
    SignedCustomerVerifier,
    Subject,
    receive,
    signals,
)
from flask_cairnloop.audit.models import AuditEntry
from flask_cairnloop.conversations.models import CustomerRecord, Message
from flask_cairnloop.errors import ConfigurationError, HookFailed
from flask_cairnloop.hooks import Hooks
from tests.support.host import HostNote

CLEO = Customer("cleo", "Cleo Marsh", "cleo@customer.example", "Marsh Bakery")
ASKED = ConversationInfo(1, "My key", "open", "widget", datetime(2026, 3, 10, tzinfo=UTC))


def raising(*_: object) -> Any:
    raise RuntimeError("cleo@customer.example is out of luck")


def hanging(*_: object) -> Any:
    time.sleep(3)


class Late:
    """A value of the host whose words are only made when somebody reads them."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self.make = make

    def __str__(self) -> str:
        return str(self.make())


class LateRows(dict[str, object]):
    def items(self) -> Any:
        return raising()


def hooks(app: Flask) -> Hooks:
    return app.extensions["cairnloop"].hooks


def test_a_signed_token_is_good_until_it_is_old_or_touched(app: Flask) -> None:
    verifier = SignedCustomerVerifier("a long enough secret")
    token = verifier.issue(CLEO)
    with app.app_context():
        assert verifier(token) == CLEO
        assert verifier(token[:-2] + "xx") is None
        assert verifier("") is None
        assert SignedCustomerVerifier("another long secret!")(token) is None
        assert SignedCustomerVerifier("a long enough secret", max_age=-1)(token) is None
    with pytest.raises(ConfigurationError):
        SignedCustomerVerifier("short")


def test_nobody_is_let_in_without_a_verifier(make_app: Callable[..., Flask]) -> None:
    app = make_app(CUSTOMER_VERIFIER=None)
    with app.app_context():
        assert hooks(app).verify_customer("anything") is None


@pytest.mark.parametrize(
    "answer",
    [
        raising,
        hanging,
        lambda token: "cleo",
        lambda token: Customer(""),
        lambda token: Customer("x" * 201),
        lambda token: Customer("a\x00b"),
    ],
)
def test_a_verifier_that_fails_lets_nobody_in_and_refuses_nobody(
    make_app: Callable[..., Flask], answer: Callable[..., Any]
) -> None:
    app = make_app(CUSTOMER_VERIFIER=answer, HOOK_TIMEOUT=0.3)
    with app.app_context(), pytest.raises(HookFailed):
        hooks(app).verify_customer("token")


@pytest.mark.parametrize(
    ("provider", "state"),
    [
        (None, "not_configured"),
        (raising, "failed"),
        (hanging, "failed"),
        (lambda customer, conversation: ["a", "b"], "failed"),
        (lambda customer, conversation: {"Plan": Late(raising)}, "failed"),
        (lambda customer, conversation: {"Usage": {Late(raising): 3}}, "failed"),
        (lambda customer, conversation: {"Plan": Late(hanging)}, "failed"),
        (lambda customer, conversation: LateRows(Plan="Team"), "failed"),
        (lambda customer, conversation: None, "empty"),
        (lambda customer, conversation: {}, "empty"),
        (lambda customer, conversation: {"Plan": "Team", "Usage": {"Seats": 3}}, "loaded"),
    ],
)
def test_context_says_what_became_of_it(make_app: Callable[..., Flask], provider: Any, state: str) -> None:
    app = make_app(CONTEXT_PROVIDER=provider, HOOK_TIMEOUT=0.3)
    with app.app_context():
        view = hooks(app).load_context(CLEO, ASKED)
    assert view.state == state
    if state == "loaded":
        assert view.facts == (("Plan", "Team"),)
        assert view.sections == (("Usage", (("Seats", "3"),)),)


def test_a_hook_has_a_database_session_of_its_own(make_app: Callable[..., Flask], customer: Customer) -> None:
    """What it leaves open or breaks does not reach ours."""

    def provider(customer: Customer, conversation: ConversationInfo) -> dict[str, str]:
        from flask import current_app

        own = current_app.extensions["sqlalchemy"].session
        own.add(HostNote(body="left open"))
        own.flush()
        return {"Notes": "1"}

    app = make_app(CONTEXT_PROVIDER=provider)
    with app.app_context():
        session = app.extensions["sqlalchemy"].session
        assert hooks(app).load_context(customer, ASKED).state == "loaded"
        session.commit()
        assert session.scalars(select(HostNote).where(HostNote.body == "left open")).all() == []
        session.remove()


@pytest.mark.parametrize(
    ("answer", "allowed"),
    [(lambda *a: True, True), (lambda *a: False, False), (lambda *a: "yes", False), (raising, False)],
)
def test_authorize_says_yes_only_by_saying_true(make_app: Callable[..., Flask], answer: Any, allowed: bool) -> None:
    app = make_app(AUTHORIZE=answer)
    with app.app_context():
        assert hooks(app).authorize(Operator("o", "O"), Permission.CONVERSATIONS_REPLY) is allowed


def permitted(permissions: Any) -> Operator:
    return Operator("o", "Omar", permissions=permissions)


@pytest.mark.parametrize(
    "answer",
    [
        Operator("", "Nobody"),
        Operator(7, "Seven"),  # type: ignore[arg-type]
        Operator("o", ""),
        "omar",
        permitted(None),
        permitted("conversations.read"),
        permitted(["conversations.read"]),
        permitted(frozenset({1})),
    ],
)
def test_an_operator_is_an_operator_with_words_for_id_name_and_permissions(
    make_app: Callable[..., Flask], answer: Any
) -> None:
    app = make_app(OPERATOR_LOADER=lambda: answer)
    assert app.test_client().get("/support/inbox").status_code == 503


def test_permissions_may_be_a_plain_set(make_app: Callable[..., Flask]) -> None:
    app = make_app(OPERATOR_LOADER=lambda: permitted({"conversations.read"}))
    assert app.test_client().get("/support/inbox").status_code == 200


def test_authorize_is_told_which_conversation_is_meant(make_app: Callable[..., Flask], customer: Customer) -> None:
    asked: list[object] = []

    def may(operator: Operator, permission: Permission, subject: Subject | None) -> bool:
        asked.append(subject)
        return subject is None

    app = make_app(AUTHORIZE=may)
    with app.app_context():
        session = app.extensions["sqlalchemy"].session
        conversation_id = receive(session, customer=customer, body="Hello", channel="widget").conversation_id
        session.commit()
        session.remove()
    client = app.test_client()
    assert client.get("/support/inbox", headers={"X-Operator": "mina"}).status_code == 200
    assert client.get(f"/support/conversations/{conversation_id}", headers={"X-Operator": "mina"}).status_code == 403
    assert asked[-1] == Subject("conversation", conversation_id)


def test_without_authorize_the_operators_own_permissions_decide(app: Flask) -> None:
    reader = Operator("r", "Rita", permissions=frozenset({"conversations.read"}))
    assert hooks(app).authorize(reader, Permission.CONVERSATIONS_READ)
    assert not hooks(app).authorize(reader, Permission.CONVERSATIONS_REPLY)


def test_the_auditor_writes_in_our_transaction_and_may_end_it(
    make_app: Callable[..., Flask], customer: Customer
) -> None:
    def auditor(session: Session, entry: Any) -> None:
        session.add(HostNote(body=f"{entry.action}:{entry.actor_id}"))
        if customer.name == "Refused":
            raise PermissionError

    app = make_app(AUDITOR=auditor)
    with app.app_context():
        session = app.extensions["sqlalchemy"].session
        receive(session, customer=customer, body="Hello", channel="widget")
        session.commit()
        person = session.scalars(select(CustomerRecord).where(CustomerRecord.ref == customer.ref)).one()
        bodies = session.scalars(select(HostNote.body).where(HostNote.body.like(f"%{person.pseudonym}"))).all()
        assert f"message.receive:{person.pseudonym}" in bodies
        before = len(session.scalars(select(AuditEntry.id)).all())
        refused = Customer(customer.ref + "2", "Refused")
        object.__setattr__(customer, "name", "Refused")
        with pytest.raises(PermissionError):
            receive(session, customer=refused, body="Hello", channel="widget")
        session.rollback()
        assert len(session.scalars(select(AuditEntry.id)).all()) == before
        session.remove()


def test_hooks_are_found_by_path(make_app: Callable[..., Flask]) -> None:
    app = make_app(CONTEXT_PROVIDER="tests.front_door.test_hooks:raising")
    with app.app_context():
        assert hooks(app).load_context(CLEO, ASKED).state == "failed"


def test_what_a_host_raises_is_not_passed_on(make_app: Callable[..., Flask], caplog: pytest.LogCaptureFixture) -> None:
    app = make_app(AUTOMATION_POLICY=raising)
    with app.app_context():
        decision, reason = hooks(app).automation_policy(object())  # type: ignore[arg-type]
    assert decision == "require_approval"
    assert reason is not None
    assert "cleo@customer.example" not in reason


def test_signals_come_after_commit_with_ids_only_and_a_bad_receiver_harms_nobody(
    app: Flask, session: Session, customer: Customer
) -> None:
    heard: list[dict[str, object]] = []

    def listen(sender: Flask, **payload: object) -> None:
        assert session.get(Message, payload["message_id"]) is not None  # `db.session` may be used
        heard.append(payload)

    def bad(sender: Flask, **payload: object) -> None:
        raise RuntimeError

    with signals.message_received.connected_to(bad, app), signals.message_received.connected_to(listen, app):
        receive(session, customer=customer, body="Hello", channel="widget")
        session.rollback()
        assert heard == []
        message = receive(session, customer=customer, body="Hello", channel="widget")
        session.commit()
    assert heard == [{"conversation_id": message.conversation_id, "message_id": message.id, "channel": "widget"}]


def test_two_apps_in_one_process_keep_their_schemas_apart(
    make_app: Callable[..., Flask], database_url: str, customer: Customer
) -> None:
    from tests.support.host import create_tables

    first, second = make_app(), make_app(SCHEMA="second desk")
    create_tables(second)
    for app, body in ((first, "to the first"), (second, "to the second")):
        with app.app_context():
            session = app.extensions["sqlalchemy"].session
            conversation_id = receive(session, customer=customer, body=body, channel="widget").conversation_id
            session.commit()
            from flask_cairnloop.conversations.service import customer_messages

            assert [m.body for m in customer_messages(session, customer.ref, conversation_id)] == [body]
            session.remove()
