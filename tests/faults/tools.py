"""Tools at which a test can stop a worker: before their effect, in the middle of it, and after it."""

from __future__ import annotations

from typing import Any

from flask import Flask, current_app
from pydantic import BaseModel

from flask_cairnloop import Delivery, Operator, Risk, Tool, ToolContext, ToolKind, idempotent, signals
from tests.faults import host
from tests.faults.host import ref_of, stop
from tests.support.host import OPERATORS, HostNote

BEFORE, DURING, AFTER = "before-effect", "during-effect", "after-effect"


def resolve(operator_id: str) -> Operator | None:
    """An ``OPERATOR_RESOLVER``."""
    return OPERATORS.get(operator_id)


def create_app() -> Flask:
    """The host of the environment; after an action has ended it stops, where a test wants that."""
    app = host.create_app()
    for signal in (signals.action_executed, signals.outbound_delivered):
        signal.connect(_ended, app, weak=False)
    return app


def _ended(app: Flask, *, conversation_id: int, **_: Any) -> None:
    stop(AFTER, ref_of(app, conversation_id))


class Stopped(Tool):
    description = "Leaves a row, and can be stopped on the way."
    risk = Risk.LOW_WRITE
    timeout = 60.0
    filled = {"ref": "customer.ref"}  # noqa: RUF012

    class Input(BaseModel):
        ref: str

    def authorize(self, inputs: Any, context: ToolContext) -> bool:
        return True

    def preview(self, inputs: Any, context: ToolContext) -> str:
        return "Leaves a row."


class Booking(Stopped):
    name = "booking"
    title = "Book"
    kind = ToolKind.TRANSACTIONAL

    def run(self, inputs: Any, context: ToolContext) -> str:
        assert context.session is not None
        stop(BEFORE, inputs.ref)
        context.session.add(HostNote(body=f"{inputs.ref}:{context.key}"))
        context.session.flush()
        stop(DURING, inputs.ref)
        return "Booked."


class Call(Stopped):
    name = "call"
    title = "Call"

    def run(self, inputs: Any, context: ToolContext) -> str:
        stop(BEFORE, inputs.ref)
        notes = current_app.extensions["sqlalchemy"].session
        notes.add(HostNote(body=f"{inputs.ref}:{context.key}"))
        notes.commit()
        stop(DURING, inputs.ref)
        return "Called."


def deliver(delivery: Delivery) -> None:
    """An ``ON_OUTBOUND`` whose effect lies outside: every call leaves a note with its key, at once."""
    stop(BEFORE, delivery.customer.ref)
    notes = current_app.extensions["sqlalchemy"].session
    notes.add(HostNote(body=f"{delivery.customer.ref}:{delivery.key}"))
    notes.commit()
    stop(DURING, delivery.customer.ref)


@idempotent
def deliver_safely(delivery: Delivery) -> None:
    """The same, where a second note with one key would be the same one."""
    deliver(delivery)


class SafeCall(Call):
    name = "safe_call"
    title = "Call, twice if need be"
    idempotent = True
