"""Tools of the test host: one of each kind and risk, whose effects are rows that a test can count.

``STANDING`` and ``POLICY`` are what the host's hooks answer; tests change them, and ``hosts_rules`` puts them back.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from flask import current_app, request, session
from pydantic import BaseModel, Field, field_validator

from flask_cairnloop import (
    ActionInfo,
    Change,
    Consequence,
    Operator,
    Outcome,
    PermanentFailure,
    RetryableFailure,
    Risk,
    Tool,
    ToolContext,
    ToolKind,
)
from tests.support.host import OPERATORS, HostNote

STANDING: dict[str, Operator | None] = {}
POLICY: dict[str, Any] = {}
BILLING = "billing.refund"


def resolve(operator_id: str) -> Operator | None:
    """An ``OPERATOR_RESOLVER``: the host's people as they are now."""
    return STANDING.get(operator_id, PEOPLE.get(operator_id))


def policy(action: ActionInfo) -> Any:
    """An ``ACTION_POLICY``."""
    answer = POLICY.get(action.tool)
    if isinstance(answer, Exception):
        raise answer
    return answer(action) if callable(answer) else answer


def person(name: str, *more: str) -> Operator:
    return Operator(name, f"{name.title()} Person", permissions=frozenset({*OPERATORS["mina"].permissions, *more}))


PEOPLE = {name: person(name, BILLING) for name in ("ada", "ben", "cyd", "dot")} | {
    "poor": person("poor"),
    "lee": person("lee"),
    **OPERATORS,
}


@contextmanager
def hosts_rules() -> Iterator[None]:
    """Whatever is changed inside is put back."""
    try:
        yield
    finally:
        STANDING.clear()
        POLICY.clear()


class Noted(Tool):
    """Leaves a row whose text is its mark; what it is told to do besides stands in ``how``."""

    description = "Leaves a row."

    class Input(BaseModel):
        mark: str = Field(min_length=1, max_length=100)
        amount: int = Field(default=1, ge=0, le=1000)
        how: str = ""

    def authorize(self, inputs: Any, context: ToolContext) -> bool | str:
        return True

    def preview(self, inputs: Any, context: ToolContext) -> Consequence:
        if inputs.how == "unknown":
            raise PermanentFailure("There is no such charge.")
        return Consequence(f"Leaves {inputs.mark} with {inputs.amount}.", (Change("Balance", "0", str(inputs.amount)),))

    def act(self, inputs: Any) -> None:
        if inputs.how == "retry":
            raise RetryableFailure("The bank is busy.")
        if inputs.how == "never":
            raise PermanentFailure("It was refunded before.")
        if inputs.how == "raise":
            raise ValueError(inputs.mark)


class Refund(Noted):
    name = "refund"
    title = "Refund a charge"
    risk = Risk.HIGH_WRITE
    kind = ToolKind.TRANSACTIONAL
    scopes = frozenset({BILLING})
    attempts = 2

    def run(self, inputs: Any, context: ToolContext) -> Outcome:
        assert context.session is not None
        context.session.add(HostNote(body=f"{self.name}:{inputs.mark}:{context.key}"))
        context.session.flush()
        self.act(inputs)
        return Outcome(f"Refunded {inputs.amount}.", {"amount": inputs.amount})


class Tag(Refund):
    name = "tag"
    title = "Tag an account"
    risk = Risk.LOW_WRITE
    scopes = frozenset()


class Webhook(Noted):
    name = "webhook"
    title = "Call the workshop"
    risk = Risk.LOW_WRITE
    attempts = 2

    def run(self, inputs: Any, context: ToolContext) -> str:
        notes = current_app.extensions["sqlalchemy"].session
        notes.add(HostNote(body=f"{self.name}:{inputs.mark}:{context.key}"))
        notes.commit()
        self.act(inputs)
        return f"Called for {inputs.mark}."


class SafeWebhook(Webhook):
    name = "safe_webhook"
    title = "Call the workshop, twice if need be"
    idempotent = True


class Erase(Refund):
    name = "erase"
    title = "Erase an account"
    risk = Risk.DESTRUCTIVE
    scopes = frozenset()

    def confirmation(self, inputs: Any, context: ToolContext) -> str:
        return f"erase {inputs.mark}"


class Payout(Webhook):
    """Takes something that nobody may read afterwards, and something that the conversation knows."""

    name = "payout"
    title = "Pay out"
    sensitive = frozenset({"account"})
    filled = {"ref": "customer.ref"}  # noqa: RUF012

    class Input(Noted.Input):
        account: str
        ref: str

        @field_validator("account")
        @classmethod
        def _known(cls, value: str) -> str:
            if POLICY.get("accounts") == "closed":
                raise ValueError("No accounts today")
            return value

    def preview(self, inputs: Any, context: ToolContext) -> str:
        return f"Pays {inputs.amount} to {inputs.account}."

    def run(self, inputs: Any, context: ToolContext) -> Outcome:
        super().run(inputs, context)
        return Outcome(f"Paid to {inputs.account}.", {"account": inputs.account, "ref": inputs.ref})


class Peek(Noted):
    name = "peek"
    title = "Look something up"
    risk = Risk.READ_ONLY
    idempotent = True

    def run(self, inputs: Any, context: ToolContext) -> Outcome:
        self.act(inputs)
        return Outcome("Found it.", {"mark": inputs.mark})


TOOLS = [Refund, Tag, Webhook, SafeWebhook, Erase, Payout, Peek]
KEYS: dict[str, Any] = {
    "TOOLS": [f"tests.support.tools:{tool.__name__}" for tool in TOOLS],
    "OPERATOR_RESOLVER": "tests.support.tools:resolve",
    "ACTION_POLICY": "tests.support.tools:policy",
}


def load() -> Operator | None:
    """An ``OPERATOR_LOADER``: these people, by the header that tests send."""
    return PEOPLE.get(request.headers.get("X-Operator") or session.get("operator", ""))
