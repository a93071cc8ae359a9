"""What a macro can have done when its text is sent."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from flask_cairnloop.conversations import service, triage
from flask_cairnloop.conversations.models import Priority, Tag
from flask_cairnloop.hooks import Operator, Permission

TAG: Final = "tag:"  # before a tag's id


@dataclass(frozen=True, slots=True)
class Action:
    """One thing that is done.

    Args:
        name: what a macro keeps of it.
        label: as the composer says it.
        permission: what an operator needs for it.
        apply: ``(session, conversation_id, operator)``, in the transaction that takes the reply in.
        resolves: done with the sending itself, and taken back with it.
        asks: whether that asks the customer for a rating; ``None`` says nothing about it.
    """

    name: str
    label: str
    permission: Permission
    apply: Callable[[Session, int, Operator], object] | None = None
    resolves: bool = False
    asks: bool | None = None


def assign_to_me(session: Session, conversation_id: int, operator: Operator) -> None:
    service.assign(session, conversation_id, actor=operator, assignee=operator)


def set_priority(priority: Priority, session: Session, conversation_id: int, operator: Operator) -> None:
    triage.set_priority(session, conversation_id, actor=operator, priority=priority)


def put_tag(tag_id: int, session: Session, conversation_id: int, operator: Operator) -> None:
    triage.tag(session, conversation_id, actor=operator, tag_id=tag_id)


def _of_priority(priority: Priority) -> Action:
    label = f"{priority.word.capitalize()} priority"
    return Action(f"priority:{priority.word}", label, Permission.CONVERSATIONS_REPLY, partial(set_priority, priority))


def of_tag(tag: Tag) -> Action:
    """Putting this tag on."""
    return Action(f"{TAG}{tag.id}", f"Tag “{tag.name}”", Permission.CONVERSATIONS_REPLY, partial(put_tag, tag.id))


PRIORITIES: Final[Mapping[str, Action]] = {action.name: action for action in map(_of_priority, Priority)}
ACTIONS: Final[Mapping[str, Action]] = {
    "assign": Action("assign", "Assign to me", Permission.CONVERSATIONS_REPLY, assign_to_me),
    **PRIORITIES,
    "resolve": Action("resolve", "Resolve after sending", Permission.CONVERSATIONS_RESOLVE, resolves=True),
    "ask": Action(
        "ask",
        "Resolve after sending, and ask for a rating",
        Permission.CONVERSATIONS_RESOLVE,
        resolves=True,
        asks=True,
    ),
    "ask_nothing": Action(
        "ask_nothing",
        "Resolve after sending, ask for no rating",
        Permission.CONVERSATIONS_RESOLVE,
        resolves=True,
        asks=False,
    ),
}


RESOLVING: Final = {name: action for name, action in ACTIONS.items() if action.resolves}
ONE_OF: Final = ([*PRIORITIES], [*RESOLVING][::-1])  # of each of these one is done, the first that is there


def named(session: Session, names: Iterable[str]) -> dict[str, Action]:
    """What these names stand for, in the order in which it is done; resolving is the last. At most one query.

    Whatever stands for nothing is left out, such as a tag that was deleted since.
    """
    wanted = set(names)
    of_tags = [int(name.removeprefix(TAG)) for name in wanted if _is_tag(name)]
    tags = session.scalars(select(Tag).where(Tag.id.in_(of_tags)).order_by(Tag.id)).all() if of_tags else ()
    found = [*(action for name, action in ACTIONS.items() if name in wanted), *map(of_tag, tags)]
    return {action.name: action for action in sorted(found, key=lambda action: action.resolves)}


def known(session: Session, names: Iterable[str]) -> list[Action]:
    """The same as what is done with one reply: of several priorities the most urgent, of several ways to resolve the
    one that says most about the rating."""
    found = named(session, names)
    for group in ONE_OF:
        for name in [name for name in group if name in found][1:]:
            del found[name]
    return list(found.values())


def _is_tag(name: str) -> bool:
    digits = name.removeprefix(TAG)
    return name.startswith(TAG) and digits.isascii() and digits.isdigit() and len(digits) < 19
