"""Sorting one conversation: who has it, how urgent it is, what it is about, when it comes back, and spam."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from flask import Blueprint, request
from werkzeug.wrappers import Response

from flask_cairnloop.console import presenters
from flask_cairnloop.console.access import actor, operator, requires
from flask_cairnloop.console.conversation import DECISIONS, ID, _done, _seen, done_but_late
from flask_cairnloop.console.inbox import teams_of
from flask_cairnloop.console.rendering import is_fragment, page, times
from flask_cairnloop.context import current
from flask_cairnloop.conversations import service, triage
from flask_cairnloop.conversations.models import Conversation, Priority
from flask_cairnloop.errors import HookFailed, IllegalTransition, InvalidInput, StaleConversation, Taken
from flask_cairnloop.hooks import Operator, Permission


def register(blueprint: Blueprint) -> None:
    def add(path: str, endpoint: str, view: Any, method: str = "POST") -> None:
        path = f"/conversations/{ID.format('conversation_id')}{path}"
        blueprint.add_url_rule(path, endpoint, view, methods=[method])

    add("/assign", "assign", assign)
    add("/assignees", "assignees", assignees, "GET")
    add("/tags", "conversation_tags", tags, "GET")
    add("/team", "set_team", set_team)
    add("/snooze", "snooze", snooze)
    add("/wake", "wake", wake)
    add("/priority", "set_priority", set_priority)
    add("/tag", "tag", tag)
    add("/untag", "untag", untag)
    add("/spam", "mark_spam", mark_spam)
    add("/unspam", "unmark_spam", unmark_spam)


# --- who has it -------------------------------------------------------------------------------------------------------


def people() -> tuple[list[Operator], bool]:
    """The people whom a conversation can be given to, and whether the host could not be asked for them.

    Oneself is always among them. No transaction of ours is open meanwhile.
    """
    current().session().rollback()
    try:
        found, failed = current().hooks.operators(""), False
    except HookFailed:
        found, failed = [], True
    if all(one.id != operator().id for one in found):
        found = [operator(), *found]
    return sorted(found, key=lambda one: (one.id != operator().id, one.name.casefold())), failed


def person(chosen: str) -> Operator | None:
    """Whom a form names: oneself, nobody, or somebody of the directory.

    Raises:
        InvalidInput: the directory knows no such person.
    """
    if chosen == "nobody":
        return None
    if chosen in ("me", operator().id):
        return operator()
    found = next((one for one in people()[0] if one.id == chosen), None)
    if found is None:
        raise InvalidInput("to", "Nobody of that name works at this desk. Choose somebody else.")
    return found


@requires(Permission.CONVERSATIONS_REPLY, *DECISIONS)
def assignees(conversation_id: int) -> Response:
    """The people and teams to give a conversation to, for a menu or as a page."""
    found, failed = people()
    conversation = service.get(current().session(), conversation_id)
    return page(
        "_assignees.html" if is_fragment() else "choose.html",
        part="_assignees.html",
        title="Who has it",
        conversation=conversation,
        people=found,
        teams=teams_of(found),
        failed=failed,
    )


@requires(Permission.CONVERSATIONS_REPLY, *DECISIONS)
def assign(conversation_id: int) -> Response:
    """Hand a conversation over, or take it, if it is still with whom the page said. Else nothing is done but told."""
    chosen = request.form.get("to", "me")
    target = person(chosen)
    session = current().session()
    try:
        if "had" in request.form:
            had = request.form["had"] or None
            triage.reassign(session, conversation_id, actor=actor(), assignee=target, had=had)
        else:
            service.assign(session, conversation_id, actor=actor(), assignee=target)
        session.commit()
    except Taken as taken:
        session.rollback()
        return done_but_late(conversation_id, str(taken))
    if target is None:
        words = "Given back to the team"
    else:
        words = "It is yours" if target.id == operator().id else f"{target.name} has it now"
    return _done(conversation_id, words)


@requires(Permission.CONVERSATIONS_REPLY, *DECISIONS)
def set_team(conversation_id: int) -> Response:
    """Give a conversation to a team of the directory, or to none."""
    name = request.form.get("team", "").strip()
    if name and name not in teams_of(people()[0]):
        raise InvalidInput("team", "There is no such team. Choose another one.")
    return _do(
        conversation_id,
        lambda s: triage.set_team(s, conversation_id, actor=actor(), team=name or None),
        f"For {name} now" if name else "For no team in particular",
    )


# --- when it comes back -----------------------------------------------------------------------------------------------


def moment(preset: str, at: str) -> datetime:
    """Until when something is put off: a preset of ours, or a day and a time in the reader's zone.

    Raises:
        InvalidInput: it is neither.
    """
    found = {name: when for name, _, when in presets()}.get(preset)
    if found is not None:
        return found
    try:
        here = datetime.fromisoformat(at)
        return (here if here.tzinfo else here.replace(tzinfo=times().zone)).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise InvalidInput("until", "Choose until when.") from error


def presets() -> list[tuple[str, str, datetime]]:
    """Times to put something off until: a name, words, and the moment, soonest first."""
    return presenters.snooze_presets(times())


@requires(Permission.CONVERSATIONS_REPLY, *DECISIONS)
def snooze(conversation_id: int) -> Response:
    """Put a conversation off. Refused where the customer wrote after what was shown."""
    until = moment(request.form.get("until", ""), request.form.get("at", ""))
    session = current().session()
    try:
        triage.snooze(session, conversation_id, actor=actor(), until=until, seen=_seen() or None)
        session.commit()
    except (StaleConversation, IllegalTransition) as conflict:
        session.rollback()
        return done_but_late(conversation_id, str(conflict))
    return _done(conversation_id, f"Back {times().when(until)}", left=True)


@requires(Permission.CONVERSATIONS_REPLY, *DECISIONS)
def wake(conversation_id: int) -> Response:
    """Bring a snoozed conversation back."""
    return _do(conversation_id, lambda s: triage.wake(s, conversation_id, actor=actor()), "Back in the queue")


# --- how urgent, what about, and whether at all -----------------------------------------------------------------------


@requires(Permission.CONVERSATIONS_REPLY, *DECISIONS)
def set_priority(conversation_id: int) -> Response:
    """Say how urgent a conversation is."""
    chosen = Priority.parse(request.form.get("priority"))
    if chosen is None:
        raise InvalidInput("priority", "Choose how urgent it is.")
    return _do(
        conversation_id,
        lambda s: triage.set_priority(s, conversation_id, actor=actor(), priority=chosen),
        f"{presenters.PRIORITIES[chosen]} priority",
    )


@requires(Permission.CONVERSATIONS_REPLY, *DECISIONS)
def tags(conversation_id: int) -> Response:
    """The tags of a conversation, and those it could have, for a menu or as a page."""
    session = current().session()
    conversation = service.get(session, conversation_id)
    return page(
        "_tags.html" if is_fragment() else "choose.html",
        part="_tags.html",
        title="Tags",
        conversation=conversation,
        on={one.id for one in triage.tags_of(session, [conversation_id]).get(conversation_id, ())},
        all_tags=triage.all_tags(session),
    )


@requires(Permission.CONVERSATIONS_REPLY, *DECISIONS)
def tag(conversation_id: int) -> Response:
    """Put a tag on a conversation; a word that is none yet becomes one."""

    def put(session: Any) -> bool:
        found = triage.tag_named(session, request.form.get("tag", ""))
        return triage.tag(session, conversation_id, actor=actor(), tag_id=found.id)

    return _do(conversation_id, put, "Tagged")


@requires(Permission.CONVERSATIONS_REPLY, *DECISIONS)
def untag(conversation_id: int) -> Response:
    """Take a tag off a conversation."""

    def take(session: Any) -> bool:
        found = triage.known_tag(session, request.form.get("tag", ""))
        return found is not None and triage.untag(session, conversation_id, actor=actor(), tag_id=found.id)

    return _do(conversation_id, take, "Tag taken off")


@requires(Permission.CONVERSATIONS_RESOLVE, *DECISIONS)
def mark_spam(conversation_id: int) -> Response:
    """Take a conversation out of the queue as spam."""
    return _do(conversation_id, lambda s: triage.mark_spam(s, conversation_id, actor=actor()), "Marked as spam")


@requires(Permission.CONVERSATIONS_RESOLVE, *DECISIONS)
def unmark_spam(conversation_id: int) -> Response:
    """Bring a conversation back from spam."""
    return _do(conversation_id, lambda s: triage.unmark_spam(s, conversation_id, actor=actor()), "Back in the queue")


def _do(conversation_id: int, what: Callable[[Any], Conversation | bool], words: str) -> Response:
    """Do something and show the conversation as it is then; told, where it did not fit any more."""
    session = current().session()
    try:
        what(session)
        session.commit()
    except IllegalTransition as conflict:
        session.rollback()
        return _done(conversation_id, str(conflict))
    return _done(conversation_id, words)
