"""What a macro can have done when its text is sent: one table."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from sqlalchemy.orm import Session

from flask_cairnloop.conversations import service
from flask_cairnloop.hooks import Operator, Permission


@dataclass(frozen=True, slots=True)
class Action:
    """One thing that is done.

    Args:
        label: as a button of the composer says it.
        permission: what an operator needs for it.
        apply: ``(session, conversation_id, operator)``, in the transaction that takes the reply in.
        resolves: done with the sending itself, and taken back with it.
        asks: whether that asks the customer for a rating; ``None`` says nothing about it.
    """

    label: str
    permission: Permission
    apply: Callable[[Session, int, Operator], object] | None = None
    resolves: bool = False
    asks: bool | None = None


def assign_to_me(session: Session, conversation_id: int, operator: Operator) -> None:
    service.assign(session, conversation_id, actor=operator, assignee=operator)


ACTIONS: Final[Mapping[str, Action]] = {
    "assign": Action("Assign to me", Permission.CONVERSATIONS_REPLY, assign_to_me),
    "resolve": Action("Resolve after sending", Permission.CONVERSATIONS_RESOLVE, resolves=True),
    "ask": Action(
        "Resolve after sending, and ask for a rating", Permission.CONVERSATIONS_RESOLVE, resolves=True, asks=True
    ),
    "ask_nothing": Action(
        "Resolve after sending, ask for no rating", Permission.CONVERSATIONS_RESOLVE, resolves=True, asks=False
    ),
}


def known(names: Iterable[str]) -> list[str]:
    """Those of the names that are actions, each once, in the order of the table."""
    wanted = set(names)
    return [name for name in ACTIONS if name in wanted]
