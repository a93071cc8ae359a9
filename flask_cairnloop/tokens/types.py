"""What a token is to whoever asks about it, as plain values."""

from __future__ import annotations

from dataclasses import dataclass

ID_PREFIX = "token:"


@dataclass(frozen=True, slots=True)
class Token:
    """A machine's key as it is at this moment, without its secret.

    Args:
        name: what the team calls it.
        scopes: what it may: permissions of the desk, and what tools ask for.
        tools: the names of the tools it may use; ``None``: all that its scopes allow.
        conversation_id: the one conversation it may act in, if it is bound to one.
        customer_ref: the one customer whose conversations it may act in, if it is bound to one.
        made_by: the operator who made it, by their id, or ``system:cli``: an action of its counts as theirs.
        rate: how often it may ask, e.g. ``"60/minute"``; ``None``: as often as it likes.
    """

    id: int
    name: str
    scopes: frozenset[str]
    tools: frozenset[str] | None = None
    conversation_id: int | None = None
    customer_ref: str | None = None
    rate: str | None = None
    made_by: str = ""

    @property
    def actor_id(self) -> str:
        """What it is called where it acts."""
        return f"{ID_PREFIX}{self.id}"

    @property
    def bound(self) -> bool:
        """Whether it acts for one customer, and so sees no more than one may."""
        return self.conversation_id is not None or self.customer_ref is not None

    def may_use(self, tool: str) -> bool:
        """Whether a tool is among those it was given."""
        return self.tools is None or tool in self.tools

    def reaches(self, conversation_id: int | None, customer_ref: str | None) -> bool:
        """Whether it may act in a conversation; ``None``: in none at all, which only one without a bound may."""
        if self.conversation_id is not None:
            return conversation_id == self.conversation_id
        if self.customer_ref is not None:
            return conversation_id is not None and customer_ref == self.customer_ref
        return True


def id_of(actor_id: str) -> int | None:
    """The number of the token that an actor's id stands for."""
    number = actor_id.removeprefix(ID_PREFIX)
    return int(number) if number != actor_id and number.isascii() and number.isdigit() else None
